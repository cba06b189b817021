"""JSON lines: one object a line, as BEIR has them (`_id`, `title`, `text`) or with declared fields."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from embedhouse.domain.errors import EmbedhouseError, InvalidText, TooLarge, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.documents import row_document
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_jsonl"]

_DECODER = msgspec.json.Decoder(dict[str, Any])


def read_jsonl(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """Line by line: a file of any size needs the memory of its longest line. A bad line is an error with its
    number; blank lines are passed over."""
    source = str(file.path)
    # A line holds metadata and JSON escapes beside the text.
    longest = 2 * settings.max_text_bytes + 1
    with file.path.open("rb") as lines:
        for number, line in enumerate(_lines(lines, longest), start=1):
            if line.isspace():
                continue
            where = f"{source}, line {number}"
            try:
                document = row_document(
                    _fields(line, where, longest), file=file, number=number, where=where, settings=settings
                )
            except EmbedhouseError as error:
                yield SourceItem(error=error, source=where)
            else:
                yield SourceItem(document=document, source=where)


def _lines(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Lines without byte order mark; of one over `longest` bytes only the beginning."""
    first = True
    while line := file.readline(longest):
        if first and line.startswith(codecs.BOM_UTF8):
            line = line[len(codecs.BOM_UTF8) :]
        first = False
        yield line
        while len(line) == longest and not line.endswith(b"\n"):
            line = file.readline(longest)


def _fields(line: bytes, where: str, longest: int) -> dict[str, Any]:
    if len(line) >= longest:
        raise TooLarge(
            what=where,
            size=f"over {longest - 1:,} bytes",
            limit="that",
            remedy="Split it, or raise max_text_bytes.",
        )
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if _holds_lone_surrogate(line):
            raise InvalidText(where=where, reason="it holds half of a surrogate pair") from None
        reason = f"it is not a JSON object in UTF-8 ({error})"
        raise UnreadableSource(source=where, reason=reason) from None
    except RecursionError:
        raise UnreadableSource(source=where, reason="its objects are nested too deeply") from None


def _holds_lone_surrogate(line: bytes) -> bool:
    """Whether that is what is wrong: msgspec refuses it, but says that the text is cut short."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False
