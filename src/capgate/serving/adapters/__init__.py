"""Adapters: their sources, attaching them, their leases, and the proof that they are live."""
