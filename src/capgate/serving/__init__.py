"""Servers: found, started, asked what they serve, and shared by all workers of a run."""
