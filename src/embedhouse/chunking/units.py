"""Blocks to units: sentences or lines, and the words of those that alone are over the limit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

from embedhouse.chunking.blocks import Block
from embedhouse.chunking.counting import WordCounts, words_of
from embedhouse.chunking.packing import Boundary, Limits, Unit
from embedhouse.chunking.sentences import sentence_spans

__all__ = ["halves", "sentence_units", "word_units"]

_LINE = re.compile(r"[^\r\n]*\S[^\r\n]*")
_NEWLINE = re.compile(r"[\r\n]")
_JOINERS = "\u200d\ufe0e\ufe0f"
# A piece of a long word is made a little shorter than its share, so that few have to be cut again.
_MARGIN = 0.9
_LONGEST_CHARACTER = 32
_BATCH = 2048


def sentence_units(text: str, blocks: Iterable[Block], counts: WordCounts, limits: Limits) -> list[Unit]:
    """The sentences of prose and the lines of code; what is over the limits, as words."""
    units: list[Unit] = []
    spans = ((span, block, first) for block in blocks for first, span in _spans(text, block))
    # In batches: the tokenizer is called seldom, and a text of any size needs the memory of its units only.
    while batch := list(islice(spans, _BATCH)):
        # What has too many characters is cut in any case, and need not be counted whole.
        countable = [(start, min(end, start + limits.characters)) for (start, end), _, _ in batch]
        tokens = counts.of_texts([text[start:end] for start, end in countable])
        for ((start, end), block, first), count in zip(batch, tokens, strict=True):
            unit = Unit(start, end, count, _before(block, first), block.section)
            units.extend([unit] if _fits(unit, limits) else word_units(text, unit, counts, limits))
    return units


def _spans(text: str, block: Block) -> Iterator[tuple[bool, tuple[int, int]]]:
    spans = _lines(text, block) if block.by_lines else sentence_spans(text, block.start, block.end)
    for place, span in enumerate(spans):
        yield place == 0, span


def _lines(text: str, block: Block) -> Iterator[tuple[int, int]]:
    for line in _LINE.finditer(text, block.start, block.end):
        piece = line.group()
        yield line.end() - len(piece.lstrip()), line.start() + len(piece.rstrip())


def _before(block: Block, first: bool) -> Boundary:
    if first:
        return block.before
    return Boundary.LINE if block.by_lines else Boundary.SENTENCE


def _fits(unit: Unit, limits: Limits) -> bool:
    return unit.tokens <= limits.tokens and unit.end - unit.start <= limits.characters


def word_units(text: str, unit: Unit, counts: WordCounts, limits: Limits) -> list[Unit]:
    """The words of a unit, and the pieces of words that alone are over the limits."""
    spans: list[tuple[int, int]] = []
    for start, end in words_of(text, unit.start, unit.end):
        spans.extend(_slices(text, start, end, limits.characters))
    tokens = counts.of_words([text[start:end] for start, end in spans])
    units: list[Unit] = []
    before, at = unit.before, unit.start
    for (start, end), count in zip(spans, tokens, strict=True):
        if units:
            # Asked of every word: most follow one space.
            before = Boundary.WORD if text[at:start] == " " else _between_words(text, at, start)
        word = Unit(start, end, count, before, unit.section)
        if count <= limits.tokens:
            units.append(word)
        else:
            units.extend(_pieces(text, word, counts, limits.tokens))
        at = end
    return units


def _between_words(text: str, end: int, start: int) -> Boundary:
    if end == start:
        return Boundary.CHARACTER
    return Boundary.LINE if _NEWLINE.search(text, end, start) else Boundary.WORD


def _slices(text: str, start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Spans of about `size` characters, cut between whole characters."""
    if end - start <= size:
        return [(start, end)]
    cuts = {_whole_character(text, at, start) for at in range(start + size, end, size)}
    return list(pairwise([start, *sorted(cuts), end]))


def _pieces(text: str, word: Unit, counts: WordCounts, limit: int) -> list[Unit]:
    """A word over the limit as pieces within it. A single character is never cut, whatever it counts."""
    length = word.end - word.start
    size = max(1, int(length * limit / word.tokens * _MARGIN))
    spans = _slices(text, word.start, word.end, size)
    tokens = counts.whole([text[start:end] for start, end in spans])
    return [
        word._replace(start=start, end=end, tokens=count, before=word.before if place == 0 else Boundary.CHARACTER)
        for place, ((start, end), count) in enumerate(zip(spans, tokens, strict=True))
    ]


def halves(text: str, unit: Unit, counts: WordCounts) -> list[Unit]:
    """A unit cut in two at the character in its middle; whole where it is one character."""
    if unit.end - unit.start < 2:
        return [unit]
    middle = _whole_character(text, (unit.start + unit.end + 1) // 2, unit.start + 1)
    first, second = counts.whole([text[unit.start : middle], text[middle : unit.end]])
    return [
        unit._replace(end=middle, tokens=first),
        unit._replace(start=middle, tokens=second, before=Boundary.CHARACTER),
    ]


def _whole_character(text: str, at: int, floor: int) -> int:
    """The nearest place up to `at` that does not stand between a character and its combining marks; `at` itself
    where there is none within reach."""
    floor = max(floor, at - _LONGEST_CHARACTER)
    place = at
    while place > floor and _continues(text, place):
        place -= 1
    return place if place > floor else at


def _continues(text: str, place: int) -> bool:
    character = text[place]
    return (
        character in _JOINERS
        or text[place - 1] == "\u200d"
        or unicodedata.combining(character) > 0
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or text[place - 1 : place + 1] == "\r\n"
    )
