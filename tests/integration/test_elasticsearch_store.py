"""What is said to a server of Elasticsearch or OpenSearch, and what is made of its refusals."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from elasticsearch_stub import ElasticsearchStub, error
from index_cases import DIMENSIONS, LEXICAL, NEVER, dense, entry, keys_of, lexical, write
from redis_server import free_port

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    DeadlineExceeded,
    IndexDamaged,
    InvalidSetting,
    MissingExtra,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.domain.filters import parse_filter
from embedhouse.domain.stores import Option, StoreSettings, store_of_url
from embedhouse.indexes.elasticsearch import filters as elastic_filters
from embedhouse.indexes.elasticsearch.store import ElasticsearchStore
from embedhouse.indexes.naming import object_name
from embedhouse.ports import IndexSpec, Sides

OWNER = "0123456789ab"
SPEC = IndexSpec(name="indexes/7/abcd", dimensions=DIMENSIONS, lexical=LEXICAL)
ALIAS = object_name(OWNER, SPEC.name)
BLOCKED = "index blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]"


@pytest.fixture(params=["elasticsearch", "opensearch"])
def stub(request: pytest.FixtureRequest) -> Iterator[ElasticsearchStub]:
    version = {"elasticsearch": "9.1.0", "opensearch": "3.1.0"}[request.param]
    with ElasticsearchStub(version, product=request.param) as made:
        yield made


def connected(
    stub: ElasticsearchStub, *, api_key: str = "", url: str = "", **options: Option
) -> ElasticsearchStore:
    kind: Any = stub.product
    settings = StoreSettings(kind=kind, url=url or stub.url, api_key=api_key, options=options)
    return ElasticsearchStore.connect(settings, owner=OWNER)


def spec_of(dimensions: int = DIMENSIONS, sides: Sides = "both") -> IndexSpec:
    return IndexSpec(name=SPEC.name, dimensions=dimensions, lexical=LEXICAL, sides=sides)


# ---- Connecting --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["elasticsearch", "opensearch"])
def test_store_says_that_nobody_answers_at_a_wrong_url(kind: Any) -> None:
    settings = StoreSettings(kind=kind, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable, match="refused"):
        ElasticsearchStore.connect(settings, owner=OWNER)


@pytest.mark.parametrize("url", ["", "elasticsearch://host:9200", "http://", "http://host:port", "host:9200"])
def test_store_refuses_a_url_that_is_none(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"https://HOST:9200"):
        ElasticsearchStore.connect(StoreSettings(kind="elasticsearch", url=url), owner=OWNER)


@pytest.mark.parametrize("options", [{"shards": 0}, {"replicas": -1}, {"quantization": "int2"}, {"shard": 1}])
def test_store_refuses_options_that_it_does_not_have(options: dict[str, Option]) -> None:
    settings = StoreSettings(kind="elasticsearch", url="http://127.0.0.1:9", options=options)
    with pytest.raises(InvalidSetting, match="options of elasticsearch"):
        ElasticsearchStore.connect(settings, owner=OWNER)


@pytest.mark.parametrize(("kind", "package"), [("elasticsearch", "elasticsearch"), ("opensearch", "opensearchpy")])
def test_store_names_the_extra_that_is_missing(kind: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"embedhouse\[{kind}\]"):
        ElasticsearchStore.connect(StoreSettings(kind=kind, url="http://127.0.0.1:9"), owner=OWNER)


@pytest.mark.parametrize(
    ("product", "version"), [("elasticsearch", "8.11.4"), ("elasticsearch", "7.17.0"), ("opensearch", "2.16.0")]
)
def test_store_refuses_a_version_that_is_too_old(product: str, version: str) -> None:
    with ElasticsearchStub(version, product=product) as stub, pytest.raises(StoreRefused) as refused:
        connected(stub)
    assert version in str(refused.value)
    assert "Upgrade it to" in str(refused.value)


@pytest.mark.parametrize("kind", ["elasticsearch", "opensearch"])
def test_store_refuses_the_server_of_another_product(kind: Any) -> None:
    other = {"elasticsearch": "opensearch", "opensearch": "elasticsearch"}[kind]
    with ElasticsearchStub("9.1.0", product=other) as stub:
        settings = StoreSettings(kind=kind, url=stub.url)
        with pytest.raises(StoreRefused, match=r"not (say that it is )?(Elasticsearch|OpenSearch)"):
            ElasticsearchStore.connect(settings, owner=OWNER)


@pytest.mark.parametrize(
    ("secret", "api_key", "userinfo"),
    [
        ("elastic:a:b", "elastic:a:b", ""),
        ("elastic:pass word", "", "elastic:pass%20word@"),
        ("elastic:pa:ss", "pa:ss", "elastic@"),
    ],
)
def test_store_signs_in_with_user_and_password(
    stub: ElasticsearchStub, secret: str, api_key: str, userinfo: str
) -> None:
    stub.secret = secret
    url = stub.url.replace("http://", f"http://{userinfo}")
    assert not connected(stub, url=url, api_key=api_key).exists(SPEC.name)


def test_store_signs_in_with_an_api_key() -> None:
    with ElasticsearchStub(secret="a2V5") as stub:
        assert not connected(stub, api_key="a2V5").exists(SPEC.name)


@pytest.mark.parametrize("api_key", ["", "wrong", "elastic:wrong"])
def test_store_names_the_remedy_for_a_wrong_key_and_never_shows_it(stub: ElasticsearchStub, api_key: str) -> None:
    stub.secret = "elastic:right"
    with pytest.raises(StoreUnauthorized, match="Set api_key") as refused:
        connected(stub, api_key=api_key)
    assert not api_key or api_key.split(":")[-1] not in str(refused.value)


def test_store_serves_version_8_with_the_client_of_version_9() -> None:
    for version in ("8.12.0", "8.19.1"):
        with ElasticsearchStub(version) as stub:
            index = connected(stub).open(SPEC)
            write(index, entry(1, "alpha"))
            assert keys_of(dense(index)) == keys_of(lexical(index, "alpha")) == [1]
            assert stub.complaints == []


def test_store_does_not_wait_for_a_server_that_says_nothing(
    stub: ElasticsearchStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = connected(stub).open(SPEC)
    going_on = threading.Event()

    def say_nothing(method: str, path: str, body: Any) -> None:
        going_on.wait(5)

    stub.answer_first = say_nothing
    monkeypatch.setattr("embedhouse.indexes.elasticsearch.store._CONNECT_WITHIN_S", 0.3)
    with pytest.raises(DeadlineExceeded):
        index.search_lexical("alpha", 5, None, Deadline(0.3))
    with pytest.raises(StoreUnavailable):
        connected(stub)
    going_on.set()


# ---- Making indexes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantization", "graph"), [("none", "hnsw"), ("int8", "int8_hnsw"), ("int4", "int4_hnsw"), ("bbq", "bbq_hnsw")]
)
def test_store_makes_an_index_behind_an_alias_with_its_mark(quantization: str, graph: str) -> None:
    with ElasticsearchStub() as stub:
        connected(stub, shards=3, replicas=2, quantization=quantization).open(spec_of(64))
        made = stub.indices[f"{ALIAS}_1"]
    assert made.aliases == {ALIAS: {"is_write_index": True}}
    assert (made.settings["number_of_shards"], made.settings["number_of_replicas"]) == (3, 2)
    assert made.fields["v"]["index_options"]["type"] == graph
    assert made.fields["v"]["similarity"] == "dot_product"
    mark = made.mappings["_meta"]["embedhouse"]
    assert (mark["owner"], mark["index"], mark["quantization"]) == (OWNER, SPEC.name, quantization)
    (similarity,) = made.settings["similarity"].values()
    assert similarity == {"type": "BM25", "k1": LEXICAL.k1, "b": LEXICAL.b}


def test_store_is_named_by_its_url_with_options(stub: ElasticsearchStub) -> None:
    settings = store_of_url(f"{stub.product}+{stub.url}?shards=2&replicas=0&quantization=none")
    ElasticsearchStore.connect(settings, owner=OWNER).open(SPEC)
    made = stub.indices[f"{ALIAS}_1"]
    assert (made.settings["number_of_shards"], made.settings["number_of_replicas"]) == (2, 0)
    assert made.mappings["_meta"]["embedhouse"]["quantization"] == "none"


@pytest.mark.parametrize(
    ("quantization", "form"),
    [
        ("none", {"method": {"engine": "lucene", "name": "hnsw", "space_type": "cosinesimil"}}),
        ("int8", {"method": {"engine": "lucene", "name": "hnsw", "space_type": "cosinesimil"}}),
        ("int4", {"mode": "on_disk", "compression_level": "8x", "space_type": "innerproduct"}),
        ("bbq", {"mode": "on_disk", "compression_level": "32x", "space_type": "innerproduct"}),
    ],
)
def test_store_quantises_on_opensearch_as_it_can(quantization: str, form: dict[str, Any]) -> None:
    with ElasticsearchStub("2.19.0", product="opensearch") as stub:
        connected(stub, quantization=quantization).open(SPEC)
        field = dict(stub.indices[f"{ALIAS}_1"].fields["v"])
    parameters = field["method"].pop("parameters") if "method" in field else {}
    assert field == {"type": "knn_vector", "dimension": DIMENSIONS, **form}
    assert ("encoder" in parameters) == (quantization == "int8")


@pytest.mark.parametrize(("product", "most"), [("elasticsearch", 4096), ("opensearch", 16_000)])
def test_store_refuses_more_dimensions_than_the_server_takes(product: str, most: int) -> None:
    with ElasticsearchStub("9.1.0", product=product) as stub:
        store = connected(stub)
        with pytest.raises(StoreRefused, match=f"{most} dimensions, not {most + 1}"):
            store.open(spec_of(most + 1))
        assert stub.indices == {}
        store.open(spec_of(most + 1, sides="lexical"))


@pytest.mark.parametrize(
    ("version", "quantization", "dimensions", "reason"),
    [
        ("8.14.0", "int4", 64, "needs version 8.15"),
        ("8.15.0", "bbq", 64, "needs version 8.16"),
        ("9.1.0", "int4", 33, "even number"),
        ("9.1.0", "bbq", 32, "needs 64 dimensions"),
    ],
)
def test_store_refuses_a_quantization_that_the_server_lacks(
    version: str, quantization: str, dimensions: int, reason: str
) -> None:
    with ElasticsearchStub(version) as stub:
        with pytest.raises(StoreRefused, match=reason):
            connected(stub, quantization=quantization).open(spec_of(dimensions))
        assert stub.indices == {}


def test_store_keeps_only_what_its_side_needs(stub: ElasticsearchStub) -> None:
    store = connected(stub)
    words = store.open(spec_of(sides="lexical"))
    write(words, entry(1, "alpha"))
    assert keys_of(lexical(words, "alpha")) == [1]
    assert not words.capabilities.dense
    assert set(stub.indices[f"{ALIAS}_1"].documents["1"]) == {"i", "d", "n", "k", "r", "t"}
    store.drop(SPEC.name)
    near = store.open(spec_of(sides="dense"))
    write(near, entry(1, "alpha"))
    assert keys_of(dense(near)) == [1]
    assert not near.capabilities.lexical
    assert set(stub.indices[f"{ALIAS}_1"].documents["1"]) == {"i", "d", "n", "k", "r", "v"}
    assert stub.complaints == []


@pytest.mark.parametrize("name", [ALIAS, f"{ALIAS}_1"])
def test_store_never_touches_an_index_of_somebody_else(stub: ElasticsearchStub, name: str) -> None:
    untouched = stub.make_foreign(name)
    store = connected(stub)
    with pytest.raises(StoreRefused, match="not this house's"):
        store.open(SPEC)
    assert not store.exists(SPEC.name)
    if name == ALIAS:
        with pytest.raises(StoreRefused, match="not this house's"):
            store.drop(SPEC.name)
    else:
        store.drop(SPEC.name)
    assert untouched()


def test_store_never_touches_an_index_of_another_house(stub: ElasticsearchStub) -> None:
    kind: Any = stub.product
    connected(stub).open(SPEC)
    stub.indices[f"{ALIAS}_1"].mappings["_meta"]["embedhouse"]["owner"] = "ffffffffffff"
    store = ElasticsearchStore.connect(StoreSettings(kind=kind, url=stub.url), owner=OWNER)
    with pytest.raises(StoreRefused, match="not this house's"):
        store.drop(SPEC.name)
    assert list(stub.indices) == [f"{ALIAS}_1"]


def test_store_refuses_an_alias_of_two_indices(stub: ElasticsearchStub) -> None:
    connected(stub).open(SPEC)
    found = {name: {"aliases": {ALIAS: {}}, "mappings": {}, "settings": {}} for name in ("one", "two")}
    stub.answer_first = lambda method, path, body: (200, found) if (method, path) == ("GET", f"/{ALIAS}") else None
    with pytest.raises(StoreRefused, match="leads to 2 indices: one, two"):
        connected(stub).open(SPEC)


def test_store_says_that_an_index_is_of_other_settings(stub: ElasticsearchStub) -> None:
    store = connected(stub)
    store.open(SPEC)
    with pytest.raises(IndexDamaged, match="its dimensions is 32, not 16"):
        store.open(spec_of(16))
    with pytest.raises(IndexDamaged, match="its sides is 'both', not 'dense'"):
        store.open(spec_of(sides="dense"))


def test_store_makes_an_index_once_when_two_ask_at_the_same_time(stub: ElasticsearchStub) -> None:
    start = threading.Barrier(4)
    failed: list[BaseException] = []

    def make() -> None:
        store = connected(stub)
        start.wait()
        try:
            write(store.open(SPEC), entry(1))
        except BaseException as wrong:
            failed.append(wrong)
        store.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert list(stub.indices) == [f"{ALIAS}_1"]


# ---- Refusals ----------------------------------------------------------------------------------------------------


def test_index_tries_rejected_operations_again_in_their_order(stub: ElasticsearchStub) -> None:
    """A delete that is rejected must not be done after the upsert that followed it."""
    index = connected(stub).open(SPEC)
    write(index, *(entry(key, "old") for key in range(1, 6)))
    rejections = iter([True, True])
    stub.reject = lambda key: (
        (429, "es_rejected_execution_exception", "queue is full")
        if key == "3" and next(rejections, False)
        else None
    )
    index.write(
        deletes=[2, 3], upserts=[entry(3, "new"), entry(6, "new")], metadata=[(6, {"a": 1})], deadline=NEVER
    )
    assert list(index.keys()) == [1, 3, 4, 5, 6]
    assert sorted(keys_of(lexical(index, "new"))) == [3, 6]
    assert keys_of(dense(index, raw={"a": 1})) == [6]
    assert stub.complaints == []


def test_index_gives_up_on_a_busy_server_at_the_deadline(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    stub.reject = lambda key: (429, "es_rejected_execution_exception", "queue is full")
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        index.write(upserts=[entry(1)], deadline=Deadline(0.5))
    busy = error(429, "circuit_breaking_exception", "Data too large")
    stub.answer_first = lambda method, path, body: busy if path.endswith("_search") else None
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        index.search_lexical("alpha", 5, None, Deadline(0.5))


def test_index_searches_again_when_a_busy_server_has_room(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    write(index, entry(1, "alpha"))
    busy = iter([error(429, "es_rejected_execution_exception", "queue is full"), error(503, "unavailable", "soon")])
    stub.answer_first = lambda method, path, body: next(busy, None) if path.endswith("_search") else None
    assert keys_of(lexical(index, "alpha")) == [1]


@pytest.mark.parametrize("status", [403, 429])
def test_index_says_what_to_do_about_a_full_disk(stub: ElasticsearchStub, status: int) -> None:
    """The flood-stage watermark makes an index read-only: 429 with Elasticsearch 8 and OpenSearch, 403 before."""
    index = connected(stub).open(SPEC)
    write(index, entry(1, "alpha"))
    stub.reject = lambda key: (status, "cluster_block_exception", BLOCKED)
    with pytest.raises(StoreRefused, match="Free disk space") as refused:
        index.write(upserts=[entry(2), entry(3)], deadline=NEVER)
    assert "flood-stage" in str(refused.value)
    assert keys_of(lexical(index, "alpha")) == [1]
    blocked = error(403, "cluster_block_exception", BLOCKED)
    stub.answer_first = lambda method, path, body: blocked if method == "PUT" and path != "/_bulk" else None
    with pytest.raises(StoreRefused, match="Free disk space"):
        connected(stub).open(IndexSpec(name="indexes/8/ffff", dimensions=DIMENSIONS, lexical=LEXICAL))


def test_index_reports_what_was_not_taken_and_applies_the_rest(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    refusal = (400, "document_parsing_exception", "failed to parse field [k]")
    stub.reject = lambda key: refusal if key in ("2", "4") else None
    with pytest.raises(StoreRefused, match="2 entries were not taken") as refused:
        write(index, *(entry(key) for key in range(1, 6)))
    assert "failed to parse field" in str(refused.value)
    stub.reject = lambda key: None
    write(index, entry(9))
    assert list(index.keys()) == [1, 3, 5, 9]


def test_index_that_was_deleted_on_the_server_is_damaged_and_not_made_by_a_write(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    write(index, entry(1))
    stub.indices.clear()
    for call in (lambda: write(index, entry(2)), lambda: dense(index), lambda: index.info()):
        with pytest.raises(IndexDamaged, match="not on the server any more"):
            call()
    assert stub.indices == {}


def test_index_refuses_a_filter_that_the_server_finds_too_deep(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    deep = error(
        400, "illegal_argument_exception", "The nested depth of the query exceeds the maximum nested depth"
    )
    stub.answer_first = lambda method, path, body: deep if path.endswith("_search") else None
    with pytest.raises(Exception, match="nested deeper than the store takes"):
        dense(index, raw={"a": 1})


def test_index_never_answers_with_a_part_of_its_shards(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    failed = error(503, "search_phase_execution_exception", "Partial shards failure")
    stub.answer_first = lambda method, path, body: failed if path.endswith("_search") else None
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        index.search_lexical("alpha", 5, None, Deadline(0.4))


# ---- Fields and paging -------------------------------------------------------------------------------------------


def test_index_compares_numbers_of_more_paths_than_it_gives_fields(
    stub: ElasticsearchStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic_filters, "MOST_RANGES", 2)
    index = connected(stub).open(SPEC)
    numbers = [-1e300, -2.5, -0.0, 0, 1e-300, 7, 2**70]
    for key, number in enumerate(numbers, start=1):
        write(index, entry(key, metadata={"a": number, "b": number, "c": number, "at": f"200{key}-01-01"}))
    for path in ("a", "c"):
        assert sorted(keys_of(dense(index, raw={path: {"$gt": -2.5}}))) == [3, 4, 5, 6, 7]
        assert sorted(keys_of(dense(index, raw={path: {"$gte": 0}}))) == [3, 4, 5, 6, 7]
        assert sorted(keys_of(dense(index, raw={path: {"$lt": 0}}))) == [1, 2]
        assert sorted(keys_of(dense(index, raw={path: {"$lte": 7}}))) == [1, 2, 3, 4, 5, 6]
    assert sorted(keys_of(dense(index, raw={"at": {"$lt": "2003-06-01"}}))) == [1, 2, 3]
    fields = {name for source in stub.indices[f"{ALIAS}_1"].documents.values() for name in source["r"][0]}
    assert len(fields) == 2


def test_index_filters_by_paths_longer_than_a_term_may_be(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    long = "p" * 40_000
    write(index, entry(1, metadata={long: 3}), entry(2, metadata={long: "x"}), entry(3))
    assert keys_of(dense(index, raw={long: {"$gt": 2}})) == [1]
    assert keys_of(dense(index, raw={long: {"$gte": "x"}})) == [2]
    assert sorted(keys_of(dense(index, raw={long: {"$exists": True}}))) == [1, 2]
    assert all(
        len(term) < 8_191 for source in stub.indices[f"{ALIAS}_1"].documents.values() for term in source["k"]
    )


def test_index_takes_a_query_of_very_many_terms(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    write(index, entry(1, "alpha w5"))
    assert keys_of(index.search_lexical(" ".join(f"w{n}" for n in range(5_000)), 5, None, NEVER)) == [1]


def test_index_pages_past_what_one_answer_may_hold(
    stub: ElasticsearchStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.indexes.elasticsearch.index._PAGE", 7)
    monkeypatch.setattr("embedhouse.indexes.elasticsearch.index.MOST_CANDIDATES", 20)
    index = connected(stub).open(SPEC)
    write(index, *(entry(key, "same") for key in range(1, 31)))
    assert keys_of(lexical(index, "same", 25)) == list(range(1, 26))
    asked = np.eye(1, DIMENSIONS, dtype=np.float32)[0]
    everything = keys_of(index.search_dense(asked, 30, None, NEVER))
    assert keys_of(index.search_dense(asked, 12, parse_filter({}), NEVER)) == everything[:12]
    assert sorted(everything) == list(index.keys()) == list(range(1, 31))


def test_index_waits_for_the_merge_that_it_asks_for(stub: ElasticsearchStub) -> None:
    index = connected(stub).open(SPEC)
    write(index, entry(1))
    index.optimise()
    assert stub.requests.count(("GET", "/_tasks/node:1")) == 2
    assert stub.requests[-1] == ("POST", f"/{ALIAS}/_refresh")


def test_emulated_stub_refuses_what_it_does_not_know(stub: ElasticsearchStub) -> None:
    assert httpx.post(f"{stub.url}/_sql", json={}).status_code == 400
    assert len(stub.complaints) == 1
