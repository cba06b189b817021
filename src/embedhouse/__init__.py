"""Embedhouse: the service that owns a team's embeddings."""
