"""A benchmark's questions in a folder, for machines that do not reach the hub."""
