"""HTTP to an OpenAI-compatible server: requests, pacing, faults, replies."""
