"""Bytes to text: byte order marks, UTF-8, and for the rest what charset-normalizer makes of it."""

from __future__ import annotations

import codecs
import re

from embedhouse.domain.errors import UnreadableSource

__all__ = ["decode", "detect_encoding"]

_SAMPLE_BYTES = 1 << 18
_MARKS = (
    # UTF-32 before UTF-16: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIGNATURES = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a ZIP archive (or an Office file)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "compressed with gzip",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"SQLite format 3": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Office file",
}
# What files are written in, the commonest first: among encodings that fit alike, the earlier one is meant.
_ENCODINGS = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "cp932", "euc_jp", "gb18030", "cp949", "big5", "cp874", "mac_roman", "cp866", "cp437", "cp850",
)  # fmt: skip
_ALIKE = 0.1
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_BINARY_SHARE = 0.02


def decode(data: bytes, source: str) -> str:
    """The text of a whole file. Errors: UnreadableSource for a binary file, and for an encoding that cannot be
    told."""
    encoding = detect_encoding(data[:_SAMPLE_BYTES], source, whole=len(data) <= _SAMPLE_BYTES)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableSource(
            source=source, reason=f"byte {error.start} is not valid {encoding}; save it as UTF-8"
        ) from None
    if len(_CONTROLS.findall(text)) > _BINARY_SHARE * len(text):
        raise _binary(source, "it holds control characters")
    return text


def detect_encoding(sample: bytes, source: str, *, whole: bool) -> str:
    """The encoding of a file from its first bytes; `whole` if these are all.

    Errors: UnreadableSource for a binary file, and for an encoding that cannot be told.
    """
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    for signature, kind in _SIGNATURES.items():
        if sample.startswith(signature):
            raise _binary(source, f"it is {kind}")
    if _is_utf8(sample, whole):
        return "utf-8"
    return _utf16(sample) or _guess(sample, source)


def _is_utf8(sample: bytes, whole: bool) -> bool:
    try:
        # Not final: the sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return False
    # UTF-16 without a mark is valid UTF-8 where its letters are ASCII.
    return _utf16(sample) is None


def _utf16(sample: bytes) -> str | None:
    """UTF-16 without a mark: Western letters have a zero in every other byte."""
    half = len(sample) // 2
    if half and sample[1::2].count(0) > 0.4 * half and sample[0::2].count(0) < 0.05 * half:
        return "utf-16-le"
    if half and sample[0::2].count(0) > 0.4 * half and sample[1::2].count(0) < 0.05 * half:
        return "utf-16-be"
    return None


def _guess(sample: bytes, source: str) -> str:
    # Imported here: most files are UTF-8 and never need it.
    from charset_normalizer import from_bytes

    if b"\x00" in sample:
        raise _binary(source, "it holds zero bytes")
    matches = from_bytes(sample, cp_isolation=list(_ENCODINGS))
    best = matches.best()
    if best is None:
        raise _binary(source, "it is in no known encoding")
    alike = [
        _ENCODINGS.index(match.encoding)
        for match in matches
        if match.chaos <= best.chaos + _ALIKE and match.coherence >= best.coherence - _ALIKE
    ]
    return _ENCODINGS[min(alike)]


def _binary(source: str, why: str) -> UnreadableSource:
    return UnreadableSource(
        source=source,
        reason=f"it is not text: {why}; give it the extension of its format, or save it as UTF-8 text",
    )
