"""What is particular to each provider, and to more than one of them together."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from provider_stub import ProviderStub, vector_of
from remote_models import KINDS, RememberingMeter, opened, provider_settings

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    CapabilityMissing,
    InvalidSetting,
    MissingExtra,
    Offline,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    TooLarge,
    UnknownModel,
)
from embedhouse.domain.models import ModelChoice, ProviderSettings
from embedhouse.models.store import ModelStore
from embedhouse.settings import load_settings
from embedhouse.wiring.model_pool import ModelPool

NEVER = Deadline.never()
SMALL = "text-embedding-3-small"


@pytest.fixture
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def other() -> Iterator[ProviderStub]:
    with ProviderStub() as other:
        yield other


def test_azure_asks_its_deployment_with_its_version_and_key(stub: ProviderStub) -> None:
    with opened({"az": provider_settings(stub, "azure", api_version="2024-02-01")}, "az", SMALL) as embedder:
        embedder.embed(["text"], role="document", deadline=NEVER)
    (seen,) = stub.seen
    assert seen.path == f"/openai/deployments/my-{SMALL}/embeddings?api-version=2024-02-01"
    assert seen.headers["api-key"] == stub.key


def test_azure_prefers_an_entra_token_to_a_key(stub: ProviderStub) -> None:
    providers = {"az": provider_settings(stub, "azure", api_key="old", entra_token=stub.key)}
    with opened(providers, "az", SMALL) as embedder:
        embedder.embed(["text"], role="document", deadline=NEVER)
    (seen,) = stub.seen
    assert seen.headers["authorization"] == f"Bearer {stub.key}"
    assert "old" not in str(seen.headers)


def test_azure_and_openai_serve_one_space(stub: ProviderStub) -> None:
    providers = {kind: provider_settings(stub, kind) for kind in ("openai", "azure")}  # type: ignore[arg-type]
    with opened(providers, "openai", SMALL) as one, opened(providers, "azure", SMALL) as same:
        assert one.space.fingerprint == same.space.fingerprint


def test_azure_without_an_address_or_a_known_model_is_an_invalid_setting(stub: ProviderStub) -> None:
    with (
        pytest.raises(InvalidSetting, match=r"providers\.az\.url"),
        opened({"az": provider_settings(stub, "azure", url="")}, "az", SMALL),
    ):
        pass
    with (
        pytest.raises(InvalidSetting, match=r"providers\.az\.models"),
        opened({"az": provider_settings(stub, "azure")}, "az", "my-deployment"),
    ):
        pass


def test_openai_cuts_vectors_only_where_fewer_dimensions_are_wanted(stub: ProviderStub) -> None:
    providers = {"openai": provider_settings(stub, "openai")}
    for dimensions, sent in ((None, None), (1536, None), (256, 256)):
        with opened(providers, "openai", SMALL, dimensions=dimensions) as embedder:
            found = embedder.embed(["text"], role="document", deadline=NEVER)
            assert found.vectors.shape == (1, dimensions or 1536)
        assert stub.seen[-1].body.get("dimensions") == sent


def test_cohere_tells_documents_from_queries_and_never_cuts(stub: ProviderStub) -> None:
    with opened({"co": provider_settings(stub, "cohere")}, "co", "embed-v4.0", dimensions=256) as embedder:
        document = embedder.embed(["text"], role="document", deadline=NEVER).vectors
        query = embedder.embed(["text"], role="query", deadline=NEVER).vectors
        assert "search_query" in embedder.space.revision
    assert [seen.body["input_type"] for seen in stub.seen] == ["search_document", "search_query"]
    assert {seen.body["truncate"] for seen in stub.seen} == {"NONE"}
    assert {seen.body["output_dimension"] for seen in stub.seen} == {256}
    assert abs(float(document[0] @ query[0])) < 0.5


def test_cohere_is_asked_for_base64_once_it_has_shown_to_say_the_same(stub: ProviderStub) -> None:
    with opened({"co": provider_settings(stub, "cohere")}, "co", "embed-english-v3.0") as embedder:
        found = [embedder.embed(["text"], role="document", deadline=NEVER).vectors for _ in range(2)]
    assert [seen.body["embedding_types"] for seen in stub.seen] == [["float", "base64"], ["base64"]]
    assert np.array_equal(found[0], found[1])


def test_cohere_that_does_not_know_base64_is_asked_for_numbers(stub: ProviderStub) -> None:
    stub.cohere_forms = {"float"}
    with opened({"co": provider_settings(stub, "cohere")}, "co", "embed-english-v3.0") as embedder:
        for _ in range(2):
            embedder.embed(["text"], role="document", deadline=NEVER)
    assert [seen.status for seen in stub.seen] == [400, 200, 200]
    assert stub.seen[-1].body["embedding_types"] == ["float"]


def test_server_of_an_unknown_model_is_asked_once_for_its_dimensions(stub: ProviderStub) -> None:
    with opened({"own": provider_settings(stub, "openai-compatible")}, "own", "small") as embedder:
        assert embedder.space.dimensions == 16
        assert len(stub.seen) == 1
        embedder.embed(["text"], role="document", deadline=NEVER)
        embedder.embed(["more"], role="document", deadline=NEVER)
    assert len(stub.seen) == 3
    assert all("dimensions" not in seen.body for seen in stub.seen)


def test_server_whose_model_has_the_wanted_dimensions_is_not_asked_to_cut(stub: ProviderStub) -> None:
    providers = {"own": provider_settings(stub, "openai-compatible")}
    with opened(providers, "own", "small", dimensions=16) as embedder:
        assert not stub.seen
        embedder.embed(["text"], role="document", deadline=NEVER)
    with opened(providers, "own", "small", dimensions=8) as embedder:
        assert embedder.embed(["text"], role="document", deadline=NEVER).vectors.shape == (1, 8)
    assert [seen.body.get("dimensions") for seen in stub.seen] == [None, None, None, 8]


def test_server_of_ones_own_gets_no_key_or_name_that_was_meant_for_openai(
    stub: ProviderStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "meant-for-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    stub.key = "none"
    with opened({"own": provider_settings(stub, "openai-compatible", api_key="")}, "own", "small"):
        pass
    assert "meant-for-openai" not in str(stub.seen[0].headers)


def test_server_that_may_cut_in_silence_gets_no_text_over_its_window(stub: ProviderStub) -> None:
    providers = {"own": provider_settings(stub, "openai-compatible", max_text_tokens=64)}
    with opened(providers, "own", "small", dimensions=16) as embedder:
        with pytest.raises(TooLarge, match=r"64 of small.*max_text_tokens"):
            embedder.embed(["fine", "word " * 100], role="document", deadline=NEVER)
        assert not stub.seen


def test_refusal_of_any_text_is_told_from_that_of_one(stub: ProviderStub) -> None:
    providers = {"own": provider_settings(stub, "openai-compatible")}
    with opened(providers, "own", "small", dimensions=16) as embedder:
        stub.faults.extend(["", "400", "400"])
        with pytest.raises(ProviderError, match="any text") as caught:
            embedder.embed(["text"], role="document", deadline=NEVER)
        assert not isinstance(caught.value, ProviderRefused)
        stub.faults.extend(["400", ""])
        with pytest.raises(ProviderRefused):
            embedder.embed(["text"], role="document", deadline=NEVER)


def test_provider_without_its_sdk_names_the_extra(stub: ProviderStub, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, extra in (("openai", "openai"), ("azure", "openai"), ("cohere", "cohere")):
        monkeypatch.setitem(sys.modules, extra, None)
        providers = {"there": provider_settings(stub, kind)}  # type: ignore[arg-type]
        with (
            pytest.raises(MissingExtra, match=rf"embedhouse\[{extra}\]"),
            opened(
                providers,
                "there",
                KINDS[kind],  # type: ignore[index]
            ),
        ):
            pass


def fallbacks(stub: ProviderStub, other: ProviderStub) -> dict[str, ProviderSettings]:
    """OpenAI, and Azure for when it is down."""
    return {
        "openai": provider_settings(stub, "openai", fallback=("azure",), total_timeout_s=0.5),
        "azure": provider_settings(other, "azure"),
    }


def test_fallback_answers_when_the_provider_is_down(stub: ProviderStub, other: ProviderStub) -> None:
    meter = RememberingMeter()
    with opened(fallbacks(stub, other), "openai", SMALL, meter=meter) as embedder:
        embedder.embed(["text"], role="document", deadline=NEVER)
        assert not other.seen
        stub.always = "500"
        found = embedder.embed(["more"], role="document", deadline=NEVER)
    assert found.vectors == pytest.approx(vector_of(SMALL, "more", 1536)[np.newaxis], abs=1e-6)
    assert "azure" in {spent.provider for spent in meter.spent}


def test_secrets_in_an_address_are_not_shown(stub: ProviderStub) -> None:
    given = provider_settings(stub, "openai-compatible", url="http://ada:s3cret@127.0.0.1:9/v1")
    assert "s3cret" not in repr(given)
    with (
        opened({"own": given}, "own", "small", dimensions=16) as embedder,
        pytest.raises(ProviderUnavailable) as caught,
    ):
        embedder.embed(["text"], role="document", deadline=Deadline(3.0))
    assert "s3cret" not in str(caught.value)


def test_fallback_is_not_used_for_what_the_provider_refuses(stub: ProviderStub, other: ProviderStub) -> None:
    with opened(fallbacks(stub, other), "openai", SMALL) as embedder:
        stub.always = "400"
        with pytest.raises(ProviderError):
            embedder.embed(["text"], role="document", deadline=NEVER)
    assert not other.seen


def test_fallback_that_returns_other_vectors_is_never_used(stub: ProviderStub, other: ProviderStub) -> None:
    other.model_version = "another model behind the same name"
    with opened(fallbacks(stub, other), "openai", SMALL) as embedder:
        embedder.embed(["text"], role="document", deadline=NEVER)
        stub.always = "500"
        for _ in range(2):
            with pytest.raises(ProviderError, match="azure: it returns other vectors"):
                embedder.embed(["more"], role="document", deadline=NEVER)


def test_fallback_is_believed_where_the_provider_never_answered(stub: ProviderStub, other: ProviderStub) -> None:
    stub.always = "500"
    with opened(fallbacks(stub, other), "openai", SMALL) as embedder:
        assert embedder.embed(["text"], role="document", deadline=NEVER).vectors.shape == (1, 1536)


def test_fallback_that_is_down_too_leaves_the_first_error(stub: ProviderStub, other: ProviderStub) -> None:
    stub.always = other.always = "500"
    with (
        opened(fallbacks(stub, other), "openai", SMALL) as embedder,
        pytest.raises(ProviderUnavailable, match="openai cannot be reached"),
    ):
        embedder.embed(["text"], role="document", deadline=NEVER)


@pytest.mark.parametrize("names", [("cohere",), ("nobody",), ("openai",)])
def test_fallback_to_another_space_is_refused_at_opening(stub: ProviderStub, names: tuple[str, ...]) -> None:
    providers = {
        "openai": provider_settings(stub, "openai", fallback=names),
        "cohere": provider_settings(stub, "cohere", models={SMALL: SMALL}),
    }
    with pytest.raises(InvalidSetting, match=r"providers\.openai\.fallback"), opened(providers, "openai", SMALL):
        pass
    assert not stub.seen


@pytest.fixture
def pool(tmp_path: Path, stub: ProviderStub) -> Iterator[tuple[ModelPool, RememberingMeter]]:
    own = {"kind": "openai-compatible", "url": f"{stub.url}/v1", "api_key": stub.key}
    settings = load_settings({"home": tmp_path, "providers": {"own": own}}, {})
    cache = SqliteVectorCache(tmp_path / "cache.db")
    meter = RememberingMeter()
    pool = ModelPool(ModelStore(tmp_path / "models", offline=True), cache, settings, meter=meter)
    yield pool, meter
    pool.close()
    cache.close()


def test_pool_opens_a_providers_model_by_its_prefix_over_the_cache(
    pool: tuple[ModelPool, RememberingMeter], stub: ProviderStub
) -> None:
    models, meter = pool
    embedder = models.open(ModelChoice(model="own:small"))
    assert models.open(ModelChoice(model="own:small", dimensions=16)) is embedder
    stub.seen.clear()
    meter.spent.clear()
    for _ in range(2):
        embedder.embed(["text"], role="query", lane="interactive", deadline=NEVER)
    assert len(stub.seen) == 1
    assert {(spent.provider, spent.model) for spent in meter.spent} == {("own", "small")}
    assert sum(spent.cached_items for spent in meter.spent) == 1


def test_pool_opens_one_model_for_callers_who_ask_at_once(
    pool: tuple[ModelPool, RememberingMeter], stub: ProviderStub
) -> None:
    stub.latency_s = 0.1
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(pool[0].open(ModelChoice(model="own:small"))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(set(map(id, found))) == 1
    assert len(stub.seen) == 1


def test_pool_has_no_parity_check_for_providers(pool: tuple[ModelPool, RememberingMeter]) -> None:
    with pytest.raises(CapabilityMissing, match="own:small"):
        pool[0].check("own:small", "auto")


def test_pool_says_which_provider_was_meant(pool: tuple[ModelPool, RememberingMeter]) -> None:
    with pytest.raises(UnknownModel, match="did you mean openai:text-embedding-3-small"):
        pool[0].open(ModelChoice(model="opnai:text-embedding-3-small"))


def test_pool_that_is_offline_refuses_providers(tmp_path: Path, stub: ProviderStub) -> None:
    own = {"kind": "openai-compatible", "url": f"{stub.url}/v1"}
    settings = load_settings({"home": tmp_path, "offline": True, "providers": {"own": own}}, {})
    cache = SqliteVectorCache(tmp_path / "cache.db")
    pool = ModelPool(ModelStore(tmp_path / "models", offline=True), cache, settings)
    try:
        with pytest.raises(Offline, match="own"):
            pool.open(ModelChoice(model="own:small"))
    finally:
        pool.close()
        cache.close()
    assert not stub.seen
