"""Providers of embeddings, one a file."""
