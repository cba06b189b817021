"""One suite over every provider, through the official SDKs, against a server with every fault."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from provider_stub import DIMENSIONS, Bucket, ProviderStub, Window, vector_of
from remote_models import KINDS, RememberingMeter, opened, provider_settings

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    BudgetExceeded,
    Cancelled,
    CapabilityMissing,
    DeadlineExceeded,
    EmbedhouseError,
    InvalidSetting,
    InvalidText,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnauthorized,
    ProviderUnavailable,
    TooLarge,
    UnknownModel,
)
from embedhouse.domain.models import ProviderKind, attributed
from embedhouse.models.remote import breaker, connection
from embedhouse.ports import Embedder

TEXTS = ["The river bank is muddy.", "A bank deposit earns interest.", "The shore is wet."]
NEVER = Deadline.never()

# Cohere's answers have none, and it has no word of its own for an account without money.
of_openais_form = pytest.mark.parametrize("kind", ["openai", "azure", "openai-compatible"], indirect=True)


@pytest.fixture
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def meter() -> RememberingMeter:
    return RememberingMeter()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> ProviderKind:
    found: ProviderKind = request.param
    return found


@pytest.fixture
def embedder(stub: ProviderStub, kind: ProviderKind, meter: RememberingMeter) -> Iterator[Embedder]:
    """The provider under the name `there`, with its dimensions given, so that nothing was sent yet."""
    providers = {"there": provider_settings(stub, kind)}
    dimensions = DIMENSIONS[KINDS[kind]]
    with opened(providers, "there", KINDS[kind], meter=meter, dimensions=dimensions) as embedder:
        assert not stub.seen
        embedder.embed(["a first text, so that what the server is like is known"], role="document", deadline=NEVER)
        stub.seen.clear()
        meter.spent.clear()
        meter.asked.clear()
        meter.whose.clear()
        yield embedder


def vectors(embedder: Embedder, texts: list[str] = TEXTS, role: str = "document") -> np.ndarray:
    return embedder.embed(texts, role=role, deadline=NEVER).vectors  # type: ignore[arg-type]


def expected(kind: ProviderKind, texts: list[str] = TEXTS, input_type: str = "search_document") -> np.ndarray:
    model = KINDS[kind]
    name = f"{model}{input_type}" if kind == "cohere" else model
    return np.stack([vector_of(name, text, DIMENSIONS[model]) for text in texts])


def test_vectors_are_those_of_the_texts_in_order(embedder: Embedder, kind: ProviderKind) -> None:
    found = embedder.embed(TEXTS, role="document", deadline=NEVER)
    assert found.vectors.dtype == np.float32
    assert found.vectors == pytest.approx(expected(kind), abs=1e-6)
    assert found.dropped_counts.tolist() == [0, 0, 0]


def test_token_counts_add_up_to_what_was_billed(embedder: Embedder) -> None:
    found = embedder.embed(TEXTS, role="document", deadline=NEVER)
    assert found.token_counts.sum() == sum(len(text.split()) for text in TEXTS)
    assert found.token_counts.min() >= 1


def test_no_texts_are_no_request(embedder: Embedder, stub: ProviderStub) -> None:
    found = embedder.embed([], role="document", deadline=NEVER)
    assert found.vectors.shape == (0, embedder.space.dimensions)
    assert not stub.seen


def test_vectors_have_length_one_whatever_the_provider_sends(embedder: Embedder, stub: ProviderStub) -> None:
    stub.scale = 7.5
    assert np.linalg.norm(vectors(embedder), axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("fault", ["429", "429-retry-after", "429-date", "500", "503", "drop", "cut"])
def test_fault_that_passes_is_tried_again(
    embedder: Embedder, stub: ProviderStub, meter: RememberingMeter, kind: ProviderKind, fault: str
) -> None:
    stub.faults.append(fault)
    assert vectors(embedder) == pytest.approx(expected(kind), abs=1e-6)
    assert len(stub.seen) == 2
    assert [spent.retries for spent in meter.spent] == [0, 1]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        *((fault, "there: it") for fault in ("fewer", "more", "dimensions", "ragged", "nan", "infinity", "zero")),
        *((fault, "form") for fault in ("json", "form")),
    ],
)
def test_answer_that_cannot_be_believed_is_an_error_and_is_not_tried_again(
    embedder: Embedder, stub: ProviderStub, fault: str, says: str
) -> None:
    stub.faults.append(fault)
    with pytest.raises(ProviderError, match=says) as caught:
        vectors(embedder)
    assert type(caught.value) is ProviderError
    assert len(stub.seen) == 1


@of_openais_form
def test_order_of_the_answer_does_not_matter(embedder: Embedder, stub: ProviderStub, kind: ProviderKind) -> None:
    stub.faults.append("permuted")
    assert vectors(embedder) == pytest.approx(expected(kind), abs=1e-6)


@of_openais_form
def test_answer_with_an_index_twice_is_an_error(embedder: Embedder, stub: ProviderStub) -> None:
    stub.faults.append("twice")
    with pytest.raises(ProviderError, match="indexes"):
        vectors(embedder)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("400", ProviderRefused),
        ("401", ProviderUnauthorized),
        ("404", UnknownModel),
    ],
)
def test_refusal_for_good_is_not_tried_again(
    embedder: Embedder, stub: ProviderStub, fault: str, error: type[EmbedhouseError]
) -> None:
    stub.faults.append(fault)
    with pytest.raises(error, match="there"):
        vectors(embedder)
    assert len(stub.seen) == 1


@of_openais_form
def test_account_without_money_is_not_tried_again(embedder: Embedder, stub: ProviderStub) -> None:
    stub.faults.append("429-quota")
    with pytest.raises(ProviderRateLimited, match="429-quota"):
        vectors(embedder)
    assert len(stub.seen) == 1


def test_retry_after_is_honoured(embedder: Embedder, stub: ProviderStub) -> None:
    stub.retry_after_s = 0.7
    stub.faults.append("429-retry-after")
    vectors(embedder)
    assert 0.7 <= stub.seen[1].at - stub.seen[0].at < 1.5


def test_rate_limit_that_stays_is_an_error_within_the_total_time(stub: ProviderStub, kind: ProviderKind) -> None:
    stub.always = "429"
    providers = {"there": provider_settings(stub, kind, total_timeout_s=1.0)}
    began = time.monotonic()
    with (
        opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder,
        pytest.raises(ProviderRateLimited, match=r"\[providers\.there\]"),
    ):
        vectors(embedder)
    assert time.monotonic() - began < 2.0
    assert len(stub.seen) >= 2


def test_rate_limit_for_an_hour_is_an_error_at_once_and_nothing_more_is_sent(
    embedder: Embedder, stub: ProviderStub
) -> None:
    stub.retry_after_s = 3600
    stub.faults.append("429-retry-after")
    for _ in range(2):
        with pytest.raises(ProviderRateLimited, match="there"):
            vectors(embedder)
    assert len(stub.seen) == 1


def test_slow_bytes_end_with_the_time_limit(stub: ProviderStub, kind: ProviderKind) -> None:
    stub.always = "slow"
    providers = {"there": provider_settings(stub, kind, timeout_s=0.3, total_timeout_s=0.5)}
    with (
        opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder,
        pytest.raises(ProviderUnavailable, match=r"0\.3 s"),
    ):
        vectors(embedder)
    assert stub.client_gone.wait(2)


def test_cancelled_caller_closes_the_socket_at_once(embedder: Embedder, stub: ProviderStub) -> None:
    stub.faults.append("hang")
    deadline = Deadline.never()
    timer = threading.Timer(0.2, deadline.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        embedder.embed(TEXTS, role="document", deadline=deadline)
    assert time.monotonic() - began < 1.0
    assert stub.client_gone.wait(1)
    timer.join()


def test_deadline_that_passes_closes_the_socket(embedder: Embedder, stub: ProviderStub) -> None:
    stub.faults.append("hang")
    with pytest.raises(DeadlineExceeded):
        embedder.embed(TEXTS, role="document", deadline=Deadline(0.2))
    assert stub.client_gone.wait(1)


def test_deadline_that_is_over_sends_nothing(embedder: Embedder, stub: ProviderStub) -> None:
    with pytest.raises(DeadlineExceeded):
        embedder.embed(TEXTS, role="document", deadline=Deadline(0.0))
    assert not stub.seen


def test_dead_provider_fails_fast_and_is_tried_again_later(
    stub: ProviderStub, kind: ProviderKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "Breaker", lambda: breaker.Breaker(failures_to_open=3, open_s=0.5))
    stub.always = "500"
    providers = {"there": provider_settings(stub, kind)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        with pytest.raises(ProviderUnavailable):
            vectors(embedder)
        sent = len(stub.seen)
        with pytest.raises(ProviderUnavailable, match="3 times in a row"):
            vectors(embedder)
        assert len(stub.seen) == sent
        stub.always = ""
        time.sleep(0.6)
        assert vectors(embedder) == pytest.approx(expected(kind), abs=1e-6)


def test_server_that_is_not_there_is_unavailable(stub: ProviderStub, kind: ProviderKind) -> None:
    stub.stop()
    providers = {"there": provider_settings(stub, kind, total_timeout_s=0.4)}
    with (
        opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder,
        pytest.raises(ProviderUnavailable, match="there cannot be reached"),
    ):
        vectors(embedder)


def test_many_texts_are_split_and_put_together_again(stub: ProviderStub, kind: ProviderKind) -> None:
    texts = [f"text number {number}" for number in range(100)]
    providers = {"there": provider_settings(stub, kind, max_items=7)}
    stub.latency_s = 0.01
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        stub.faults.extend(["", "", "500", "", "429"])
        assert vectors(embedder, texts) == pytest.approx(expected(kind, texts), abs=1e-6)
    field = "texts" if kind == "cohere" else "input"
    assert max(len(seen.body[field]) for seen in stub.seen) <= 7
    assert 2 <= stub.most_in_flight <= 8


def test_many_callers_at_once_get_their_own_vectors(
    embedder: Embedder, stub: ProviderStub, kind: ProviderKind
) -> None:
    stub.latency_s = 0.02
    found: dict[int, np.ndarray] = {}

    def ask(number: int) -> None:
        found[number] = vectors(embedder, [f"caller {number}"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for number in range(16):
        assert found[number] == pytest.approx(expected(kind, [f"caller {number}"]), abs=1e-6)


@pytest.mark.parametrize("text", ["", "  ", "nul \x00", "lone \ud800"])
def test_text_that_cannot_be_used_is_refused_before_anything_is_sent(
    embedder: Embedder, stub: ProviderStub, text: str
) -> None:
    with pytest.raises(InvalidText):
        vectors(embedder, ["good", text])
    assert not stub.seen


def test_text_over_the_window_is_refused_never_cut(stub: ProviderStub, kind: ProviderKind) -> None:
    stub.max_tokens = 50
    providers = {"there": provider_settings(stub, kind, max_text_tokens=50)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        assert embedder.space.truncation == "refuse"
        assert embedder.space.max_tokens == 50
        with pytest.raises((TooLarge, ProviderRefused), match="50"):
            vectors(embedder, ["word " * 60])


def test_requests_are_metered_on_the_account_of_who_asks(
    embedder: Embedder, meter: RememberingMeter, kind: ProviderKind
) -> None:
    with attributed(caller="ada", collection="notes"):
        embedder.embed(TEXTS, role="query", lane="interactive", deadline=NEVER)
    (spent,) = meter.spent
    assert (spent.provider, spent.model, spent.lane) == ("there", KINDS[kind], "interactive")
    assert (spent.items, spent.tokens, spent.requests, spent.retries) == (3, 14, 1, 0)
    assert spent.seconds > 0
    assert (meter.whose[0].caller, meter.whose[0].collection) == ("ada", "notes")
    provider, model, lane, tokens = meter.asked[0]
    assert (provider, model, lane) == ("there", KINDS[kind], "interactive")
    assert tokens >= 14


def test_failed_attempts_are_metered_too(embedder: Embedder, stub: ProviderStub, meter: RememberingMeter) -> None:
    stub.faults.append("400")
    with pytest.raises(ProviderRefused):
        vectors(embedder)
    (spent,) = meter.spent
    assert (spent.requests, spent.items, spent.tokens) == (1, 0, 0)


def test_budget_that_is_used_up_sends_nothing(
    embedder: Embedder, stub: ProviderStub, meter: RememberingMeter
) -> None:
    meter.refusal = BudgetExceeded(budget="1 USD a day", spent="1", resets_at="midnight")
    with pytest.raises(BudgetExceeded):
        vectors(embedder)
    assert not stub.seen


@pytest.mark.parametrize("kind", ["openai", "azure", "cohere"], indirect=True)
def test_missing_key_is_said_before_anything_is_sent(stub: ProviderStub, kind: ProviderKind) -> None:
    providers = {"there": provider_settings(stub, kind, api_key="")}
    with (
        pytest.raises(ProviderUnauthorized, match=r"api_key_env in \[providers\.there\]"),
        opened(providers, "there", KINDS[kind]),
    ):
        pass
    assert not stub.seen


def test_wrong_key_is_an_error_that_does_not_show_it(stub: ProviderStub, kind: ProviderKind) -> None:
    wrong = "sk-wrong-key-that-the-server-echoes"
    providers = {"there": provider_settings(stub, kind, api_key=wrong)}
    with (
        opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder,
        pytest.raises(ProviderUnauthorized) as caught,
    ):
        vectors(embedder)
    error: BaseException | None = caught.value
    assert wrong not in repr(embedder.space)
    while error is not None:
        assert wrong not in f"{error} {error!r} {vars(error)}"
        error = error.__cause__
    assert len(stub.seen) == 1


def test_secrets_are_in_no_log(
    stub: ProviderStub,
    kind: ProviderKind,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    providers = {"there": provider_settings(stub, kind)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        stub.faults.extend(["500", "429", "cut"])
        vectors(embedder)
    written = capfd.readouterr()
    assert stub.key not in written.out + written.err + caplog.text
    assert stub.key not in repr(providers)


def test_unknown_model_is_named_with_its_provider(stub: ProviderStub, kind: ProviderKind) -> None:
    providers = {"there": provider_settings(stub, kind, models={"no-such": "no-such"})}
    with (
        pytest.raises(UnknownModel, match="there:no-such"),
        opened(providers, "there", "no-such"),
    ):
        pass


def test_token_vectors_are_refused(embedder: Embedder) -> None:
    with pytest.raises(CapabilityMissing, match="there"):
        embedder.embed_tokens(TEXTS, role="document", deadline=NEVER)


def test_prompts_of_the_choice_are_put_in_front(stub: ProviderStub, kind: ProviderKind) -> None:
    prompts = (("query", "Question: "),)
    providers = {"there": provider_settings(stub, kind)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]], prompts=prompts) as embedder:
        found = vectors(embedder, ["who?"], role="query")
        assert embedder.space.prompt("query") == "Question: "
    assert found == pytest.approx(expected(kind, ["Question: who?"], "search_query"), abs=1e-6)


def test_space_names_neither_address_nor_key_nor_deployment(embedder: Embedder, stub: ProviderStub) -> None:
    written = repr(embedder.space)
    for secret in (stub.url, str(stub.port), stub.key, "my-", "there"):
        assert secret not in written


def test_limits_in_the_headers_are_kept_without_a_refusal(stub: ProviderStub, kind: ProviderKind) -> None:
    stub.latency_s = 0.02
    stub.limit = Bucket(per_s=40, capacity=40)
    providers = {"there": provider_settings(stub, kind, max_items=1)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        vectors(embedder, [f"text {number}" for number in range(90)])
    assert 429 not in stub.statuses()
    assert len(stub.seen) in (90, 91)


def test_window_in_the_headers_is_kept_but_for_learning_once_when_it_ends(
    stub: ProviderStub, kind: ProviderKind
) -> None:
    stub.latency_s = 0.02
    stub.limit = Window(count=20, seconds=0.7)
    providers = {"there": provider_settings(stub, kind, max_items=1)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        vectors(embedder, [f"text {number}" for number in range(45)])
    # On a machine that is busy a request may be long on its way; after one refusal that is allowed for.
    refused = [seen.at for seen in stub.seen if seen.status == 429]
    assert not refused or refused[-1] - refused[0] < 0.5


def test_query_does_not_wait_behind_paced_bulk_work(stub: ProviderStub, kind: ProviderKind) -> None:
    providers = {"there": provider_settings(stub, kind, max_items=1, requests_per_minute=240)}
    with opened(providers, "there", KINDS[kind], dimensions=DIMENSIONS[KINDS[kind]]) as embedder:
        deadline = Deadline.never()

        def bulk() -> None:
            with pytest.raises(Cancelled):
                embedder.embed([f"text {n}" for n in range(100)], role="document", deadline=deadline)

        thread = threading.Thread(target=bulk)
        thread.start()
        time.sleep(0.6)
        began = time.monotonic()
        embedder.embed(["urgent"], role="query", lane="interactive", deadline=NEVER)
        waited = time.monotonic() - began
        deadline.cancel()
        thread.join(10)
    assert waited < 1.0


def test_dimensions_that_are_not_possible_are_refused_at_once(stub: ProviderStub, kind: ProviderKind) -> None:
    providers = {"there": provider_settings(stub, kind)}
    with (
        pytest.raises(InvalidSetting, match="dimensions"),
        opened(providers, "there", KINDS[kind], dimensions=5000) as embedder,
    ):
        vectors(embedder)
