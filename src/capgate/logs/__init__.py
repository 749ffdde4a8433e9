"""Logs that other harnesses wrote, read as answers that the gate can judge."""
