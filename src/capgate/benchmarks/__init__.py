"""What is asked: a benchmark's questions, its tasks, and where they come from."""
