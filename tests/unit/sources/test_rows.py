"""Files with a document a row: JSON lines, CSV, Parquet."""

from __future__ import annotations

import datetime as dt
import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import DuplicateId, InvalidText, MissingExtra, TooLarge
from embedhouse.ports import SourceItem
from embedhouse.sources import ReadSettings, open_source

Read = Callable[..., list[SourceItem]]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_read_jsonl_takes_beirs_fields(tmp_path: Path, read: Read) -> None:
    path = write(
        tmp_path / "a.jsonl", '{"_id": "d/1", "title": "T", "text": "Body", "metadata": {"url": "u"}, "n": 1}'
    )
    (item,) = read(path)
    assert item.document
    assert (item.document.id, item.document.title, item.document.text) == ("d/1", "T", "Body")
    assert item.document.metadata == {"n": 1, "url": "u"}
    assert item.document.source == str(path)


def test_read_jsonl_takes_declared_fields(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.jsonl", '{"key": 7, "head": "T", "abstract": "Body", "text": "else"}')
    (item,) = read(path, id_field="key", title_field="head", text_field="abstract")
    assert item.document
    assert (item.document.id, item.document.title, item.document.text) == ("7", "T", "Body")
    assert item.document.metadata == {"text": "else"}


def test_read_jsonl_without_id_numbers_the_lines(tmp_path: Path, read: Read) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "a.jsonl", '{"text": "one"}', "", '{"text": "three"}')
    assert [item.document.id for item in read(tmp_path) if item.document] == ["sub/a.jsonl#1", "sub/a.jsonl#3"]


def test_read_jsonl_with_a_title_alone_takes_it_as_text(tmp_path: Path, read: Read) -> None:
    (item,) = read(write(tmp_path / "a.jsonl", '{"_id": "1", "title": "Only this", "text": ""}'))
    assert item.document
    assert item.document.text == "Only this"


