"""What `capgate open` shows: all runs of a folder of reports, as pages that a browser asks for."""
