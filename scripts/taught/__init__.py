"""A tiny Llama that has been taught questions, and adapters for it: see README.md."""
