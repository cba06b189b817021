"""Units into chunks: as full as the limit allows, cut at the strongest boundary within reach.

The rule is that of semantic-text-splitter (take the largest semantic level that fits, then fill), over boundaries
that we choose: its sentences end after "Dr." and it knows nothing of the headings above a chunk. Each unit is
looked at a bounded number of times, so the time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

__all__ = ["Boundary", "Limits", "Section", "Unit", "pack"]


class Boundary(IntEnum):
    """How strong the boundary before a unit is. GLUE stands between a heading and what it heads."""

    CHARACTER = 0
    GLUE = 1
    WORD = 2
    LINE = 3
    SENTENCE = 4
    BLOCK = 5
    HEADING_6 = 6
    HEADING_5 = 7
    HEADING_4 = 8
    HEADING_3 = 9
    HEADING_2 = 10
    HEADING_1 = 11

    @classmethod
    def of_heading(cls, level: int) -> Boundary:
        """The boundary before a heading of level 1 (strongest) to 6."""
        return cls(12 - level)


class Section(NamedTuple):
    """What stands under one heading: the path of headings, its own last, and the boundary before it."""

    path: tuple[str, ...] = ()
    boundary: Boundary = Boundary.BLOCK


class Unit(NamedTuple):
    """The least piece that packing moves: a sentence, a line of code, or a word of a sentence that is too long."""

    start: int
    end: int
    tokens: int
    before: Boundary
    section: Section


class Limits(NamedTuple):
    """Of one chunk. Characters are limited too: a WordPiece model counts a megabyte without a space as 1 token."""

    tokens: int
    characters: int


def pack(units: Sequence[Unit], limits: Limits) -> list[Sequence[Unit]]:
    """Consecutive units as chunks; a unit over the limit is a chunk by itself."""
    groups: list[Sequence[Unit]] = []
    at = 0
    while at < len(units):
        stop = _next_cut(units, at, limits)
        groups.append(units[at:stop])
        at = stop
    return groups


def _next_cut(units: Sequence[Unit], at: int, limits: Limits) -> int:
    """Where the chunk that begins at `at` ends: at a heading above its section, at the end of the text, or at the
    last of the strongest boundaries within the limits."""
    tokens = units[at].tokens
    ceiling = _ceiling(units[at])
    cut, strongest = at + 1, Boundary.CHARACTER
    for place in range(at + 1, len(units)):
        unit = units[place]
        if unit.before > ceiling:
            return place
        if unit.before >= strongest:
            cut, strongest = place, unit.before
        tokens += unit.tokens
        if tokens > limits.tokens or unit.end - units[at].start > limits.characters:
            return cut
    return len(units)


def _ceiling(first: Unit) -> Boundary:
    """The strongest boundary that a chunk may hold: a section may be followed by its siblings, what is left of a
    section only by what is below it."""
    if first.before > Boundary.BLOCK:
        return first.before
    return Boundary(max(Boundary.BLOCK, first.section.boundary - 1))
