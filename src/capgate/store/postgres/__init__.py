"""A store in a PostgreSQL database, which machines share."""
