"""The chunkers: sentence, paragraph, markdown, window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from embedhouse.chunking.blocks import Block, markdown_blocks, paragraph_blocks, whole_block
from embedhouse.chunking.counting import WordCounts
from embedhouse.chunking.packing import Boundary, Limits, Section, Unit, pack
from embedhouse.chunking.units import halves, sentence_units, word_units
from embedhouse.domain.collections import ChunkerName, ChunkingSettings
from embedhouse.domain.documents import ChunkDraft
from embedhouse.domain.errors import InvalidSetting
from embedhouse.ports import Chunker, Tokenizer

__all__ = ["SentenceChunker", "WindowChunker", "make_chunker"]

_CHARACTERS_PER_TOKEN = 32

_BLOCKS: dict[ChunkerName, Callable[[str], Iterable[Block]]] = {
    "sentence": whole_block,
    "paragraph": paragraph_blocks,
    "markdown": markdown_blocks,
}


def make_chunker(settings: ChunkingSettings, tokenizer: Tokenizer) -> Chunker:
    """The chunker that the settings name, counting tokens as `tokenizer` does (special tokens left out).

    Errors: InvalidSetting for a size below 1, an overlap that is negative or not below the size, an unknown
    chunker.
    """
    _check(settings)
    counts = WordCounts(tokenizer)
    limits = Limits(settings.max_tokens, settings.max_tokens * _CHARACTERS_PER_TOKEN)
    if settings.chunker == "window":
        return WindowChunker(counts, limits, settings.overlap_tokens)
    return SentenceChunker(counts, limits, _BLOCKS[settings.chunker])


def _check(settings: ChunkingSettings) -> None:
    reasons = {
        "chunking.max_tokens": "it must be at least 1" if settings.max_tokens < 1 else "",
        "chunking.overlap_tokens": ""
        if 0 <= settings.overlap_tokens < settings.max_tokens
        else f"it must be at least 0 and below max_tokens ({settings.max_tokens})",
        "chunking.chunker": ""
        if settings.chunker in (*_BLOCKS, "window")
        else f"{settings.chunker!r} is none of {', '.join([*_BLOCKS, 'window'])}",
    }
    for name, reason in reasons.items():
        if reason:
            raise InvalidSetting(name=name, origin="chunking settings", reason=reason)


class SentenceChunker:
    """Packs whole sentences of blocks, best boundary first. A sentence is cut only if it alone is too long:
    then at line ends, else between words, else between characters."""

    def __init__(self, counts: WordCounts, limits: Limits, blocks: Callable[[str], Iterable[Block]]) -> None:
        self._counts = counts
        self._limits = limits
        self._blocks = blocks

    def chunk(self, text: str) -> list[ChunkDraft]:
        """Spans in order that cover everything but white space, each within the limit."""
        units = sentence_units(text, self._blocks(text), self._counts, self._limits)
        groups = pack(units, self._limits)
        return [_draft(text, group) for group in within_limit(text, groups, self._counts, self._limits.tokens)]


class WindowChunker:
    """Windows of words up to the limit; each begins with the last words of the one before, up to
    `overlap_tokens` of them. Words are whole unless one alone is too long."""

    def __init__(self, counts: WordCounts, limits: Limits, overlap_tokens: int) -> None:
        self._counts = counts
        self._limits = limits
        self._overlap_tokens = overlap_tokens

    def chunk(self, text: str) -> list[ChunkDraft]:
        """Spans in order; neighbours share up to `overlap_tokens` tokens."""
        everything = Unit(0, len(text), 0, Boundary.WORD, Section())
        words = word_units(text, everything, self._counts, self._limits)
        groups = self._windows(words)
        return [_draft(text, group) for group in within_limit(text, groups, self._counts, self._limits.tokens)]

    def _windows(self, words: list[Unit]) -> Iterator[list[Unit]]:
        at = covered = 0
        while covered < len(words):
            stop = self._stop(words, at)
            if stop <= covered:
                # The overlap leaves no room for the next word: begin later, so that each window brings new text.
                at += 1
                continue
            yield words[at:stop]
            covered = stop
            at = self._overlap_start(words, at, stop)

    def _stop(self, words: list[Unit], at: int) -> int:
        tokens, stop = words[at].tokens, at + 1
        while stop < len(words):
            tokens += words[stop].tokens
            if tokens > self._limits.tokens or words[stop].end - words[at].start > self._limits.characters:
                break
            stop += 1
        return stop

    def _overlap_start(self, words: list[Unit], at: int, stop: int) -> int:
        tokens, start = 0, stop
        if not self._overlap_tokens:
            return stop  # even where the last words count 0 tokens
        while start - 1 > at and tokens + words[start - 1].tokens <= self._overlap_tokens:
            start -= 1
            tokens += words[start].tokens
        return start


def within_limit(
    text: str, groups: Iterable[Sequence[Unit]], counts: WordCounts, limit: int
) -> list[Sequence[Unit]]:
    """The groups, those halved that the tokenizer counts over the limit as a whole. A single character stays.

    Only groups whose tokens are not the sum of their units' are counted: all, where the tokenizer's counts do not
    add up, else those that hold pieces of a word."""
    settled: list[Sequence[Unit]] = []
    doubtful: list[Sequence[Unit]] = []
    for group in groups:
        (settled if _adds_up(group, counts, limit) else doubtful).append(group)
    while doubtful:
        sizes = counts.whole([text[group[0].start : group[-1].end] for group in doubtful])
        cut = [
            _halved(text, group, counts) if size > limit else [group]
            for group, size in zip(doubtful, sizes, strict=True)
        ]
        settled += [parts[0] for parts in cut if len(parts) == 1]
        doubtful = [part for parts in cut if len(parts) > 1 for part in parts]
    return sorted(settled, key=lambda group: (group[0].start, group[-1].end))


def _halved(text: str, group: Sequence[Unit], counts: WordCounts) -> list[Sequence[Unit]]:
    if len(group) > 1:
        middle = len(group) // 2
        return [group[:middle], group[middle:]]
    return [[half] for half in halves(text, group[0], counts)]


def _adds_up(group: Sequence[Unit], counts: WordCounts, limit: int) -> bool:
    if not counts.exact or group[0].tokens > limit:
        return False
    return all(unit.before is not Boundary.CHARACTER for unit in group)


def _draft(text: str, group: Sequence[Unit]) -> ChunkDraft:
    start, end = group[0].start, group[-1].end
    return ChunkDraft(start, end, text[start:end], _common_path(group))


def _common_path(group: Sequence[Unit]) -> tuple[str, ...]:
    """The headings that all of the chunk stands under."""
    first = group[0].section.path
    last = group[-1].section.path
    if first is last:
        return first
    paths = {unit.section.path for unit in group}
    length = 0
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        length += 1
    return first[:length]
