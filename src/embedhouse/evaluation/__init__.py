"""Queries, qrels, runs and measures: pure functions."""
