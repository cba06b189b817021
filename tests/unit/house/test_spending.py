"""Budgets, attribution and plans through a house whose model costs a tenth of a cent a word."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paid_house import PROVIDER, Clock, PaidHouse, open_paid_house

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import BudgetExceeded, InvalidInput, NotFound, ProviderUnavailable
from embedhouse.domain.models import attributed, attribution
from embedhouse.domain.threads import ContextThreads

MIDDAY = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
A_DAY_LATER = MIDDAY + 86_400
ONE_CENT_A_DAY = {"budgets": [{"usd": 0.01, "per": "day"}]}


@pytest.fixture
def clock() -> Clock:
    return Clock(MIDDAY)


@pytest.fixture
def open_house(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., PaidHouse]]:
    opened: list[PaidHouse] = []

    def open_one(**given: Any) -> PaidHouse:
        while opened:
            opened.pop().close()
        opened.append(open_paid_house(tmp_path / "house", clock, **given))
        return opened[-1]

    yield open_one
    while opened:
        opened.pop().close()


@pytest.fixture
def house(open_house: Callable[..., PaidHouse]) -> PaidHouse:
    return open_house()


def _document(id: str, words: int) -> Document:
    return Document(id=id, text=" ".join(f"{id}{number}" for number in range(words)))


def _write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def _groups(house: PaidHouse, by: Any) -> dict[str, int]:
    return {row.group: row.tokens for row in house.usage.report(by).rows}


def test_usage_is_on_the_collections_account(house: PaidHouse) -> None:
    for name in ("notes", "mail"):
        house.collections.create(name)
        house.documents.upsert(name, [_document(name, 7)])
    house.search("notes", "two words")
    house.search("notes", "two words")
    house.models.embed(["one two three"], collection="mail")
    house.models.embed(["four words of nobody"])
    assert _groups(house, "collection") == {"": 4, "mail": 10, "notes": 9}
    report = house.usage.report("collection", collection="notes")
    assert (report.total.items, report.total.cached_items, report.total.requests) == (2, 1, 2)
    assert report.total.usd == pytest.approx(0.009)


def test_usage_report_filters_days(house: PaidHouse, clock: Clock) -> None:
    house.models.embed(["one two"])
    clock.now = A_DAY_LATER
    house.models.embed(["one two three"])
    assert _groups(house, "day") == {"2026-03-01": 2, "2026-03-02": 3}
    assert house.usage.report(since="2026-03-02").total.tokens == 3
    assert house.usage.report(until="2026-03-01").total.tokens == 2
    assert house.usage.report(since="2026-03-01", until="2026-03-02", provider=PROVIDER).total.tokens == 5
    assert house.usage.report(provider="openai").total.tokens == 0


@pytest.mark.parametrize("wanted", [{"since": "yesterday"}, {"until": "2026-02-30"}, {"by": "colour"}])
def test_usage_report_refuses_what_it_cannot_read(house: PaidHouse, wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        house.usage.report(**wanted)


def test_index_that_hits_a_budget_leaves_its_changes_pending(
    open_house: Callable[..., PaidHouse], tmp_path: Path, clock: Clock
) -> None:
    house = open_house(**ONE_CENT_A_DAY)
    folder = _write(tmp_path / "texts", a="one two three four five six", b="seven eight nine ten eleven twelve")
    with pytest.raises(BudgetExceeded) as refused:
        house.index("notes", [folder])
    assert refused.value.fields["resets_at"] == "2026-03-02T00:00:00+00:00"
    status = house.status()
    assert (status.collections[0].pending_chunks, status.collections[0].dead_letters) == (2, 0)
    house = open_house(budgets=[{"usd": 1.0, "per": "day"}])
    report = house.index("notes", [folder])
    assert (report.write.unchanged, report.write.tokens, report.write.pending_chunks) == (2, 14, 0)
    assert house.search("notes", "seven").hits


def test_upsert_that_hits_a_budget_is_kept_and_indexed_by_the_next_run(
    open_house: Callable[..., PaidHouse], clock: Clock, tmp_path: Path
) -> None:
    house = open_house(**ONE_CENT_A_DAY)
    house.collections.create("notes")
    with pytest.raises(BudgetExceeded):
        house.documents.upsert("notes", [_document("a", 11)])
    assert house.documents.get("notes", "a").chunks == 1
    assert house.search("notes", "a1 a2").hits == []  # a query goes on
    clock.now = A_DAY_LATER
    house.documents.upsert("notes", [_document("b", 2)])
    assert house.status().collections[0].pending_chunks == 1


def test_delete_goes_on_while_a_budget_is_used_up(open_house: Callable[..., PaidHouse]) -> None:
    house = open_house(**ONE_CENT_A_DAY)
    house.collections.create("notes")
    house.documents.upsert("notes", [_document("a", 9)])
    with pytest.raises(BudgetExceeded):
        house.documents.upsert("notes", [_document("b", 9)])
    assert house.documents.delete("notes", ids=["a"]) == 1
    assert house.search("notes", "a1").hits == []


def test_query_is_refused_where_the_budget_says_so(open_house: Callable[..., PaidHouse]) -> None:
    house = open_house(budgets=[{"usd": 0.002, "per": "month", "queries": False}])
    house.models.embed(["one two"])
    with pytest.raises(BudgetExceeded, match="a month for everything"):
        house.models.embed(["three"])
    assert house.models.embed(["one two"]).usage.cached_texts == 1  # from the cache: it costs nothing


def test_status_shows_budgets_over_their_warning(open_house: Callable[..., PaidHouse]) -> None:
    house = open_house(budgets=[{"usd": 0.01, "per": "day"}, {"usd": 100.0, "per": "month"}])
    house.models.embed(["one two three four five six seven"])
    assert house.status().budgets == []
    house.models.embed(["eight"])
    assert [(use.budget, use.share) for use in house.status().budgets] == [
        ("0.01 USD a day for everything", pytest.approx(0.8))
    ]
    assert len(house.usage.report().budgets) == 2


def _until(house: PaidHouse, is_so: Callable[[], bool]) -> None:
    """The background is told to look at the clock, again and again."""
    tick = threading.Event()
    for _ in range(3000):
        if is_so():
            return
        house._shelf.background.wake()
        tick.wait(0.01)
    pytest.fail(f"{house.collections.get('notes').pending_chunks} chunks are pending")


def _until_put_off(house: PaidHouse, clock: Clock) -> None:
    """Until the background has failed, and waits for a later time."""
    _until(
        house, lambda: any(work.not_before > clock() for work in list(house._shelf.background._waiting.values()))
    )


def _wait_for(house: PaidHouse, pending: int) -> None:
    _until(house, lambda: house.collections.get("notes").pending_chunks == pending)


def test_accepted_documents_are_indexed_when_the_budget_begins_anew(
    open_house: Callable[..., PaidHouse], clock: Clock
) -> None:
    house = open_house(**ONE_CENT_A_DAY)
    house._shelf.background._clock = clock
    house.collections.create("notes")
    house.documents.upsert("notes", [_document("a", 6)], wait="accepted")
    _wait_for(house, 0)
    with attributed(caller="bob"):
        house.documents.upsert("notes", [_document("b", 6)], wait="accepted")
    _until_put_off(house, clock)
    assert house.collections.get("notes").pending_chunks == 1
    clock.now = A_DAY_LATER
    _wait_for(house, 0)
    assert house.search("notes", "b1").hits[0].document_id == "b"
    assert _groups(house, "caller") == {"": 7, "bob": 6}


def test_accepted_documents_are_indexed_after_a_restart_with_a_larger_budget(
    open_house: Callable[..., PaidHouse],
) -> None:
    house = open_house(**ONE_CENT_A_DAY)
    house.collections.create("notes")
    house.documents.upsert("notes", [_document("a", 20)], wait="accepted")
    house = open_house(budgets=[{"usd": 1.0, "per": "day"}])
    house.index_waiting()
    _wait_for(house, 0)
    assert house.search("notes", "a1").hits


def test_accepted_documents_are_on_the_account_of_whoever_sent_them(house: PaidHouse) -> None:
    house.collections.create("notes")

    def send(caller: str) -> None:
        for number in range(4):
            with attributed(caller=caller, request_id=f"{caller}{number}"):
                house.documents.upsert("notes", [_document(f"{caller}{number}", 5)], wait="accepted")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(send, ["alice", "bob", "eve"]))
    _wait_for(house, 0)
    assert _groups(house, "caller") == {"alice": 20, "bob": 20, "eve": 20}
    assert _groups(house, "collection") == {"notes": 60}


def test_failed_background_work_is_tried_again(house: PaidHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    house._shelf.background._clock = clock
    house.collections.create("notes")
    failed = threading.Event()

    def fail(*_: object, **__: object) -> None:
        failed.set()
        raise ProviderUnavailable(provider=PROVIDER, reason="it is down")

    with monkeypatch.context() as broken:
        broken.setattr(house.provider, "embed", fail)
        house.documents.upsert("notes", [_document("a", 5)], wait="accepted")
        assert failed.wait(30)
        _until_put_off(house, clock)
        assert house.collections.get("notes").pending_chunks == 1
    clock.now = 61.0
    _wait_for(house, 0)


def test_context_threads_work_on_their_submitters_account() -> None:
    with ContextThreads(1) as threads:
        with attributed(caller="alice", collection="notes", request_id="r1"):
            first = threads.submit(attribution)
        second = threads.submit(attribution)
    assert (first.result().caller, first.result().collection, first.result().request_id) == ("alice", "notes", "r1")
    assert second.result().caller == ""


def test_plan_of_a_new_collection_writes_and_embeds_nothing(house: PaidHouse, tmp_path: Path) -> None:
    folder = _write(tmp_path / "texts", a="one two three", b="four five", c="four five")
    before = _files(tmp_path / "house")
    plan = house.plan_index("notes", [folder])
    assert (plan.new, plan.changed, plan.unchanged, plan.new_chunks) == (3, 0, 0, 3)
    assert house.provider.calls == []
    assert house.collections.list() == []
    assert _files(tmp_path / "house") == before
    assert (plan.provider, plan.model, plan.seconds) == (PROVIDER, "hash", None)
    report = house.index("notes", [folder])
    assert (plan.tokens, plan.uncached_chunks) == (report.write.tokens, len(house.provider.calls))
    assert plan.usd == pytest.approx(report.write.tokens * 0.001)


def test_plan_of_changed_documents_counts_only_what_the_cache_lacks(house: PaidHouse, tmp_path: Path) -> None:
    folder = _write(tmp_path / "texts", a="one two three", b="four five", c="six")
    house.index("notes", [folder])
    house.models.embed(["two two"], collection="notes")
    embedded = len(house.provider.calls)
    (folder / "c.txt").unlink()
    _write(folder, b="entirely new", d="seven eight nine ten")
    plan = house.plan_index("notes", [folder], prune=True)
    assert (plan.new, plan.changed, plan.unchanged, plan.deleted) == (1, 1, 1, 1)
    assert (plan.new_chunks, plan.gone_chunks) == (2, 1)
    assert len(house.provider.calls) == embedded
    report = house.index("notes", [folder], prune=True)
    assert (report.write.added, report.write.updated, report.write.deleted) == (1, 1, 1)
    assert plan.tokens == report.write.tokens
    again = house.plan_index("notes", [folder])
    assert (again.tokens, again.usd, again.seconds, again.uncached_chunks) == (0, 0.0, 0.0, 0)


def test_plan_takes_its_time_from_what_was_recorded(house: PaidHouse, tmp_path: Path) -> None:
    house.index("few", [_write(tmp_path / "few", few="a few words")])
    house.meter.flush()
    assert house.plan_index("notes", [_write(tmp_path / "more", more="some other words")]).seconds is None
    house.index("other", [_write(tmp_path / "first", a=" ".join(f"a{n}" for n in range(1000)))])
    house.meter.flush()
    folder = _write(tmp_path / "second", b=" ".join(f"b{n}" for n in range(100)))
    plan = house.plan_index("notes", [folder])
    assert plan.seconds == pytest.approx(plan.tokens * 0.01)  # the provider's hundredth of a second a token


def test_plan_counts_what_waits_from_before(open_house: Callable[..., PaidHouse], tmp_path: Path) -> None:
    folder = _write(tmp_path / "texts", a="one two three four five six", b="seven eight nine ten eleven twelve")
    house = open_house(**ONE_CENT_A_DAY)
    with pytest.raises(BudgetExceeded):
        house.index("notes", [folder])
    plan = house.plan_index("notes", [folder])
    assert (plan.unchanged, plan.waiting_chunks, plan.tokens) == (2, 2, 14)


def test_plan_names_what_cannot_be_read(house: PaidHouse, tmp_path: Path) -> None:
    folder = _write(tmp_path / "texts", a="one two three", empty="")
    plan = house.plan_index("notes", [folder])
    assert len(plan.failures) == len(house.index("notes", [folder]).write.failures) == 1
    assert plan.failures[0].source.endswith("empty.txt")


def test_plan_makes_the_same_complaints_as_index(house: PaidHouse, tmp_path: Path) -> None:
    folder = _write(tmp_path / "texts", a="one")
    with pytest.raises(InvalidInput, match="collection's name"):
        house.plan_index("not a name", [folder])
    with pytest.raises(NotFound):
        house.plan_index("notes", [tmp_path / "nowhere"])


def _files(folder: Path) -> dict[str, int]:
    """What is in the ledger and the cache, without the journals that SQLite keeps beside them."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix == ".db"}
