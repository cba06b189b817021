from __future__ import annotations

from pathlib import Path

import pytest

from embedhouse.domain.errors import InvalidInput, UnreadableSource
from embedhouse.evaluation.judgements import ranked, read_qrels, read_queries, read_run, write_run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_read_queries_takes_beir_lines_in_order(file: Path) -> None:
    file.write_text('{"_id": "2", "text": "zwei", "metadata": {}}\n\n{"_id": "1", "text": "ein s"}\n')
    assert list(read_queries(file).items()) == [("2", "zwei"), ("1", "ein s")]


@pytest.mark.parametrize(
    "line", ["{", '{"_id": 1, "text": "a"}', '{"_id": "1"}', "[]", '{"_id": "0", "text": "again"}', "1\ttext"]
)
def test_read_queries_names_the_bad_line(file: Path, line: str) -> None:
    file.write_text('{"_id": "0", "text": "fine"}\n\n' + line + "\n")
    with pytest.raises(UnreadableSource, match="line 3"):
        read_queries(file)


def test_read_qrels_takes_beir_columns_with_and_without_header(file: Path) -> None:
    rows = "q1\td 1\t1\nq1\td2\t0\nq2\td1\t2\n"
    expected = {"q1": {"d 1": 1, "d2": 0}, "q2": {"d1": 2}}
    file.write_text("query-id\tcorpus-id\tscore\n" + rows)
    assert read_qrels(file) == expected
    file.write_text(rows)
    assert read_qrels(file) == expected


def test_read_qrels_takes_trec_columns(file: Path) -> None:
    file.write_text("q1 0 d1 1\r\nq1\t0\td2\t-1\nq2  0  d1  2\n")
    assert read_qrels(file) == {"q1": {"d1": 1, "d2": -1}, "q2": {"d1": 2}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 d1", "expected QUERY"),
        ("q1 0 d1 1 extra", "expected QUERY"),
        ("q1\t\t1", "expected QUERY"),
        ("q1 0 d1 1.5", "no whole number"),
        ("q1 0 d1 yes", "no whole number"),
        ("q0 0 d0 0", "judged 1 above"),
    ],
)
def test_read_qrels_names_the_bad_line(file: Path, line: str, reason: str) -> None:
    file.write_text(f"q0 0 d0 1\n{line}\n")
    with pytest.raises(UnreadableSource, match=f"line 2: .*{reason}"):
        read_qrels(file)


def test_read_run_takes_trec_columns_and_reads_no_rank(file: Path) -> None:
    file.write_text("q1 Q0 d1 7 0.5 tag\nq1 Q0 d2 1 1e-3 tag\n")
    assert read_run(file) == {"q1": {"d1": 0.5, "d2": 0.001}}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 Q0 d1 1 0.5", "5 columns"),
        ("q1 Q0 d1 1 high tag", "no finite number"),
        ("q1 Q0 d1 1 nan tag", "no finite number"),
        ("q0 Q0 d0 1 0.5 tag", "stands twice"),
    ],
)
def test_read_run_names_the_bad_line(file: Path, line: str, reason: str) -> None:
    file.write_text(f"q0 Q0 d0 1 0.5 tag\n{line}\n")
    with pytest.raises(UnreadableSource, match=f"line 2: .*{reason}"):
        read_run(file)


def test_read_run_says_what_is_not_there_and_what_is_no_text(file: Path) -> None:
    with pytest.raises(UnreadableSource, match="No such file"):
        read_run(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableSource, match="line 1: it is not UTF-8"):
        read_run(file)


def test_write_run_reads_back_exactly_best_first(file: Path) -> None:
    run = {"q2": {"b": 0.1 + 0.2, "a": 1e-9, "c": 5.0}, "q1": {"x": 1.0, "w": 1.0}}
    write_run(file, run, tag="ours")
    assert file.read_text().splitlines() == [
        "q2 Q0 c 1 5.0 ours",
        "q2 Q0 b 2 0.30000000000000004 ours",
        "q2 Q0 a 3 1e-09 ours",
        "q1 Q0 w 1 1.0 ours",
        "q1 Q0 x 2 1.0 ours",
    ]
    assert read_run(file) == run


@pytest.mark.parametrize("unfit", ["my notes.md", "", " a", "a\tb"])
def test_write_run_refuses_ids_that_the_format_cannot_hold(file: Path, unfit: str) -> None:
    with pytest.raises(InvalidInput, match="white space"):
        write_run(file, {"q": {unfit: 1.0}})
    assert not file.exists()


def test_ranked_breaks_ties_by_id() -> None:
    assert ranked({"b": 1.0, "c": 2.0, "a": 1.0}) == ["c", "a", "b"]
