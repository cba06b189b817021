"""CSV and TSV: a row is a document, its columns are declared, numbers and truth values become what they say."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any, TextIO

from embedhouse.domain.errors import EmbedhouseError, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.decoding import detect_encoding
from embedhouse.sources.documents import row_document
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_csv"]

_SAMPLE_BYTES = 1 << 16
_LONGEST_FIELD = 2**31 - 1
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})\Z", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,2})?\Z", re.ASCII)
_TRUTH = {"true": True, "false": False}


def read_csv(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """Row by row; the first row names the columns. Other columns than id, title and text are metadata, empty ones
    left out. A row with more or fewer columns is an error with its line number."""
    source = str(file.path)
    # The module's own limit (128 KiB) is below ours, which `row_document` applies.
    csv.field_size_limit(_LONGEST_FIELD)
    with _opened(file) as lines:
        rows = csv.reader(lines, _dialect(file, lines))
        header = _header(rows, source)
        for number, row in _numbered(rows):
            if not any(row):
                continue
            where = f"{source}, line {rows.line_num}"
            try:
                fields = _fields(header, row, where, settings)
                document = row_document(fields, file=file, number=number, where=where, settings=settings)
            except EmbedhouseError as error:
                yield SourceItem(error=error, source=where)
            else:
                yield SourceItem(document=document, source=where)


def _opened(file: FileToRead) -> TextIO:
    with file.path.open("rb") as data:
        sample = data.read(_SAMPLE_BYTES)
    encoding = detect_encoding(sample, str(file.path), whole=len(sample) < _SAMPLE_BYTES)
    return file.path.open(encoding=encoding, newline="")


def _dialect(file: FileToRead, lines: TextIO) -> type[csv.Dialect]:
    """Tabs for .tsv; else the separator that the header has most of."""
    start = lines.readline(_SAMPLE_BYTES)
    lines.seek(0)
    separators = "\t" if file.path.suffix.lower() == ".tsv" else ",;\t|"

    class Found(csv.excel):
        delimiter = max(separators, key=start.count)

    return Found


def _header(rows: Iterator[list[str]], source: str) -> list[str]:
    header = [name.strip() for name in next(rows, [])]
    if not any(header):
        raise UnreadableSource(source=source, reason="it is empty; the first line must name the columns")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise UnreadableSource(source=source, reason=f"two columns are called {repeated[0]!r}; rename one")
    return header


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows from 1, the header not counted."""
    yield from enumerate(rows, start=1)


def _fields(header: list[str], row: list[str], where: str, settings: ReadSettings) -> dict[str, Any]:
    if len(row) != len(header):
        raise UnreadableSource(
            source=where,
            reason=f"it has {len(row)} columns and the header {len(header)}; quote fields that hold the separator",
        )
    as_written = {"_id", "id", "title", "text", "contents", "content", "body"}
    as_written |= {name for name in (settings.id_field, settings.title_field, settings.text_field) if name}
    return {
        name: value if name in as_written else _typed(value)
        for name, value in zip(header, row, strict=True)
        if name in as_written or value.strip()
    }


def _typed(value: str) -> str | int | float | bool:
    """Numbers and truth values as such. A leading zero or plus says that digits are a code, not a number."""
    bare = value.strip()
    if _WHOLE.match(bare):
        return int(bare)
    if _DECIMAL.match(bare):
        return float(bare)
    return _TRUTH.get(bare.lower(), value)
