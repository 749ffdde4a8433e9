"""One run: its references, what it may spend, and how it is judged."""
