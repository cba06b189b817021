"""Bindings, dead letters and versions of sources, on a file and on a server."""

import threading

import pytest

from embedhouse.domain.errors import Conflict
from embedhouse.ledger import bindings, collections, source_versions
from embedhouse.ledger.bindings import SourceBinding, SourceLetter
from embedhouse.ledger.database import Database
from embedhouse.ledger.source_versions import EventVersion


@pytest.fixture
def binding(database: Database) -> SourceBinding:
    with database.write() as ledger:
        collection_id = collections.add_collection(ledger, "notes")
        return bindings.add_binding(ledger, collection_id, "changes", "kafka", "{}")


def _event(
    offset: int, *, version: int | None = None, partition: int = 0, sent_at_ms: int = 0, document_id: str = "a"
) -> EventVersion:
    return EventVersion(
        document_id=document_id, version=version, partition=partition, offset=offset, sent_at_ms=sent_at_ms
    )


CASES = [
    (_event(1, version=5), _event(2, version=6), True),
    (_event(1, version=5), _event(2, version=5), False),
    (_event(1, version=5), _event(2, version=4), False),
    (_event(9, version=-5), _event(2, version=-4), True),
    (_event(1), _event(2), True),
    (_event(2), _event(2), False),
    (_event(2), _event(1), False),
    (_event(1, version=5), _event(2), True),
    (_event(2), _event(1, version=5), False),
    (_event(9, sent_at_ms=10), _event(1, partition=1, sent_at_ms=11), True),
    (_event(1, sent_at_ms=10), _event(9, partition=1, sent_at_ms=10), False),
    (_event(1, version=5, sent_at_ms=10), _event(1, version=6, partition=1, sent_at_ms=2), True),
]


@pytest.mark.parametrize(("known", "coming", "wins"), CASES)
def test_advance_lets_only_newer_events_in(
    database: Database, binding: SourceBinding, known: EventVersion, coming: EventVersion, wins: bool
) -> None:
    assert coming.is_newer_than(known) is wins
    with database.write() as ledger:
        assert source_versions.advance(ledger, binding.id, [known]) == {"a"}
        assert source_versions.advance(ledger, binding.id, [coming]) == ({"a"} if wins else set())
        assert source_versions.versions(ledger, binding.id, ["a", "b"]) == {"a": coming if wins else known}


def test_advance_takes_many_documents_at_once(database: Database, binding: SourceBinding) -> None:
    events = [_event(number, document_id=f"d{number}") for number in range(1200)]
    with database.write() as ledger:
        assert len(source_versions.advance(ledger, binding.id, events[:700])) == 700
        assert len(source_versions.advance(ledger, binding.id, events)) == 500


def test_advance_of_several_workers_lets_one_win_each_version(database: Database, binding: SourceBinding) -> None:
    won: list[int] = []
    lock = threading.Lock()

    def work(first: int) -> None:
        for version in range(first, 60, 3):

            def step(version: int = version) -> set[str]:
                with database.write() as ledger:
                    return source_versions.advance(ledger, binding.id, [_event(version, version=version)])

            if database.persist(step):
                with lock:
                    won.append(version)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(set(won))
    assert 59 in won
    with database.read() as ledger:
        assert source_versions.versions(ledger, binding.id, ["a"])["a"].version == 59


def test_binding_is_kept_with_its_mark_and_outcome(database: Database, binding: SourceBinding) -> None:
    with pytest.raises(Conflict, match="'changes' already"), database.write() as ledger:
        bindings.add_binding(ledger, binding.collection_id, "changes", "sql", "{}")
    with database.write() as ledger:
        bindings.note_run(ledger, binding.id, "ok", "", '{"at": 1}')
        bindings.note_run(ledger, binding.id, "failed", "Gone.", None)
    with database.read() as ledger:
        (found,) = bindings.bindings(ledger, binding.collection_id)
    assert (found.mark, found.last_outcome, found.last_message) == ('{"at": 1}', "failed", "Gone.")
    assert found.last_run_at is not None


def test_letters_of_one_place_replace_each_other_and_go_with_their_documents(
    database: Database, binding: SourceBinding
) -> None:
    def letter(offset: int, document_id: str, message: str = "Why.") -> SourceLetter:
        return SourceLetter(
            topic="t",
            partition=0,
            offset=offset,
            document_id=document_id,
            place=f"t, {offset}",
            code="x",
            message=message,
        )

    with database.write() as ledger:
        bindings.add_source_letters(ledger, binding.id, [letter(1, "a"), letter(2, "b"), letter(3, "")])
        bindings.add_source_letters(ledger, binding.id, [letter(2, "b", "Another reason.")])
        found = bindings.source_letters(ledger, binding.id)
        assert [(one.offset, one.message) for one in found] == [(1, "Why."), (2, "Another reason."), (3, "Why.")]
        assert [one.offset for one in bindings.source_letters(ledger, binding.id, after=found[0].id)] == [2, 3]
        assert bindings.forget_source_letters(ledger, binding.id, document_ids=["b", "nothing"]) == 1
        assert bindings.forget_source_letters(ledger, binding.id, ids=[found[0].id]) == 1
        assert bindings.count_source_letters(ledger, binding.id) == 1
        bindings.replace_source_letters(ledger, binding.id, [letter(9, "z")])
        assert [one.document_id for one in bindings.source_letters(ledger, binding.id)] == ["z"]


def test_what_belongs_to_a_source_goes_with_it_and_with_its_collection(
    database: Database, binding: SourceBinding
) -> None:
    with database.write() as ledger:
        source_versions.advance(ledger, binding.id, [_event(1)])
        bindings.delete_binding(ledger, binding.id)
        assert source_versions.versions(ledger, binding.id, ["a"]) == {}
        again = bindings.add_binding(ledger, binding.collection_id, "changes", "kafka", "{}")
        source_versions.advance(ledger, again.id, [_event(1)])
        collections.delete_collection(ledger, binding.collection_id)
        assert bindings.bindings(ledger, binding.collection_id) == []
        assert source_versions.versions(ledger, again.id, ["a"]) == {}
