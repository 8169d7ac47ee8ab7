"""What a number is worth: benchmark tasks, other methods, behaviours, statistics. Imports classroom, models, method."""
