"""The method: GRPO, shaping, guidance, grading, the trainer. Knows nothing of Jupyter, of the classroom or of any benchmark."""
