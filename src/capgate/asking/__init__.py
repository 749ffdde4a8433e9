"""From questions to answers: whose answers they are, and whether they count."""
