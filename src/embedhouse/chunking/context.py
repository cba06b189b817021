"""Title and heading path in front of a chunk: what a model and a lexical search read beyond the chunk's text."""

from __future__ import annotations

from functools import lru_cache

from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.errors import InvalidSetting
from embedhouse.ports import Tokenizer

__all__ = ["ContextBudget", "chunk_context", "context_budget", "embedded_text", "fit_to_window"]

_PATH_SEPARATOR = " > "
_MAX_CONTEXT_TOKENS = 64
# Of the model's window, at least this share is kept for title and headings.
_CONTEXT_SHARE = 5
# The line end between context and text, where a tokenizer counts it.
_JOINT_TOKENS = 2


class ContextBudget:
    """How much context a chunk may carry, in tokens: longer context loses its end. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._cut = lru_cache(maxsize=1024)(self._longest_fit)

    def cut(self, context: str) -> str:
        """The context, or as many of its first words as fit (characters, where even one word does not)."""
        return self._cut(context)

    def _longest_fit(self, context: str) -> str:
        if self._fits(context):
            return context
        fitting, over = 0, len(context)
        while over - fitting > 1:
            middle = (fitting + over) // 2
            if self._fits(context[:middle]):
                fitting = middle
            else:
                over = middle
        kept = context[:fitting]
        # Not half a word, where there is another; Chinese and Japanese titles have no spaces to cut at.
        at_word = kept if context[fitting].isspace() else kept.rpartition(" ")[0] or kept
        return at_word.rstrip(f"{_PATH_SEPARATOR} ")

    def _fits(self, context: str) -> bool:
        return self._tokenizer.count([context])[0] <= self.max_tokens


def fit_to_window(settings: ChunkingSettings, readable_tokens: int) -> ChunkingSettings:
    """The settings with `max_tokens` lowered, if need be, so that a chunk and its context fit the model.

    readable_tokens: tokens of a text that the model reads: its window less special tokens and the document
    prompt. Errors: InvalidSetting where nothing is left to read.
    """
    reserve = min(_MAX_CONTEXT_TOKENS, readable_tokens // _CONTEXT_SHARE) if settings.with_context else 0
    room = readable_tokens - reserve
    if room < 1:
        raise InvalidSetting(
            name="chunking.max_tokens",
            origin="model",
            reason=f"the model reads only {readable_tokens} tokens of a text",
        )
    max_tokens = min(settings.max_tokens, room)
    return ChunkingSettings(
        chunker=settings.chunker,
        max_tokens=max_tokens,
        overlap_tokens=min(settings.overlap_tokens, max_tokens - 1),
        with_context=settings.with_context,
    )


def context_budget(settings: ChunkingSettings, readable_tokens: int, tokenizer: Tokenizer) -> ContextBudget:
    """What the model's window leaves beside the longest chunk, at most 64 tokens."""
    left = readable_tokens - settings.max_tokens - _JOINT_TOKENS
    return ContextBudget(tokenizer, max(0, min(_MAX_CONTEXT_TOKENS, left)))


def chunk_context(title: str, headings: tuple[str, ...], text: str, budget: ContextBudget | None = None) -> str:
    """Title and headings on one line, as they are put in front of a chunk's text: headings that the text itself
    begins with, and a first heading equal to the title, are not repeated. Without `budget` it is not cut."""
    context = _PATH_SEPARATOR.join(_context_parts(title, headings, text))
    return budget.cut(context) if context and budget is not None else context


def embedded_text(
    title: str, headings: tuple[str, ...], text: str, with_context: bool, budget: ContextBudget | None = None
) -> str:
    """What is embedded and searched by words for a chunk: its context on a line of its own, then the text."""
    context = chunk_context(title, headings, text, budget) if with_context else ""
    return f"{context}\n{text}" if context else text


def _context_parts(title: str, headings: tuple[str, ...], text: str) -> list[str]:
    opening = text.lstrip("# \t").casefold()
    parts: list[str] = []
    for part in (title, *headings):
        clean = " ".join(part.split())
        if clean and clean not in parts and not opening.startswith(clean.casefold()):
            parts.append(clean)
    return parts
