"""capgate inside other programs; each module here needs what it is named after, and an extra."""
