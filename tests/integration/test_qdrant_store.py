"""A Qdrant server that is made, marked, filled and asked as it should be, and one that is ill.

What every store has in common is in `tests/contract`; the server is a stub around Qdrant's own engine.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from index_cases import NEVER, dense, entry, keys_of, lexical, vectors_of, write
from qdrant_stub import QdrantStub, foreign_collection
from qdrant_stub_collection import Refusal

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    CapabilityMissing,
    DeadlineExceeded,
    IndexDamaged,
    InvalidSetting,
    MissingExtra,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.domain.filters import parse_filter
from embedhouse.domain.stores import StoreSettings, store_of_url
from embedhouse.indexes.qdrant.server import QdrantStore
from embedhouse.ports import IndexSpec

OWNER = "0123456789ab"
SPEC = IndexSpec(name="indexes/7/abcd", dimensions=32, lexical=LexicalSettings(k1=1.4, b=0.6))
ALIAS = "embedhouse_0123456789ab_7_abcd"
COLLECTION = f"{ALIAS}_1"
KEY = "a-very-secret-key"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[QdrantStub]:
    with QdrantStub(tmp_path) as made:
        yield made
        assert made.complaints == []


@pytest.fixture
def connect(server: QdrantStub) -> Iterator[Callable[..., QdrantStore]]:
    """A store on the server, with these settings."""
    made: list[QdrantStore] = []

    def connect(owner: str = OWNER, **changes: Any) -> QdrantStore:
        settings = msgspec.structs.replace(server.settings(), **changes)
        made.append(QdrantStore.connect(settings, owner=owner))
        return made[-1]

    yield connect
    for store in made:
        store.close()


@pytest.fixture
def store(connect: Callable[..., QdrantStore]) -> QdrantStore:
    return connect()


# ---- The form of requests ----------------------------------------------------------------------------------------


def test_open_makes_a_marked_collection_behind_an_alias(server: QdrantStub, store: QdrantStore) -> None:
    store.open(SPEC)
    (created,) = server.bodies("PUT", COLLECTION)
    assert created["metadata"] == {
        "embedhouse": {"house": OWNER, "index": SPEC.name, "dimensions": 32, "sides": "both"}
    }
    vector = created["vectors"]["dense"]
    assert (vector["size"], vector["distance"], vector["datatype"]) == (32, "Cosine", "float16")
    assert vector["hnsw_config"] == {"m": 16, "ef_construct": 200}
    assert vector["quantization_config"] == {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
    assert server.aliases == {ALIAS: COLLECTION}
    # The alias comes last: before it there is no index.
    assert server.seen[-1].path == "/collections/aliases"


def test_open_indexes_the_fields_that_searches_need(server: QdrantStub, store: QdrantStore) -> None:
    store.open(SPEC)
    asked = {body["field_name"]: body["field_schema"] for body in server.bodies("PUT", "/index")}
    assert asked["n"] == {"type": "keyword", "is_tenant": True}
    assert asked["k"] == {"type": "keyword", "enable_hnsw": False}
    assert asked["t"] == {
        "type": "text",
        "tokenizer": "whitespace",
        "lowercase": False,
        "enable_hnsw": False,
        "scoring": True,
    }


def test_open_gives_the_cluster_its_options(server: QdrantStub, connect: Callable[..., QdrantStore]) -> None:
    options = {"shard_number": "6", "replication_factor": 3, "write_consistency_factor": 2, "on_disk": True}
    connect(options=options).open(SPEC)
    (created,) = server.bodies("PUT", COLLECTION)
    assert (created["shard_number"], created["replication_factor"], created["write_consistency_factor"]) == (
        6,
        3,
        2,
    )
    assert created["vectors"]["dense"]["on_disk"] is True


def test_open_of_what_is_there_makes_nothing(server: QdrantStub, connect: Callable[..., QdrantStore]) -> None:
    write(connect().open(SPEC), entry(1))
    del server.seen[:]
    assert list(connect().open(SPEC).keys()) == [1]
    assert {seen.method for seen in server.seen} <= {"GET", "POST"}
    assert [seen.path for seen in server.seen if seen.method == "POST"] == [f"/collections/{ALIAS}/points/scroll"]


def test_write_sends_terms_ranges_and_namespace(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    one = entry(1, "Cats and IT", metadata={"year": 2020, "on": "2024-05-01"}, document_id="d/1")
    index.write(namespace="tenant-1", upserts=[one], deadline=NEVER)
    (body,) = server.bodies("PUT", "/points")
    (point,) = body["points"]
    assert (point["id"], point["payload"]["d"], point["payload"]["n"]) == (1, "d/1", "tenant-1")
    assert point["payload"]["t"].split() == ["cat", "^IT"]
    assert "4:year=n7e4" in point["payload"]["k"]
    assert sorted(point["payload"]["r"].values()) == [[2020.0], [1714521600000000.0]]
    # Numbers and dates are indexed before they are written, for a cluster in strict mode.
    fields = [body["field_name"] for body in server.bodies("PUT", "/index")]
    assert {f"r.{name}" for name in point["payload"]["r"]} <= set(fields)


def test_search_sends_the_width_and_the_namespace(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1, "alpha"))
    only = parse_filter({"a": 1})
    index.search_dense(vectors_of(1)[0], 10, only, NEVER, namespaces=["a", "b"])
    index.search_lexical("Alpha alpha", 10, None, NEVER, namespaces=["a"], documents=False)
    by_meaning, by_words = server.bodies("POST", "/points/query")
    assert by_meaning["using"] == "dense"
    assert by_meaning["params"] == {"hnsw_ef": 256, "quantization": {"rescore": True}}
    assert by_meaning["with_payload"] == ["d"]
    within, equal = by_meaning["filter"]["must"]
    assert within == {"must": [{"key": "n", "match": {"any": ["a", "b"]}}]}
    assert equal == {"must": [{"key": "k", "match": {"value": "1:a=n1"}}]}
    assert (by_words["using"], by_words["with_payload"]) == ("t", False)
    assert by_words["query"] == {"text": {"query": "alpha", "scoring": {"bm25": {"k": 1.4, "b": 0.6}}}}


def test_write_keeps_requests_small(server: QdrantStub, store: QdrantStore) -> None:
    wide = msgspec.structs.replace(SPEC, dimensions=4_096)
    index = store.open(wide)
    vector = np.ones(4_096, np.float32)
    write(index, *(entry(key, "", vector=vector) for key in range(1, 201)))
    sizes = [len(body["points"]) for body in server.bodies("PUT", "/points")]
    assert sum(sizes) == 200
    assert max(sizes) <= 100
    index.write(deletes=list(range(1, 1_200)), deadline=NEVER)
    assert [len(body["points"]) for body in server.bodies("POST", "/points/delete")] == [500, 500, 199]


def test_index_of_one_side_keeps_nothing_for_the_other(server: QdrantStub, store: QdrantStore) -> None:
    by_words = store.open(msgspec.structs.replace(SPEC, name="indexes/1/w", sides="lexical"))
    by_meaning = store.open(msgspec.structs.replace(SPEC, name="indexes/1/m", sides="dense"))
    write(by_words, entry(1, "alpha"))
    write(by_meaning, entry(1, "alpha"))
    first, second = server.bodies("PUT", "/points")
    assert first["points"][0]["vector"] == {}
    assert "t" not in second["points"][0]["payload"]
    assert not by_words.capabilities.dense
    assert not by_meaning.capabilities.lexical
    with pytest.raises(CapabilityMissing, match="meaning"):
        dense(by_words)
    with pytest.raises(CapabilityMissing, match="words"):
        lexical(by_meaning, "alpha")


# ---- Whose it is -------------------------------------------------------------------------------------------------


def test_open_leaves_the_collection_of_another_house(
    server: QdrantStub, connect: Callable[..., QdrantStore]
) -> None:
    write(connect(owner="ffffffffffff").open(SPEC), entry(1))
    server.aliases = {ALIAS: server.aliases["embedhouse_ffffffffffff_7_abcd"]}
    ours = connect()
    assert not ours.exists(SPEC.name)
    for call in (lambda: ours.open(SPEC), lambda: ours.drop(SPEC.name)):
        with pytest.raises(StoreRefused, match="not of this house"):
            call()
    assert list(server.aliases) == [ALIAS]
    assert len(server.collections) == 1


def test_open_leaves_a_foreign_collection_behind_the_alias_to_be(server: QdrantStub, store: QdrantStore) -> None:
    untouched = foreign_collection(server.url, "", COLLECTION)
    for call in (lambda: store.open(SPEC), lambda: store.drop(SPEC.name)):
        with pytest.raises(StoreRefused, match="not of this house"):
            call()
    assert untouched()
    assert server.aliases == {}


def test_open_finishes_a_making_that_was_interrupted(
    server: QdrantStub, connect: Callable[..., QdrantStore]
) -> None:
    connect().open(SPEC)
    server.aliases.clear()
    store = connect()
    assert not store.exists(SPEC.name)
    write(store.open(SPEC), entry(1))
    assert store.exists(SPEC.name)
    assert list(server.collections) == [COLLECTION]


def test_drop_removes_what_an_interrupted_making_left(server: QdrantStub, store: QdrantStore) -> None:
    store.open(SPEC)
    server.aliases.clear()
    store.drop(SPEC.name)
    assert server.collections == {}


def test_open_takes_a_collection_that_was_made_meanwhile(server: QdrantStub, store: QdrantStore) -> None:
    store.open(SPEC)
    made, server.collections = server.collections, {}
    server.aliases.clear()
    # The first look finds nothing, making it is refused: another process was faster.
    real_create = server._create

    def late(name: str, wanted: Any) -> bool:
        server.collections = made
        return real_create(name, wanted)

    server._create = late  # type: ignore[method-assign]
    write(store.open(SPEC), entry(1))
    assert server.aliases == {ALIAS: COLLECTION}


def test_open_takes_an_alias_that_was_made_meanwhile(server: QdrantStub, store: QdrantStore) -> None:
    def taken(wanted: Any) -> bool:
        server.aliases[ALIAS] = COLLECTION
        raise Refusal(409, "Alias already exists")

    server._change_aliases = taken  # type: ignore[method-assign]
    write(store.open(SPEC), entry(1))


def test_open_says_that_its_alias_is_refused(server: QdrantStub, store: QdrantStore) -> None:
    def refused(wanted: Any) -> bool:
        raise Refusal(400, "no aliases here")

    server._change_aliases = refused  # type: ignore[method-assign]
    with pytest.raises(StoreRefused, match="no aliases here"):
        store.open(SPEC)
    assert not store.exists(SPEC.name)


def test_index_follows_its_alias_to_another_collection(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1))
    server.collections["resharded"] = server.collections.pop(COLLECTION)
    server.aliases[ALIAS] = "resharded"
    assert keys_of(dense(index)) == [1]
    assert list(store.open(SPEC).keys()) == [1]
    store.drop(SPEC.name)
    assert (server.collections, server.aliases) == ({}, {})


def test_open_refuses_an_index_made_for_other_sides(store: QdrantStore) -> None:
    store.open(SPEC)
    with pytest.raises(IndexDamaged, match="both sides"):
        store.open(msgspec.structs.replace(SPEC, sides="dense"))


# ---- Bad settings, bad servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"shards": 3}, {"shard_number": 0}, {"replication_factor": "many"}, {"timeout_s": 0}, {"on_disk": "perhaps"}],
    ids=str,
)
def test_connect_refuses_a_bad_option(options: dict[str, Any]) -> None:
    settings = StoreSettings(kind="qdrant", url="http://127.0.0.1:1", options=options)
    with pytest.raises(InvalidSetting, match="shard_number"):
        QdrantStore.connect(settings, owner=OWNER)


@pytest.mark.parametrize("url", ["", "127.0.0.1:6333", "qdrant://host", "http://", "file:///tmp"])
def test_connect_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidSetting, match="http://HOST:6333"):
        QdrantStore.connect(StoreSettings(kind="qdrant", url=url), owner=OWNER)


def test_connect_takes_a_store_that_is_named_by_its_url(server: QdrantStub) -> None:
    named = store_of_url(f"qdrant+{server.url}?shard_number=2&timeout_s=5.5")
    store = QdrantStore.connect(named, owner=OWNER)
    store.open(SPEC)
    assert server.bodies("PUT", COLLECTION)[0]["shard_number"] == 2
    store.close()


def test_connect_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedhouse.indexes.qdrant.connection", None)
    monkeypatch.setitem(sys.modules, "embedhouse.indexes.qdrant.collections", None)
    with pytest.raises(MissingExtra, match=r"embedhouse\[qdrant\]"):
        QdrantStore.connect(StoreSettings(kind="qdrant", url="http://127.0.0.1:1"), owner=OWNER)


def test_store_says_where_nothing_answers(server: QdrantStub, store: QdrantStore) -> None:
    server.stop()
    with pytest.raises(StoreUnavailable, match=f"Qdrant at {server.url}"):
        store.open(SPEC)


@pytest.mark.parametrize("key", ["", "wrong"])
def test_store_says_that_the_key_is_wrong(
    server: QdrantStub, connect: Callable[..., QdrantStore], key: str
) -> None:
    server.key = KEY
    with pytest.raises(StoreUnauthorized, match="QDRANT_API_KEY") as caught:
        connect(api_key=key).open(SPEC)
    assert KEY not in str(caught.value)


def test_store_takes_the_key_and_never_shows_it(server: QdrantStub, connect: Callable[..., QdrantStore]) -> None:
    server.key = KEY
    store = connect(api_key=KEY)
    write(store.open(SPEC), entry(1))
    server.faults += ["400:broken"]
    with pytest.raises(StoreRefused) as caught:
        store.exists(SPEC.name)
    assert KEY not in repr(caught.value) + repr(store) + str(vars(store))


def test_store_says_that_a_key_may_only_read(server: QdrantStub, connect: Callable[..., QdrantStore]) -> None:
    write(connect().open(SPEC), entry(1))
    server.key, server.read_only_key = KEY, "reader"
    index = connect(api_key="reader").open(SPEC)
    assert keys_of(dense(index)) == [1]
    with pytest.raises(StoreUnauthorized, match="may write"):
        write(index, entry(2))
    assert list(index.keys()) == [1]


@pytest.mark.parametrize(("version", "sides"), [("1.15.4", "dense"), ("1.19.2", "both"), ("0.9.0", "lexical")])
def test_store_refuses_a_server_that_is_too_old(
    server: QdrantStub, store: QdrantStore, version: str, sides: Any
) -> None:
    server.version = version
    with pytest.raises(StoreRefused, match=r"of version .*Upgrade"):
        store.open(msgspec.structs.replace(SPEC, sides=sides))
    assert server.collections == {}


@pytest.mark.parametrize(("version", "sides"), [("1.16.0", "dense"), ("1.20.1-dev", "both"), ("2.0.0", "lexical")])
def test_store_takes_a_server_that_can_do_what_is_asked(
    server: QdrantStub, store: QdrantStore, version: str, sides: Any
) -> None:
    server.version = version
    write(store.open(msgspec.structs.replace(SPEC, sides=sides)), entry(1))


def test_store_refuses_too_many_dimensions_before_it_makes_anything(server: QdrantStub, store: QdrantStore) -> None:
    with pytest.raises(StoreRefused, match="65535 dimensions, and the model's 70000"):
        store.open(msgspec.structs.replace(SPEC, dimensions=70_000))
    assert server.collections == {}


@pytest.fixture
def web_page() -> Iterator[str]:
    """The address of a server that is not Qdrant."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, format: str, *args: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Page) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()
        thread.join()


