"""Canaries: what they teach, what they find, and what they leave alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drifting import PROVIDED, DriftingEmbedder
from fake_house import SPACE, HashEmbedder

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import ProviderUnavailable, SpaceFrozen
from embedhouse.domain.spaces import Lane
from embedhouse.ledger.database import Database
from embedhouse.models.canary import TEXTS, distance, learn_canary, take_canary
from embedhouse.models.spaces import _GRACE_S, GuardedEmbedder, SpaceStates
from embedhouse.telemetry import COUNTERS

HOUR = 3600.0
DOWN = ProviderUnavailable(provider="drifting", reason="connection refused")
NEVER = Deadline.never()


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "ledger.db")
    yield database
    database.close()


@pytest.fixture
def states(database: Database, clock: Clock) -> Iterator[SpaceStates]:
    states = SpaceStates(database, 24, clock)
    yield states
    states.close()


@pytest.fixture
def embedder() -> DriftingEmbedder:
    return DriftingEmbedder()


@pytest.fixture
def guarded(states: SpaceStates, embedder: DriftingEmbedder) -> GuardedEmbedder:
    return GuardedEmbedder(embedder, states)


def _embed(guarded: GuardedEmbedder, text: str = "Some text.", lane: Lane = "bulk") -> np.ndarray:
    return guarded.embed([text], role="query", lane=lane, deadline=NEVER).vectors[0]


def _settled(states: SpaceStates) -> None:
    """Wait for canaries that are under way."""
    passed = threading.Event()
    states._threads.submit(passed.set)
    assert passed.wait(10)


def test_canary_has_every_text_in_both_roles(embedder: DriftingEmbedder) -> None:
    found = take_canary(embedder, NEVER)
    assert (len(found), {role for role, _ in found}) == (2 * len(TEXTS), {"document", "query"})


def test_distance_is_the_largest_of_the_texts(embedder: DriftingEmbedder) -> None:
    first = take_canary(embedder, NEVER)
    other = dict(first)
    key = next(iter(other))
    other[key] = -other[key]
    assert distance(first, first) == pytest.approx(0, abs=1e-6)
    assert distance(first, other) == pytest.approx(2)


@pytest.mark.parametrize("odd", [np.zeros(16, np.float32), np.full(16, np.nan, np.float32), np.ones(8, np.float32)])
def test_distance_of_what_is_no_direction_is_large(embedder: DriftingEmbedder, odd: np.ndarray) -> None:
    first = take_canary(embedder, NEVER)
    assert distance(first, {next(iter(first)): odd}) >= 1


def test_tolerance_grows_with_the_noise_of_repeated_calls(embedder: DriftingEmbedder) -> None:
    still = learn_canary(embedder, NEVER).tolerance
    embedder.noise = 0.1
    noisy = learn_canary(embedder, NEVER).tolerance
    assert still == 5e-4
    assert 0.005 < noisy < 0.1


def test_first_use_records_a_canary_past_the_query_lane(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder
) -> None:
    _embed(guarded, lane="interactive")
    _settled(states)
    (known,) = states.known()
    assert (known.space, known.state) == (PROVIDED, "ok")
    assert embedder.calls.count(TEXTS[0]) == 2 * 3
    assert embedder.lanes == {"interactive", "bulk"}


def test_canary_is_taken_again_only_when_it_is_due(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder, clock: Clock
) -> None:
    for hours, times in ((0, 6), (23, 6), (2, 8)):
        clock.now += hours * HOUR
        _embed(guarded)
        _settled(states)
        assert embedder.calls.count(TEXTS[0]) == times


def test_canary_is_due_by_the_last_process_that_took_it(
    database: Database, states: SpaceStates, guarded: GuardedEmbedder, clock: Clock
) -> None:
    states.check(guarded, NEVER)
    later = SpaceStates(database, 24, clock)
    fresh = DriftingEmbedder()
    _embed(GuardedEmbedder(fresh, later))
    _settled(later)
    later.close()
    assert fresh.calls == ["Some text."]


def test_hashed_weights_are_checked_with_bulk_work_alone(states: SpaceStates) -> None:
    embedder = HashEmbedder(SPACE)
    guarded = GuardedEmbedder(embedder, states)
    _embed(guarded, lane="interactive")
    _settled(states)
    assert states.known() == []
    _embed(guarded, lane="bulk")
    _settled(states)
    assert [known.space for known in states.known()] == [SPACE]


def test_canary_hours_of_0_take_none(database: Database, embedder: DriftingEmbedder) -> None:
    states = SpaceStates(database, 0)
    _embed(GuardedEmbedder(embedder, states))
    states.close()
    assert embedder.calls == ["Some text."]


def test_model_that_changed_is_frozen_and_stays_so_for_the_next_process(
    database: Database, states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder, clock: Clock
) -> None:
    before = COUNTERS.snapshot().get("spaces_frozen", 0)
    _embed(guarded)
    _settled(states)
    embedder.version = "another model"
    clock.now += 25 * HOUR
    _embed(guarded)  # it is not known yet, and nobody waits to know
    _settled(states)
    with pytest.raises(SpaceFrozen, match="unfreeze words-1") as caught:
        _embed(guarded)
    assert caught.value.fields["space"] == PROVIDED.fingerprint[:12]
    assert COUNTERS.snapshot()["spaces_frozen"] == before + 1
    (known,) = states.known()
    assert (known.state, known.frozen_at) == ("frozen", clock.now)
    later = SpaceStates(database, 24, clock)
    with pytest.raises(SpaceFrozen):
        _embed(GuardedEmbedder(embedder, later))
    with pytest.raises(SpaceFrozen):
        GuardedEmbedder(embedder, later).embed_tokens(["x"], role="query", deadline=NEVER)
    later.close()


def test_noise_within_what_was_learnt_freezes_nothing(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder
) -> None:
    embedder.noise = 0.05
    for _ in range(10):
        assert states.check(guarded, NEVER).state == "ok"


def test_canary_that_cannot_be_taken_freezes_nothing(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder, clock: Clock
) -> None:
    states.check(guarded, NEVER)
    before = COUNTERS.snapshot().get("canaries_not_taken", 0)
    embedder.error = DOWN
    states.check_quietly(guarded)
    embedder.error = None
    assert COUNTERS.snapshot()["canaries_not_taken"] == before + 1
    assert states.known()[0].state == "ok"
    assert _embed(guarded).shape == (16,)


def test_unfreeze_refuses_another_model_and_takes_the_old_one_back(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder
) -> None:
    first = states.check(guarded, NEVER)
    embedder.version = "another model"
    states.check(guarded, NEVER)
    with pytest.raises(SpaceFrozen):
        states.unfreeze(guarded, NEVER)
    embedder.version = ""
    assert states.check(guarded, NEVER).state == "frozen"  # not by itself: a person decides
    thawed = states.unfreeze(guarded, NEVER)
    assert (thawed.state, thawed.recorded_at, thawed.frozen_at) == ("ok", first.recorded_at, None)
    assert _embed(guarded).shape == (16,)


def test_unfreeze_can_accept_the_new_model(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder
) -> None:
    states.check(guarded, NEVER)
    embedder.version = "another model"
    states.check(guarded, NEVER)
    assert states.unfreeze(guarded, NEVER, accept=True).state == "ok"
    assert states.check(guarded, NEVER).state == "ok"
    embedder.version = ""
    assert states.check(guarded, NEVER).state == "frozen"


def test_canary_of_other_texts_is_recorded_anew(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    states.check(guarded, NEVER)
    embedder.version = "another model"
    monkeypatch.setattr("embedhouse.models.canary.TEXTS", ("Text of a later version.",))
    assert states.check(guarded, NEVER).state == "ok"


def test_frozen_space_stays_so_when_a_later_version_has_other_texts(
    states: SpaceStates, guarded: GuardedEmbedder, embedder: DriftingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    states.check(guarded, NEVER)
    embedder.version = "another model"
    reason = states.check(guarded, NEVER).reason
    monkeypatch.setattr("embedhouse.models.canary.TEXTS", ("Text of a later version.",))
    assert states.check(guarded, NEVER).state == "frozen"
    with pytest.raises(SpaceFrozen) as caught:
        states.unfreeze(guarded, NEVER)
    assert caught.value.fields["reason"] == reason
    assert states.unfreeze(guarded, NEVER, accept=True).state == "ok"


def test_close_does_not_wait_for_a_provider_that_hangs(
    database: Database, embedder: DriftingEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_GRACE_S, "bulk", 0.01)
    states = SpaceStates(database, 24)
    guarded = GuardedEmbedder(embedder, states)
    asked = threading.Event()

    def hang(texts, *, role, lane, deadline):
        asked.set()
        while True:
            deadline.check("embedding")

    monkeypatch.setattr(embedder, "embed", hang)
    states.check_if_due(guarded, "bulk")
    assert asked.wait(10)
    states.close()
    assert states.known() == []
