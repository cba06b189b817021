"""Parquet through pyarrow (an extra: it is over 100 MB): a row is a document."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from embedhouse.domain.errors import EmbedhouseError, MissingExtra, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.documents import row_document
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_parquet"]

_ROWS_PER_BATCH = 1024


def read_parquet(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """Row by row, in batches; other columns than id, title and text are metadata. Times become ISO 8601, decimal
    numbers floats, bytes are left out. Errors: MissingExtra."""
    source = str(file.path)
    for number, row in enumerate(_rows(file), start=1):
        where = f"{source}, row {number}"
        try:
            fields = {name: _plain(value) for name, value in row.items()}
            document = row_document(fields, file=file, number=number, where=where, settings=settings)
        except EmbedhouseError as error:
            yield SourceItem(error=error, source=where)
        else:
            yield SourceItem(document=document, source=where)


def _rows(file: FileToRead) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtra(what="Reading Parquet", extra="parquet") from None
    try:
        table = ParquetFile(file.path)
    except ArrowInvalid as error:
        raise UnreadableSource(source=str(file.path), reason=f"it is damaged, or not Parquet ({error})") from None
    with closing(table):
        for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH):
            yield from batch.to_pylist()


def _plain(value: object) -> Any:
    """A value as JSON knows it; None for what it does not (bytes, NaN)."""
    match value:
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case float() if not math.isfinite(value):
            return None
        case str() | bool() | int() | float():
            return value
    return None
