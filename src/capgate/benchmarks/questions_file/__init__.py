"""A team's own questions: a benchmark that is one file, without code."""
