"""Text to chunks: pure, given a tokenizer."""
