"""The small parts of remote models: headers, batches, answers, the breaker, retries."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.errors import InvalidSetting, ProviderError
from embedhouse.models.remote.answers import Answer, Row, apportioned, checked_vectors, normalised
from embedhouse.models.remote.batching import RequestLimits, split
from embedhouse.models.remote.breaker import Breaker
from embedhouse.models.remote.failures import CallFailed, without_secrets
from embedhouse.models.remote.known import check_dimensions, known_model
from embedhouse.models.remote.rate_headers import Remaining, duration_s, read_limits, retry_after_s
from embedhouse.models.remote.retries import Retries, backoff_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1.5s", 1.5), ("1h2m3s", 3723.0), ("7", 7.0), ("1d", 86400.0)],
)
def test_duration_reads_what_providers_write(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 apples", "-1", "nan", "inf"])
def test_duration_of_anything_else_is_unknown(text: str) -> None:
    assert duration_s(text) is None


def test_limits_are_read_for_requests_and_tokens() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "149984",
    }
    found = read_limits(headers)
    assert found.requests == Remaining(remaining=59, limit=60, reset_s=1.0)
    assert found.tokens == Remaining(remaining=149984)


def test_limits_are_read_from_the_names_of_the_draft_standard() -> None:
    headers = {"ratelimit-limit": "100", "ratelimit-remaining": "3", "ratelimit-reset": "30"}
    assert read_limits(headers).requests == Remaining(remaining=3, limit=100, reset_s=30.0)


def test_limits_that_cannot_be_read_are_none() -> None:
    assert read_limits({"x-ratelimit-remaining-requests": "many"}).requests is None


def test_retry_after_is_seconds_milliseconds_or_a_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_s({"retry-after": "2"}) == 2.0
    assert retry_after_s({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after_s({"retry-after": then}) == pytest.approx(30, abs=2)
    assert retry_after_s({"retry-after": "tomorrow"}) is None
    assert retry_after_s({}) is None


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 9), st.integers(1, 1000))
def test_split_keeps_every_text_once_in_order_within_the_limits(counts: list[int], items: int, tokens: int) -> None:
    parts = list(split(counts, RequestLimits(items=items, tokens=tokens)))
    assert [row for part in parts for row in part] == list(range(len(counts)))
    for part in parts:
        assert 1 <= len(part) <= items
        assert len(part) == 1 or sum(counts[row] for row in part) <= tokens


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(0, 10_000))
def test_apportioned_tokens_add_up_and_no_text_is_free(estimates: list[int], total: int) -> None:
    found = apportioned(estimates, total)
    assert found.min() >= 1
    assert found.sum() == (total if total >= len(estimates) else sum(estimates))


def test_apportioned_without_a_total_are_the_estimates() -> None:
    assert apportioned([3, 4], None).tolist() == [3, 4]


def answer(*rows: tuple[int, list[float]]) -> Answer:
    return Answer(
        rows=[Row(index, np.asarray(values, np.float32)) for index, values in rows], tokens=None, headers={}
    )


def test_checked_vectors_come_in_the_order_of_their_index() -> None:
    found = checked_vectors(answer((1, [0, 1]), (0, [1, 0])), 2, 2, "p")
    assert found.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("given_answer", "says"),
    [
        (answer((0, [1, 0])), "1 vectors for 2 texts"),
        (answer((0, [1, 0]), (0, [0, 1])), "indexes"),
        (answer((0, [1, 0]), (2, [0, 1])), "indexes"),
        (answer((0, [1, 0]), (1, [0, 1, 0])), "3 dimensions, not 2"),
        (answer((0, [1, 0]), (1, [])), "0 dimensions"),
        (answer((0, [1, 0]), (1, [math.nan, 1])), "NaN"),
        (answer((0, [1, 0]), (1, [math.inf, 1])), "infinity"),
        (answer((0, [1, 0]), (1, [0, 0])), "zeros"),
    ],
)
def test_checked_vectors_refuse_what_cannot_be_believed(given_answer: Answer, says: str) -> None:
    with pytest.raises(ProviderError, match=says):
        checked_vectors(given_answer, 2, 2, "p")


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_normalised_rows_have_length_one_at_any_magnitude(scale: float) -> None:
    found = normalised(np.asarray([[3, 4], [0, 2]], np.float32) * np.float32(scale))
    assert found == pytest.approx(np.asarray([[0.6, 0.8], [0, 1]]), abs=1e-6)
    assert found.dtype == np.float32


def test_breaker_opens_after_failures_in_a_row_and_closes_with_an_answer() -> None:
    breaker = Breaker(failures_to_open=2, open_s=10)
    breaker.failed("reset", 0.0)
    breaker.answered()
    breaker.failed("reset", 1.0)
    assert breaker.refusal(1.0) is None
    breaker.failed("reset", 1.0)
    assert "2 times" in str(breaker.refusal(2.0))
    assert breaker.refusal(11.0) is None
    assert breaker.refusal(11.0) is not None  # one may try, not two
    breaker.answered()
    assert breaker.refusal(11.0) is None


def test_breaker_whose_trial_fails_or_is_given_up_stays_open() -> None:
    breaker = Breaker(failures_to_open=1, open_s=10)
    breaker.failed("reset", 0.0)
    assert breaker.refusal(10.0) is None
    breaker.abandoned()
    assert breaker.refusal(10.0) is None  # somebody else tries
    breaker.failed("reset", 10.0)
    assert breaker.refusal(19.0) is not None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_retries_never_repeat_what_is_refused_for_good(status: int) -> None:
    assert Retries(60.0)(CallFailed("no", status=status)) is False


@pytest.mark.parametrize("status", [None, 408, 429, 500, 503])
def test_retries_repeat_what_may_work_later(status: int | None) -> None:
    wait_s = Retries(60.0)(CallFailed("later", status=status))
    assert 0 < wait_s <= 0.25


def test_retries_wait_as_long_as_they_are_told_and_a_little_more() -> None:
    wait_s = Retries(60.0)(CallFailed("later", status=429, headers={"retry-after": "3"}))
    assert 3.0 <= wait_s <= 3.1


def test_retries_give_up_rather_than_wait_past_the_total_time() -> None:
    assert Retries(2.0)(CallFailed("later", status=429, headers={"retry-after": "3"})) is False


def test_retries_give_up_a_provider_that_is_down_after_some_tries() -> None:
    retries = Retries(600.0)
    outcomes = [retries(CallFailed("down", status=500)) for _ in range(6)]
    assert outcomes.index(False) == 4


def test_retries_do_not_repeat_an_account_without_money() -> None:
    assert Retries(60.0)(CallFailed("quota", status=429, final=True)) is False


def test_backoff_doubles_up_to_a_limit_with_jitter() -> None:
    for tries in range(1, 40):
        whole = min(0.25 * 2 ** (tries - 1), 10.0)
        assert whole / 2 <= backoff_s(tries) <= whole


def test_without_secrets_hides_keys_and_shortens() -> None:
    shown = without_secrets("Incorrect key: sk-123\n" + "x" * 1000, ("sk-123",))
    assert "sk-123" not in shown
    assert "***" in shown
    assert len(shown) < 400


@pytest.mark.parametrize(
    ("kind", "model", "dimensions", "allowed"),
    [
        ("openai", "text-embedding-3-small", 256, True),
        ("openai", "text-embedding-3-small", 1536, True),
        ("openai", "text-embedding-3-small", 1537, False),
        ("openai", "text-embedding-ada-002", 1536, True),
        ("openai", "text-embedding-ada-002", 256, False),
        ("cohere", "embed-v4.0", 512, True),
        ("cohere", "embed-v4.0", 500, False),
        ("cohere", "embed-english-v3.0", 512, False),
    ],
)
def test_dimensions_are_those_that_the_model_has(kind: str, model: str, dimensions: int, allowed: bool) -> None:
    known = known_model(kind, model)  # type: ignore[arg-type]
    assert known is not None
    if allowed:
        check_dimensions(model, known, dimensions)
        return
    with pytest.raises(InvalidSetting, match=model):
        check_dimensions(model, known, dimensions)
