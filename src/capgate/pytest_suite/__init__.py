"""The pytest side: which of the benchmark's tests a session runs, and in which order."""
