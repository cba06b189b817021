"""Plain text, and Markdown kept as it is written (the markdown chunker reads it)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from embedhouse.ports import SourceItem
from embedhouse.sources.decoding import decode
from embedhouse.sources.documents import check_file_size, file_item
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_markdown", "read_text"]

_FENCED = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(
    r"^ {0,3}#{1,6}[ \t]+(?P<atx>[^\r\n]*?)[ \t#]*\r?$|^(?P<setext>\S[^\r\n]*)\r?\n(?:=+|-+)[ \t]*\r?$",
    re.MULTILINE,
)


def read_text(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """The whole file as one document, titled by its name."""
    yield from file_item(file, _text(file, settings), "", settings)


def read_markdown(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """The source as the text; the title is the first heading, else the file's name."""
    text = _text(file, settings)
    yield from file_item(file, text, _first_heading(text), settings)


def _text(file: FileToRead, settings: ReadSettings) -> str:
    check_file_size(file, settings)
    return decode(file.path.read_bytes(), str(file.path))


def _first_heading(text: str) -> str:
    heading = _HEADING.search(_FENCED.sub("", text))
    return (heading["atx"] or heading["setext"] or "").strip() if heading else ""
