"""Queries, judged relevance and runs, read from and written to the field's file formats.

BEIR's forms: queries as JSON lines with `_id` and `text`, qrels as tab-separated query, document, relevance under
a header (Thakur et al., NeurIPS 2021). TREC's forms: qrels `QUERY 0 DOCUMENT RELEVANCE`, runs
`QUERY Q0 DOCUMENT RANK SCORE TAG`, separated by white space (https://trec.nist.gov/data/qrels_eng/).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec

from embedhouse.domain.errors import InvalidInput, UnreadableSource

__all__ = ["Qrels", "Run", "ranked", "read_qrels", "read_queries", "read_run", "write_run"]

Qrels = dict[str, dict[str, int]]
"""Query id -> document id -> relevance; 0 and below is not relevant."""

Run = dict[str, dict[str, float]]
"""Query id -> document id -> score, higher is better."""


class _Query(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    text: str


def read_queries(path: Path) -> dict[str, str]:
    """Query id -> text, in the file's order, from BEIR's JSON lines.

    Errors: UnreadableSource with the line, for what is no such line and for an id that stands twice.
    """
    decoder = msgspec.json.Decoder(_Query)
    queries: dict[str, str] = {}
    for number, line in _lines(path):
        try:
            query = decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise _bad_line(path, number, f'expected {{"_id": ..., "text": ...}} ({error})') from error
        if query.id in queries:
            raise _bad_line(path, number, f"query {query.id!r} stands twice")
        queries[query.id] = query.text
    return queries


def read_qrels(path: Path) -> Qrels:
    """Judged relevance from BEIR's three columns, with or without their header, or from TREC's four.

    Errors: UnreadableSource with the line, for another number of columns, a relevance that is no whole number,
    and two relevances of one pair.
    """
    qrels: Qrels = {}
    for number, line in _lines(path):
        columns = _qrel_columns(line)
        if columns is None:
            raise _bad_line(path, number, "expected QUERY<tab>DOCUMENT<tab>RELEVANCE or QUERY 0 DOCUMENT RELEVANCE")
        query_id, document_id, relevance = columns
        if not _is_whole(relevance):
            if number == 1:
                continue  # BEIR's header
            raise _bad_line(path, number, f"relevance {relevance!r} is no whole number")
        known = qrels.setdefault(query_id, {}).setdefault(document_id, int(relevance))
        if known != int(relevance):
            raise _bad_line(path, number, f"document {document_id!r} is judged {known} above")
    return qrels


def read_run(path: Path) -> Run:
    """A run in TREC's six columns. Its scores decide the order, as in trec_eval; its ranks are not read.

    Errors: UnreadableSource with the line, for another number of columns, a score that is no finite number, and a
    document that stands twice for one query.
    """
    run: Run = {}
    for number, line in _lines(path):
        columns = line.split()
        if len(columns) != 6:
            raise _bad_line(
                path, number, f"expected QUERY Q0 DOCUMENT RANK SCORE TAG, found {len(columns)} columns"
            )
        query_id, _, document_id, _, score, _ = columns
        hits = run.setdefault(query_id, {})
        if document_id in hits:
            raise _bad_line(path, number, f"document {document_id!r} stands twice for query {query_id!r}")
        hits[document_id] = _score(path, number, score)
    return run


def write_run(path: Path, run: Run, tag: str = "embedhouse") -> None:
    """Write a run in TREC's six columns, best first, ranks from 1; scores read back exactly.

    Errors: InvalidInput for an id or tag that is empty or holds white space, which this format cannot express.
    """
    names = {tag, *run, *(document_id for hits in run.values() for document_id in hits)}
    for unfit in sorted(name for name in names if name.split() != [name]):
        reason = f"A TREC run cannot hold the id {unfit!r}: it is empty or has white space. Use --json instead."
        raise InvalidInput(reason=reason)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query_id, hits in run.items():
            _write_hits(file, query_id, hits, tag)


def ranked(hits: dict[str, float]) -> list[str]:
    """Document ids by score, best first; equal scores by id ascending."""
    return sorted(hits, key=lambda document_id: (-hits[document_id], document_id))


def _write_hits(file: TextIO, query_id: str, hits: dict[str, float], tag: str) -> None:
    for rank, document_id in enumerate(ranked(hits), start=1):
        file.write(f"{query_id} Q0 {document_id} {rank} {float(hits[document_id])!r} {tag}\n")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise UnreadableSource(source=path, reason=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _bad_line(path, number + 1, "it is not UTF-8 text") from error


def _qrel_columns(line: str) -> tuple[str, str, str] | None:
    by_tab = [column.strip() for column in line.split("\t")]
    columns = by_tab if len(by_tab) > 2 else line.split()
    if len(columns) == 4:
        del columns[1]
    return (columns[0], columns[1], columns[2]) if len(columns) == 3 and all(columns) else None


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _score(path: Path, number: int, text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise _bad_line(path, number, f"score {text!r} is no finite number")
    return score


def _bad_line(path: Path, number: int, reason: str) -> UnreadableSource:
    return UnreadableSource(source=path, reason=f"line {number}: {reason}")