def test_store_says_that_another_server_answers(web_page: str) -> None:
    store = QdrantStore.connect(StoreSettings(kind="qdrant", url=web_page), owner=OWNER)
    with pytest.raises(StoreRefused, match="not Qdrant's REST API"):
        store.exists(SPEC.name)
    store.close()


# ---- Failures on the way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["503", "500:Service internal error: replica is down", "429:slow down", "502"])
def test_index_tries_again_what_failed_for_a_moment(server: QdrantStub, store: QdrantStore, fault: str) -> None:
    index = store.open(SPEC)
    server.faults += [fault, fault]
    write(index, entry(1))
    server.faults += [fault]
    assert keys_of(dense(index)) == [1]
    assert index.info().count == 1


@pytest.mark.parametrize("fault", ["503", "500:Service internal error"])
def test_index_says_that_the_server_is_down(server: QdrantStub, store: QdrantStore, fault: str) -> None:
    index = store.open(SPEC)
    server.faults += [fault] * 10
    with pytest.raises(StoreUnavailable, match="HTTP 50"):
        write(index, entry(1))
    server.faults.clear()
    assert list(index.keys()) == []


@pytest.mark.parametrize(
    "fault", ["507:no room", "500:Service internal error: No space left on device (os error 28)"]
)
def test_index_says_that_the_server_is_full(server: QdrantStub, store: QdrantStore, fault: str) -> None:
    index = store.open(SPEC)
    write(index, entry(1))
    server.faults += [fault]
    with pytest.raises(StoreRefused, match=r"it is full.*Free some room"):
        write(index, entry(2))
    assert not server.faults
    assert keys_of(dense(index)) == [1]


