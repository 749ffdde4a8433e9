"""MMLU: its subjects, questions, tasks and known errors."""
