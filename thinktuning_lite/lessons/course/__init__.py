"""The course: student and instructor notebooks, tasks and their points, hidden variants, grading of many submissions."""