def test_index_gives_the_reason_of_a_refusal(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    server.faults += ["400:Bad request: strict mode says no"]
    with pytest.raises(StoreRefused, match="strict mode says no"):
        dense(index)


def test_index_waits_no_longer_than_its_deadline(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    server.faults += ["hang"]
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        index.search_dense(vectors_of(1)[0], 5, None, Deadline(0.3))
    assert time.monotonic() - begun < 5


def test_index_waits_no_longer_than_the_store_says(server: QdrantStub, connect: Callable[..., QdrantStore]) -> None:
    index = connect(options={"timeout_s": 0.3}).open(SPEC)
    server.faults += ["hang"]
    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.3 s"):
        dense(index)


def test_index_whose_collection_is_gone_is_damaged(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1))
    server._delete(COLLECTION)
    for call in (lambda: write(index, entry(2)), lambda: dense(index), lambda: list(index.keys())):
        with pytest.raises(IndexDamaged, match="does not have it any more"):
            call()


def test_optimise_waits_for_the_server(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1), entry(2))
    collection = server.collections[COLLECTION]
    collection.status = "yellow"
    assert index.info().unoptimised == 2
    threading.Timer(0.3, lambda: setattr(collection, "status", "green")).start()
    begun = time.monotonic()
    index.optimise()
    assert time.monotonic() - begun >= 0.3
    assert index.info().unoptimised == 0


def test_optimise_tells_a_server_that_was_restarted(server: QdrantStub, store: QdrantStore) -> None:
    index = store.open(SPEC)
    server.collections[COLLECTION].status = "grey"
    index.optimise()
    assert server.bodies("PATCH", ALIAS) == [{"optimizers_config": {}}]


def test_index_metadata_of_a_missing_key_is_no_error(store: QdrantStore) -> None:
    index = store.open(SPEC)
    write(index, entry(1, metadata={"a": 1}))
    index.write(metadata=[(404, {"a": 2}), (1, {"a": 3})], deadline=NEVER)
    assert keys_of(dense(index, raw={"a": 3})) == [1]
    assert list(index.keys()) == [1]
