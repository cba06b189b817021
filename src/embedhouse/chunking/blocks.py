"""Text to blocks: paragraphs by blank lines, Markdown by CommonMark's block rules (markdown-it-py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from embedhouse.chunking.packing import Boundary, Section

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["Block", "markdown_blocks", "paragraph_blocks", "whole_block"]

_BLANK_LINES = re.compile(r"(?:\r\n?|\n)[ \t]*(?:\r\n?|\n)\s*")
# Without any of these a text has no other blocks than paragraphs, and need not be parsed.
_MARKUP = re.compile(r"^[ \t]*(?:#|```|~~~|=+[ \t]*\r?$|-|[*+|>]|\d+[.)][ \t]|<|\[)|^(?: {4}|\t)|\|", re.MULTILINE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
_CODE = frozenset({"fence", "code_block", "html_block"})
_BREAKS = {
    "paragraph_open": Boundary.BLOCK,
    "bullet_list_open": Boundary.BLOCK,
    "ordered_list_open": Boundary.BLOCK,
    "blockquote_open": Boundary.BLOCK,
    "table_open": Boundary.BLOCK,
    "hr": Boundary.BLOCK,
    "fence": Boundary.BLOCK,
    "code_block": Boundary.BLOCK,
    "html_block": Boundary.BLOCK,
    "list_item_open": Boundary.SENTENCE,
    "tr_open": Boundary.SENTENCE,
}


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
    """Paragraphs, list items, table rows, code and headings, each under its section."""
    if not _MARKUP.search(text):
        yield from paragraph_blocks(text)
        return
    starts = _line_starts(text)
    marks = _marks(_parser().parse(text))
    yield from _between_marks(text, starts, marks)


class _Mark(NamedTuple):
    """What begins on a line. `heading` is (level, text) for a heading."""

    before: Boundary
    by_lines: bool = False
    heading: tuple[int, str] | None = None


def _line_starts(text: str) -> list[int]:
    return list(accumulate((len(line) for line in _LINE.findall(text)), initial=0))


@cache
def _parser() -> MarkdownIt:
    # Imported here: parsing Markdown is not needed by every command.
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.disable(["inline", "text_join"])
    return parser


def _marks(tokens: list[Token]) -> dict[int, _Mark]:
    """Line -> the outermost block that begins there."""
    marks: dict[int, _Mark] = {}
    for place, token in enumerate(tokens):
        if token.map is None:
            continue
        line, after = token.map
        if token.type == "heading_open" and token.level == 0:
            marks[line] = _heading_mark(token, tokens[place + 1])
            marks.setdefault(after, _Mark(Boundary.BLOCK))
        elif token.type in _BREAKS:
            by_lines = token.type in _CODE
            marks.setdefault(line, _Mark(_BREAKS[token.type], by_lines))
            if by_lines:
                marks.setdefault(after, _Mark(Boundary.BLOCK))
    return marks


def _heading_mark(opening: Token, inline: Token) -> _Mark:
    level = int(opening.tag[1:])
    return _Mark(Boundary.of_heading(level), heading=(level, inline.content.strip()))


def _between_marks(text: str, starts: list[int], marks: dict[int, _Mark]) -> Iterator[Block]:
    """The spans from each mark to the next. What follows a heading directly is glued to it."""
    path: dict[int, str] = {}
    section, after_heading = Section(), False
    lines = sorted({0, *marks})
    for line, following in zip(lines, [*lines[1:], len(starts) - 1], strict=True):
        mark = marks.get(line, _Mark(Boundary.BLOCK))
        start, end = starts[line], starts[following]
        if not text[start:end].strip():
            continue
        before = mark.before
        if mark.heading:
            deeper = after_heading and before < section.boundary
            section = _under(path, mark.heading)
            before = Boundary.GLUE if deeper else before
        elif after_heading:
            before = Boundary.GLUE
        yield Block(start, end, before, section, mark.by_lines)
        after_heading = mark.heading is not None


def _under(path: dict[int, str], heading: tuple[int, str]) -> Section:
    """The section of a heading; forgets the headings that it closes."""
    level, title = heading
    for closed in [known for known in path if known >= level]:
        del path[closed]
    path[level] = title
    return Section(tuple(title for title in path.values() if title), Boundary.of_heading(level))
