"""Qdrant's engine: in the process, and as a server or cluster."""
