import threading

import pytest
from sqlalchemy import func, select

from embedhouse.ledger import tables as t
from embedhouse.ledger.database import Database
from embedhouse.ledger.term_statistics import LedgerTermStatistics
from embedhouse.ports import TermCounts, TermFrequencies

LARGEST = 2**32 - 1


@pytest.fixture
def statistics(database: Database) -> LedgerTermStatistics:
    return LedgerTermStatistics(database)


def counts(**terms: int) -> TermCounts:
    """counts(t1=2, t7=1): term 1 twice, term 7 once."""
    return TermCounts(counts={int(term[1:]): count for term, count in terms.items()}, length=sum(terms.values()))


def found(statistics: LedgerTermStatistics, *terms: int, index: str = "a") -> tuple[int, int, dict[int, int]]:
    frequencies: TermFrequencies = statistics.frequencies(index, terms)
    return frequencies.documents, frequencies.length, dict(frequencies.documents_with)


def test_frequencies_count_entries_and_not_occurrences(statistics: LedgerTermStatistics) -> None:
    statistics.add("a", "default", {1: counts(t1=3, t2=1), 2: counts(t1=1)})
    assert found(statistics, 1, 2, 3) == (2, 5, {1: 2, 2: 1})


def test_frequencies_of_an_unknown_index_are_empty(statistics: LedgerTermStatistics) -> None:
    assert found(statistics, 1) == (0, 0, {})


def test_adding_twice_counts_once(statistics: LedgerTermStatistics) -> None:
    for _ in range(2):
        statistics.add("a", "default", {1: counts(t1=3, t2=1)})
    assert found(statistics, 1, 2) == (1, 4, {1: 1, 2: 1})


def test_adding_a_key_again_takes_its_old_terms_away(statistics: LedgerTermStatistics) -> None:
    statistics.add("a", "default", {1: counts(t1=3, t2=1), 2: counts(t2=1)})
    statistics.add("a", "default", {1: counts(t3=2)})
    assert found(statistics, 1, 2, 3) == (2, 3, {2: 1, 3: 1})


def test_removing_twice_takes_away_once(statistics: LedgerTermStatistics) -> None:
    statistics.add("a", "default", {1: counts(t1=1), 2: counts(t1=2)})
    for _ in range(2):
        statistics.remove("a", "default", [1, 99])
    assert found(statistics, 1) == (1, 2, {1: 1})


def test_nothing_is_left_of_what_was_removed(statistics: LedgerTermStatistics, database: Database) -> None:
    statistics.add("a", "default", {1: counts(t1=1), 2: TermCounts(counts={}, length=0)})
    statistics.remove("a", "default", [1, 2])
    with database.read() as ledger:
        for table in (t.term_frequency, t.term_entry):
            assert ledger.execute(select(func.count()).select_from(table)).scalar() == 0


def test_the_same_key_in_two_namespaces_is_two_entries(statistics: LedgerTermStatistics) -> None:
    statistics.add("a", "one", {1: counts(t1=1)})
    statistics.add("a", "two", {1: counts(t1=1)})
    assert found(statistics, 1) == (2, 2, {1: 2})
    statistics.remove("a", "two", [1])
    assert found(statistics, 1) == (1, 1, {1: 1})


def test_indexes_are_apart_and_dropped_apart(statistics: LedgerTermStatistics, database: Database) -> None:
    statistics.add("a", "default", {1: counts(t1=1)})
    statistics.add("b", "default", {1: counts(t1=1)})
    statistics.drop("a")
    statistics.drop("a")
    assert found(statistics, 1) == (0, 0, {})
    assert found(statistics, 1, index="b") == (1, 1, {1: 1})
    with database.read() as ledger:
        assert ledger.execute(select(func.count()).select_from(t.term_entry)).scalar() == 1


def test_the_largest_ids_and_keys_are_kept(statistics: LedgerTermStatistics) -> None:
    statistics.add("a", "default", {2**63 - 1: TermCounts(counts={0: 1, LARGEST: 1}, length=2)})
    assert found(statistics, 0, LARGEST) == (1, 2, {0: 1, LARGEST: 1})


def test_a_batch_larger_than_one_statement_takes(statistics: LedgerTermStatistics) -> None:
    entries = {key: TermCounts(counts={key: 1, 0: 1}, length=2) for key in range(1, 2_501)}
    statistics.add("a", "default", entries)
    assert found(statistics, *range(2_501))[2] == {0: 2_500} | dict.fromkeys(range(1, 2_501), 1)
    statistics.remove("a", "default", list(entries))
    assert found(statistics, *range(2_501)) == (0, 0, {})


def test_workers_that_count_the_same_terms_at_once_lose_nothing(statistics: LedgerTermStatistics) -> None:
    wrong: list[BaseException] = []

    def work(worker: int) -> None:
        terms = range(50) if worker % 2 else range(49, -1, -1)
        try:
            for step in range(5):
                key = 1 + worker * 5 + step
                statistics.add("a", "default", {key: TermCounts(counts=dict.fromkeys(terms, 1), length=50)})
                statistics.add("a", "default", {1_000: TermCounts(counts={worker: 1}, length=1)})
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert wrong == []
    documents, length, with_terms = found(statistics, *range(50))
    assert (documents, length) == (21, 20 * 50 + 1)
    assert sum(with_terms.values()) == 20 * 50 + 1
