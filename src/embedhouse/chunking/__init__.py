"""Text to chunks: pure, given a tokenizer."""

from embedhouse.chunking.chunkers import make_chunker
from embedhouse.chunking.context import ContextBudget, context_budget, embedded_text, fit_to_window

__all__ = ["ContextBudget", "context_budget", "embedded_text", "fit_to_window", "make_chunker"]
