"""The read path: two sides, fusion, highlights, explanations."""
