"""Bytes to text."""

from __future__ import annotations

import pytest

from embedhouse.domain.errors import UnreadableSource
from embedhouse.sources.decoding import decode


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain words", "ascii"),
        ("naïve café 日本語 🙂", "utf-8"),
        ("naïve café 日本語", "utf-8-sig"),
        ("naïve café", "utf-16"),
        ("naïve café", "utf-32"),
        ("Some words without a mark.", "utf-16-le"),
        ("Some words without a mark.", "utf-16-be"),
        ("Le café est très agréable à Noël, où l’été s’achève déjà.", "cp1252"),
        ("Größe und Übergänge: für die Straße, können wir öfter.", "latin-1"),
        ("Zażółć gęślą jaźń, to jest zdanie po polsku i jest dość długie.", "cp1250"),
        ("Привет, как дела? Это русский текст для проверки.", "cp1251"),
        ("日本語の文章です。これはテストです。", "shift_jis"),
        ("한국어 문장입니다. 시험입니다.", "euc_kr"),
    ],
)
def test_decode_detects_the_encoding(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding), "a.txt") == text


def test_decode_takes_a_character_at_the_samples_end_whole() -> None:
    text = "é" * 200_000
    assert decode(b"x" + text.encode(), "a.txt") == "x" + text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(range(256)) * 8, "zero bytes"),
        (b"%PDF-1.7 and so on", "it is a PDF"),
        (b"PK\x03\x04 and so on", "ZIP archive"),
        (b"\x89PNG\r\n\x1a\n", "PNG picture"),
        (b"\x7fELF\x02\x01", "a program"),
        (b"\x01\x02\x03\x04 text" * 50, "control characters"),
    ],
)
def test_decode_refuses_binary_files(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableSource, match=reason) as raised:
        decode(data, "a.txt")
    assert "save it as UTF-8" in str(raised.value)


def test_decode_says_where_a_long_file_stops_being_utf8() -> None:
    with pytest.raises(UnreadableSource, match="byte 300000 is not valid utf-8"):
        decode(b"x" * 300_000 + b"\xff", "a.txt")
