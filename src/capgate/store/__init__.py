"""What is kept: answers, runs and baselines."""
