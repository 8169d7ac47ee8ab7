"""Real checkpoints: what this machine can hold, loading, tokenizers, LoRA, public data. Imports method only; nothing of the tiny classroom."""
