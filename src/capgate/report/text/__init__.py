"""A report as text: for the terminal and for GitHub."""