BAD_LINES = {
    "not json": "not a JSON object",
    "[1]": "Expected `object`",
    '{"text": 5}': "its field text holds int",
    '{"words": "x"}': "it has no field text or contents or content or body, only words",
    '{"text": "x", "id": [1]}': "an id must be a string or a whole number",
    '{"text": "x", "id": ""}': "an id must be a string or a whole number",
    '{"text": " "}': "it is empty",
    '{"text": "a\\u0000b"}': "NUL byte at character 1",
    '{"text": "a\\ud800b"}': "half of a surrogate pair",
    '{"text": "a", "note": "\\udc00"}': "half of a surrogate pair",
    "[" * 100_000: "line 2",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_read_jsonl_names_a_bad_line_and_goes_on(line: str, tmp_path: Path, read: Read) -> None:
    first, bad, last = read(
        write(tmp_path / "a.jsonl", '{"text": "one"}', line, '{"text": "three 🙂 \\ud83d\\ude42"}')
    )
    assert first.document
    assert last.document
    assert last.document.text == "three 🙂 🙂"
    assert "a.jsonl, line 2" in str(bad.error)
    assert BAD_LINES[line] in str(bad.error)
    assert bad.source.endswith("a.jsonl, line 2")


def test_read_jsonl_names_a_line_that_is_not_utf8(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "ok"}')
    bad, good = read(tmp_path / "a.jsonl")
    assert "in UTF-8" in str(bad.error)
    assert good.document


def test_read_jsonl_passes_over_a_byte_order_mark(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "ok"}\r\n')
    assert read(tmp_path / "a.jsonl")[0].document


def test_read_jsonl_refuses_a_long_line_and_goes_on(tmp_path: Path, read: Read) -> None:
    path = write(
        tmp_path / "a.jsonl", json.dumps({"text": "x" * 5000}), '{"text": "ok"}', json.dumps({"text": "y" * 101})
    )
    long, good, over = read(path, max_text_bytes=100)
    assert isinstance(long.error, TooLarge)
    assert good.document
    assert good.document.id == "a.jsonl#2"
    assert isinstance(over.error, TooLarge)


def test_read_jsonl_reports_an_id_that_comes_again(tmp_path: Path, read: Read) -> None:
    row = '{"_id": "1", "text": "x"}'
    write(tmp_path / "a.jsonl", row, row)
    write(tmp_path / "b.jsonl", row)
    items = read(tmp_path)
    assert items[0].document
    assert [type(item.error) for item in items[1:]] == [DuplicateId, DuplicateId]
    assert items[2].source.endswith("b.jsonl, line 1")


def test_read_jsonl_streams(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("w") as lines:
        for number in range(5000):
            lines.write(json.dumps({"_id": str(number), "text": "x" * 2000}) + "\n")
    source = open_source(tmp_path / "a.jsonl", ReadSettings())
    tracemalloc.start()
    try:
        assert sum(item.document is not None for item in source.read(Deadline.never())) == 5000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The file has 10 MB, the ids that were seen take a few hundred kilobytes.
    assert peak < 2_000_000


def test_read_csv_types_its_columns(tmp_path: Path, read: Read) -> None:
    path = write(
        tmp_path / "a.csv",
        "id,title,text,year,share,ok,code,empty",
        '1,T,"two, and\nlines",2020,.5,TRUE,007,',
        "2,U,1234,-3,1e3,no,12345678901234567890123,",
    )
    first, second = read(path)
    assert first.document
    assert (first.document.id, first.document.text) == ("1", "two, and\nlines")
    assert first.document.metadata == {"year": 2020, "share": ".5", "ok": True, "code": "007"}
    assert second.document
    assert second.document.text == "1234"
    assert second.document.metadata == {
        "year": -3,
        "share": 1000.0,
        "ok": "no",
        "code": 1.2345678901234568e22,
    }


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_read_csv_finds_the_separator(separator: str, tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.csv", separator.join(["id", "text", "n"]), separator.join(["1", "Body", "2"]))
    (item,) = read(path)
    assert item.document
    assert item.document.metadata == {"n": 2}


def test_read_csv_takes_declared_columns_and_tabs(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "a.tsv", "key\tabstract, long", "x/1\tBody, with comma")
    (item,) = read(path, id_field="key", text_field="abstract, long")
    assert item.document
    assert (item.document.id, item.document.text) == ("x/1", "Body, with comma")


def test_read_csv_names_a_row_of_another_width_and_goes_on(tmp_path: Path, read: Read) -> None:
    bad, good = read(write(tmp_path / "a.csv", "id,text", "1,a,b", "2,c"))
    assert "line 2: it has 3 columns and the header 2" in str(bad.error)
    assert good.document


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "it is empty"), ("a,a\n1,2", "two columns are called 'a'"), (",\n1,2", "it is empty")],
)
def test_read_csv_refuses_a_bad_header(content: str, reason: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text(content)
    (item,) = read(tmp_path / "a.csv")
    assert reason in str(item.error)


def test_read_csv_detects_the_encoding(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_bytes("text;où\nLe café est très agréable à Noël;été".encode("cp1252"))
    (item,) = read(tmp_path / "a.csv")
    assert item.document
    assert item.document.text == "Le café est très agréable à Noël"
    assert item.document.metadata == {"où": "été"}


def test_read_csv_reports_a_nul_character(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\na\x00b\nfine\n")
    bad, good = read(tmp_path / "a.csv")
    assert isinstance(bad.error, InvalidText)
    assert good.document


def test_read_parquet_is_typed(tmp_path: Path, read: Read) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `parquet`")
    table = pyarrow.table(
        {
            "id": [1, 2],
            "text": ["one", None],
            "day": [dt.date(2020, 1, 2), None],
            "share": [0.5, float("nan")],
            "tags": [["a", "b"], []],
            "raw": [b"x", b"y"],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet")
    assert first.document
    assert first.document.id == "1"
    assert first.document.metadata == {"day": "2020-01-02", "share": 0.5, "tags": ["a", "b"]}
    assert "a.parquet, row 2" in str(second.error)


def test_read_parquet_refuses_a_damaged_file(tmp_path: Path, read: Read) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    (item,) = read(tmp_path / "a.parquet")
    assert "damaged, or not Parquet" in str(item.error)


def test_read_parquet_without_its_extra_says_how_to_get_it(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (item,) = read(tmp_path / "a.parquet")
    assert isinstance(item.error, MissingExtra)
    assert "pip install 'embedhouse[parquet]'" in str(item.error)
