"""Asking through Inspect: the provider, the evaluation, and its logs."""
