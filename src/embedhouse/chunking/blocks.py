"""Text to blocks: paragraphs by blank lines; Markdown's headings, code fences, list items and table rows.

A scan by lines, not a parser: a full CommonMark parser is quadratic in some texts (a list nested a thousand deep),
and of all that it knows only these decide where a chunk may end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from embedhouse.chunking.packing import Boundary, Section

__all__ = ["Block", "markdown_blocks", "paragraph_blocks", "whole_block"]

_BLANK_LINES = re.compile(r"(?:\r\n?|\n)[ \t]*(?:\r\n?|\n)\s*")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t](.*))?$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]|[ \t]*\|")
_FRONT_MATTER = "---"
# The first characters of lines that are more than a paragraph's.
_MARKERS = frozenset("#`~=-*+|0123456789")


class Block(NamedTuple):
    """A span that is cut into sentences, or into lines where `by_lines` (code)."""

    start: int
    end: int
    before: Boundary
    section: Section = Section()
    by_lines: bool = False


def whole_block(text: str) -> Iterator[Block]:
    """The text as one block."""
    yield Block(0, len(text), Boundary.BLOCK)


def paragraph_blocks(text: str) -> Iterator[Block]:
    """Paragraphs: what stands between blank lines."""
    at = 0
    for blank in _BLANK_LINES.finditer(text):
        yield Block(at, blank.start(), Boundary.BLOCK)
        at = blank.end()
    yield Block(at, len(text), Boundary.BLOCK)


def markdown_blocks(text: str) -> Iterator[Block]:
    """Paragraphs, list items, table rows, code and headings, each under its section. What follows a heading
    directly is glued to it.

    A heading is a line with 1 to 6 `#` in front, or a single line underlined with `=` or `-`; nothing inside a
    code fence or front matter is one.
    """
    path: dict[int, str] = {}
    section, after_heading = Section(), False
    marks = _marks(text)
    for place, mark in enumerate(marks):
        end = marks[place + 1].start if place + 1 < len(marks) else len(text)
        before = mark.before
        if mark.heading:
            is_deeper = after_heading and before < section.boundary
            section = _under(path, mark.heading)
            before = Boundary.GLUE if is_deeper else before
        elif after_heading:
            before = Boundary.GLUE
        yield Block(mark.start, end, before, section, mark.by_lines)
        after_heading = mark.heading is not None


class _Mark(NamedTuple):
    """Where a block begins. `heading` is (level, title) for a heading."""

    start: int
    before: Boundary = Boundary.BLOCK
    by_lines: bool = False
    heading: tuple[int, str] | None = None


def _marks(text: str) -> list[_Mark]:
    # Line ends of one kind, at unchanged offsets.
    lines = text.replace("\r\n", " \n").replace("\r", "\n").split("\n") if "\r" in text else text.split("\n")
    scan = _LineScan()
    for line in lines:
        scan.read(line)
    return scan.marks


class _LineScan:
    """Reads lines in order and notes where blocks begin."""

    def __init__(self) -> None:
        self.marks: list[_Mark] = []
        self._at = 0
        self._fence = ""
        # Lines of the paragraph under way; 0 where the next line begins a block.
        self._paragraph_lines = 0
        self._first_line = ""

    def read(self, line: str) -> None:
        """Take the next line, without its line end."""
        if self._fence:
            self._read_code(line)
        elif not (bare := line.lstrip()):
            self._paragraph_lines = 0
        elif bare[0] not in _MARKERS or not self._read_marked(line):
            if not self._paragraph_lines:
                self.marks.append(_Mark(self._at))
            self._paragraph_lines += 1
            self._first_line = line
        self._at += len(line) + 1

    def _read_marked(self, line: str) -> bool:
        """Whether the line is a heading, an underline, or the beginning of code, an item or a row."""
        if self._at == 0 and line.rstrip() == _FRONT_MATTER:
            self._open(_FRONT_MATTER)
        elif fence := _FENCE.match(line):
            self._open(fence[1])
        elif heading := _HEADING.match(line):
            self._head(self._at, len(heading[1]), _without_closing(heading[2] or ""))
        elif self._paragraph_lines == 1 and _UNDERLINE.match(line):
            self._head(self.marks.pop().start, 1 if "=" in line else 2, self._first_line.strip())
        elif _ITEM.match(line):
            self.marks.append(_Mark(self._at, Boundary.SENTENCE if self._paragraph_lines else Boundary.BLOCK))
            # Not one line: what underlines a list item is no heading.
            self._paragraph_lines = 2
        else:
            return False
        return True

    def _read_code(self, line: str) -> None:
        bare = line.strip()
        if len(bare) >= len(self._fence) and not bare.strip(self._fence[0]) and not line.startswith("    "):
            self._fence = ""

    def _open(self, fence: str) -> None:
        self.marks.append(_Mark(self._at, by_lines=True))
        self._fence = fence
        self._paragraph_lines = 0

    def _head(self, start: int, level: int, title: str) -> None:
        self.marks.append(_Mark(start, Boundary.of_heading(level), heading=(level, title)))
        self._paragraph_lines = 0


def _without_closing(title: str) -> str:
    """A heading's text without the `#` that may close it."""
    bare = title.strip()
    opened = bare.rstrip("#")
    return opened.rstrip() if not opened or opened[-1] in " \t" else bare


def _under(path: dict[int, str], heading: tuple[int, str]) -> Section:
    """The section of a heading; forgets the headings that it closes."""
    level, title = heading
    for closed in [known for known in path if known >= level]:
        del path[closed]
    path[level] = title
    return Section(tuple(title for title in path.values() if title), Boundary.of_heading(level))
