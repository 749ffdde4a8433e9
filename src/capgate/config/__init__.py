"""Every file and option that a person writes."""
