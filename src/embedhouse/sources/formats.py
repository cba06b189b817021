"""File formats by extension: name -> "module:function". Third parties add theirs through an entry-point group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import msgspec

from embedhouse.ports import SourceItem
from embedhouse.sources.settings import ReadSettings

__all__ = ["FileToRead", "Reader", "format_of", "reader_of"]

ENTRY_POINT_GROUP = "embedhouse.readers"
"""An entry point's name is the extension with its dot, its value "module:function" of type `Reader`."""


class FileToRead(msgspec.Struct, frozen=True, kw_only=True):
    """One file: where it lies, and what it is called (the path relative to what the user named, with slashes)."""

    path: Path
    name: str
    format: str


Reader = Callable[[FileToRead, ReadSettings], Iterator[SourceItem]]
"""Reads one file lazily. What it raises becomes the file's error; a bad row is an item with an error."""

_TEXT = "embedhouse.sources.readers.text:read_text"
_MARKDOWN = "embedhouse.sources.readers.text:read_markdown"

_READERS = {
    "text": _TEXT,
    "markdown": _MARKDOWN,
    "html": "embedhouse.sources.readers.html:read_html",
    "pdf": "embedhouse.sources.readers.pdf:read_pdf",
    "docx": "embedhouse.sources.readers.docx:read_docx",
    "csv": "embedhouse.sources.readers.csv:read_csv",
    "jsonl": "embedhouse.sources.readers.jsonl:read_jsonl",
    "parquet": "embedhouse.sources.readers.parquet:read_parquet",
}

_EXTENSIONS = {
    "text": (".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org"),
    "markdown": (".md", ".markdown", ".mdown", ".mkd"),
    "html": (".html", ".htm", ".xhtml"),
    "pdf": (".pdf",),
    "docx": (".docx",),
    "csv": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
}
_FORMATS = {extension: name for name, extensions in _EXTENSIONS.items() for extension in extensions}


def format_of(path: Path) -> str | None:
    """The format of a file by its extension, or None if it is unknown."""
    extension = path.suffix.lower()
    return _FORMATS.get(extension) or (extension if extension in _from_third_parties() else None)


@cache
def reader_of(format: str) -> Reader:
    """The reader of a format, imported now."""
    third_party = _from_third_parties().get(format)
    module, _, function = (third_party or _READERS[format]).partition(":")
    reader: Reader = getattr(import_module(module), function)
    return reader


@cache
def _from_third_parties() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
