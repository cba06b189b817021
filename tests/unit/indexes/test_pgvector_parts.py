"""What the store in PostgreSQL computes before it asks: statistics, which terms to look for, quoting."""

from __future__ import annotations

import math
from typing import Any

import psycopg
import pytest

from embedhouse.domain.collections import LexicalSettings
from embedhouse.indexes.pgvector import errors as pgvector_errors
from embedhouse.indexes.pgvector.errors import is_transient, label_of, store_error
from embedhouse.indexes.pgvector.filters import storable, stored
from embedhouse.indexes.pgvector.index import GraphSettings, PgvectorIndex
from embedhouse.indexes.pgvector.lexical import (
    OF_ALL,
    Difference,
    QueryTerm,
    Words,
    WordsDumper,
    essential_count,
    query_terms,
    tsquery,
)
from embedhouse.indexes.pgvector.schema import Mark, Tables

SETTINGS = LexicalSettings()


def test_words_count_each_term_and_remember_only_repeated_ones() -> None:
    words = Words(["a", "b", "a", "c", "a"])
    assert (sorted(words.all), words.repeated, words.length) == (["a", "b", "c"], {"a": 3}, 5)


def test_words_dumper_writes_lexemes_without_positions() -> None:
    dumped = WordsDumper(Words).dump(Words(["é", "b", "b"]))
    assert dumped == b"\x00\x00\x00\x02" + b"\xc3\xa9\x00\x00\x00" + b"b\x00\x00\x00"


def test_difference_of_a_replaced_text_holds_only_what_changed() -> None:
    changed = Difference()
    changed.add(["new", "kept"], 5, 1)
    changed.add(["old", "kept"], 2, -1)
    assert sorted(changed.rows()) == [(OF_ALL, 0, 3), ("new", 1, 0), ("old", -1, 0)]


def test_query_terms_are_the_known_ones_rarest_first() -> None:
    found = query_terms(["common", "unknown", "rare"], {"common": 90, "rare": 2}, 100, SETTINGS)
    assert [each.term for each in found] == ["rare", "common"]
    assert found[0].most == pytest.approx(math.log(1 + 98.5 / 2.5) * 2.2)


def _terms(*most: float) -> list[QueryTerm]:
    return [QueryTerm(f"t{place}", 10**place, each) for place, each in enumerate(most, start=1)]


@pytest.mark.parametrize(
    ("k", "best", "expected"),
    [
        (1, None, 3),  # 10 + 100 matches are not enough to begin with, 1110 are
        (1_000, None, 4),
        (2, [9.0, 7.1], 1),  # what lacks the first has at most 4 + 2 + 1
        (2, [9.0, 7.0], 2),  # as much is not less: it may have a smaller key
        (2, [9.0, 2.5], 3),
        (2, [9.0, 0.5], 4),
        (2, [9.0], 4),  # anything may be second
    ],
)
def test_essential_count_leaves_out_terms_that_cannot_matter(
    k: int, best: list[float] | None, expected: int
) -> None:
    assert essential_count(_terms(8.0, 4.0, 2.0, 1.0), k, best) == expected


def test_tsquery_quotes_what_it_is_given() -> None:
    assert tsquery(["plain", "o'clock", "back\\slash", "&|!"]) == "'plain' | 'o''clock' | 'back\\\\slash' | '&|!'"


@pytest.mark.parametrize("text", ["", "plain", "\x00", "\x01", "\x00\x01", "\x01\x00\x00\x02", "a\x01\x01b\x02"])
def test_storable_text_has_no_nul_and_comes_back(text: str) -> None:
    assert "\x00" not in storable(text)
    assert stored(storable(text)) == text


def test_mark_is_read_back_and_nothing_else_is_taken_for_one() -> None:
    mark = Mark(owner="o", name="n", dimensions=3, vectors="vector", sides="both", analyzer="english")
    assert Mark.parse(mark.text()) == mark
    for comment in (None, "", "someone's table", "embedhouse index {}", mark.text().replace(":1}", ":2}")):
        assert Mark.parse(comment) is None


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://u:secret@host:5433/db", "PostgreSQL at host:5433/db"),
        ("postgresql:///db?host=/run/postgresql", "PostgreSQL at /run/postgresql/db"),
        ("postgresql://", "PostgreSQL at the local socket"),
    ],
)
def test_label_names_the_server_without_secrets(url: str, label: str) -> None:
    assert label_of(url) == label


def test_store_error_hides_the_password() -> None:
    error = store_error(psycopg.OperationalError('password "hunter2" is wrong'), "PostgreSQL", "hunter2")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("state", sorted(pgvector_errors._TRANSIENT))
def test_transient_errors_are_those_that_may_pass(state: str) -> None:
    assert is_transient(psycopg.errors.lookup(state)())


def test_transient_errors_are_not_those_that_stay() -> None:
    for state in ("28P01", "25006", "53100", "42P01", "22P02"):
        assert not is_transient(psycopg.errors.lookup(state)())


class _Session:
    """Has no shared memory for several workers."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, statement: Any, params: object = None) -> Any:
        text = statement if isinstance(statement, str) else statement.as_string(None)
        self.statements.append(text)
        if text.startswith("CREATE INDEX") and "SET max_parallel_maintenance_workers = 0" not in self.statements:
            raise psycopg.errors.DiskFull("could not resize shared memory segment: No space left on device")
        return self

    def fetchone(self) -> tuple[bool]:
        return (True,)


def test_graph_is_built_by_one_worker_where_shared_memory_is_short() -> None:
    mark = Mark(owner="o", name="n", dimensions=3, vectors="halfvec", sides="both", analyzer="english")
    settings = GraphSettings(ef_search=40, graph_from=1, build_memory_mb=100)
    session: Any = _Session()
    link: Any = None
    PgvectorIndex(link, Tables("n"), mark, SETTINGS, settings)._build_graph(session, 1_000)
    builds = [text for text in session.statements if text.startswith(("DROP", "CREATE", "SET"))]
    assert [text.split(" ")[0] for text in builds] == ["DROP", "CREATE", "SET", "DROP", "CREATE"]
