"""The setup's checks: what a run needs, looked at one by one, each with its remedy."""
