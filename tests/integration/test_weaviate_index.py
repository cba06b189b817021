"""The index in Weaviate: the form of its requests, tenants, and failures.

What every index does is tested in tests/contract; the stub is tests/support/weaviate_stub.py.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from weaviate.proto.v1 import base_pb2
from weaviate_store import (
    CLASS,
    NEVER,
    QUERY,
    SPEC,
    StubWithStores,
    dense,
    entry,
    keys_of,
    stub_with_stores,
    write,
)
from weaviate_stub import WeaviateStub

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    CapabilityMissing,
    DeadlineExceeded,
    IndexDamaged,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.ports import Index, IndexEntry


@pytest.fixture
def connected() -> Iterator[StubWithStores]:
    with stub_with_stores() as made:
        yield made


@pytest.fixture
def stub(connected: StubWithStores) -> WeaviateStub:
    return connected.stub


@pytest.fixture
def connect(connected: StubWithStores) -> Any:
    return connected.connect


@pytest.fixture
def index(connect: Any) -> Index:
    made: Index = connect().open(SPEC)
    return made


class _Failure(grpc.RpcError):
    """What the stub answers with this status."""


def failure(code: grpc.StatusCode, text: str = "said the server") -> Exception:
    return _Failure(code, text)


# ---- Writing -----------------------------------------------------------------------------------------------------


def test_index_tells_the_consistency_level_each_time(stub: WeaviateStub, connect: Any) -> None:
    index = connect(consistency_level="ALL").open(SPEC)
    write(index, entry(1, year=1))
    index.write(deletes=[9], metadata=[(1, {"year": 2})], deadline=NEVER)
    index.vectors([1])
    levels = {
        details["request"].consistency_level
        for name in ("batch_objects", "batch_delete", "search")
        for details in stub.asked(name)
    }
    assert levels == {base_pb2.CONSISTENCY_LEVEL_ALL}
    assert [each["query"]["consistency_level"] for each in stub.asked("patch")] == [["ALL"]]


def test_index_writes_in_batches_of_bounded_size(stub: WeaviateStub, connect: Any) -> None:
    index = connect().open(SPEC)
    write(index, *(entry(key) for key in range(1_201)))
    assert [len(each["request"].objects) for each in stub.asked("batch_objects")] == [500, 500, 201]
    wide = connect().open(msgspec.structs.replace(SPEC, name="indexes/8/cafe", dimensions=65_535))
    vector = np.ones(65_535, np.float32)
    write(wide, *(IndexEntry(key=k, document_id="d", vector=vector, text="", metadata={}) for k in range(40)))
    assert [len(each["request"].objects) for each in stub.asked("batch_objects")[3:]] == [32, 8]


def test_index_replaces_metadata_without_vector_and_text(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1, year=2020, tag="x"))
    index.write(metadata=[(1, {"year": 2021}), (404, {})], deadline=NEVER)
    changed, missing = sorted(stub.asked("patch"), key=lambda each: str(each["path"]))
    assert missing["path"].endswith("0194")
    assert set(changed["body"]) == {"class", "tenant", "properties"}
    sent = changed["body"]["properties"]
    assert not {"text", "document"} & sent.keys()
    assert sum(value is None for value in sent.values()) == 2  # the ends of the tag
    assert len(stub.asked("batch_objects")) == 1


def test_index_makes_properties_that_another_process_makes_at_once(stub: WeaviateStub, connect: Any) -> None:
    indexes = [connect().open(SPEC) for _ in range(4)]
    errors: list[BaseException] = []

    def work(place: int) -> None:
        try:
            write(indexes[place], *(entry(10 * place + n, **{f"f{n}": n}) for n in range(6)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert dense(indexes[0], 50, {"f3": {"$gt": 2}}) == [3, 13, 23, 33]


def test_index_keeps_the_order_at_a_bounded_number_of_paths(
    stub: WeaviateStub, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.indexes.weaviate.classes._MOST_FIELDS", 3)
    write(index, entry(1, a=1, b=2))
    assert dense(index, raw={"never": {"$gt": 0}}) == []
    write(index, *(entry(key, **{f"f{key}": key}) for key in (2, 3, 4)), entry(5, a=5))
    index.write(metadata=[(4, {"f4": 44, "b": 7})], deadline=NEVER)
    assert len(stub.asked("add_property")) == 6
    for raw, expected in (({"f4": 44}, [4]), ({"b": {"$gt": 2}}, [4]), ({"$not": {"a": {"$lt": 5}}}, [2, 3, 4, 5])):
        assert dense(index, raw=raw) == expected
    with pytest.raises(StoreRefused, match="at 3 metadata paths"):
        dense(index, raw={"f4": {"$gt": 1}})


def test_index_tells_of_a_read_only_server_what_to_do(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1))
    stub.classes[CLASS].read_only = True
    for change in (
        {"upserts": [entry(2), entry(3)]},
        {"upserts": [entry(2)]},
        {"deletes": [1]},
        {"metadata": [(1, {"a": 1})]},
    ):
        with pytest.raises(StoreRefused, match=r"read-only.*Free disk space.*READY"):
            index.write(**change, deadline=NEVER)
    assert dense(index) == [1]


def test_index_tells_of_single_objects_that_are_refused(
    stub: WeaviateStub, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    write(index, entry(1))
    stub.classes[CLASS].refused = {"d2"}
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(StoreRefused, match=r"1 of 2 objects were not written.*not this"),
    ):
        write(index, entry(2, "secret words"), entry(3))
    assert dense(index) == [1, 3]
    assert "secret" not in caplog.text


def test_index_waits_for_the_graph_where_the_server_indexes_later(stub: WeaviateStub, connect: Any) -> None:
    index = connect(async_indexing=True).open(SPEC)
    stub.queued = 5
    write(index, entry(1))
    assert len(stub.asked("nodes")) == 2
    stub.queued = 7
    assert index.info().unoptimised == 7
    stub.queued = 3
    index.optimise()
    assert index.info().unoptimised == 0


# ---- Searching ---------------------------------------------------------------------------------------------------


def test_index_asks_each_tenant_that_a_call_is_bound_to(stub: WeaviateStub, index: Index) -> None:
    for key, namespace in enumerate(("a", "b", "c"), start=1):
        write(index, entry(key), namespace=namespace)
    stub.requests.clear()
    assert dense(index, namespaces=["a", "b"]) == [1, 2]
    assert [each["request"].tenant for each in stub.asked("search")] == ["a", "b"]
    assert stub.asked("tenants_get") == []
    assert dense(index, namespaces=["absent"]) == []
    assert len(stub.asked("search")) == 2
    assert dense(index) == [1, 2, 3]
    assert len(stub.asked("search")) == 5


def test_index_finds_what_another_process_wrote_to_a_new_tenant(connect: Any) -> None:
    one, other = connect().open(SPEC), connect().open(SPEC)
    write(one, entry(1))
    assert dense(other) == [1]
    write(one, entry(2, year=2020), namespace="new")
    assert dense(other) == [1, 2]
    assert dense(other, raw={"year": {"$gt": 2019}}, namespaces=["new"]) == [2]


def test_index_multiplies_what_weaviate_leaves_out_of_bm25(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1, "cat cat dog"), entry(2, "dog"))
    idf = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.5 / (2 + 1.5 * (1 - 0.6 + 0.6 * 3 / 2))
    found = index.search_lexical("cat", 5, None, NEVER)
    assert found.scores == pytest.approx([expected], rel=1e-6)


def test_index_asks_for_no_more_than_the_server_gives(stub: WeaviateStub, connect: Any) -> None:
    index = connect(max_results=20).open(SPEC)
    write(index, *(entry(key) for key in range(30)))
    found = index.search_dense(QUERY, 25, None, NEVER)
    assert keys_of(found) == list(range(20))
    assert found.exhausted  # asking for more would find no more
    assert not index.search_dense(QUERY, 10, None, NEVER).exhausted
    assert max(each["request"].limit for each in stub.asked("search")) == 20


def test_index_asks_for_documents_only_where_they_are_wanted(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1))
    index.search_dense(QUERY, 5, None, NEVER, documents=False)
    index.search_dense(QUERY, 5, None, NEVER)
    first, second = (each["request"].properties for each in stub.asked("search"))
    assert not first.return_all_nonref_properties
    assert (list(first.non_ref_properties), list(second.non_ref_properties)) == ([], ["document"])


def test_index_of_one_side_refuses_the_other(stub: WeaviateStub, connect: Any) -> None:
    store = connect()
    lexical = store.open(msgspec.structs.replace(SPEC, sides="lexical"))
    write(lexical, entry(1, "alpha"))
    assert not stub.asked("batch_objects")[0]["request"].objects[0].vectors
    assert keys_of(lexical.search_lexical("alpha", 5, None, NEVER)) == [1]
    with pytest.raises(CapabilityMissing, match="searches by meaning"):
        dense(lexical)
    only_dense = store.open(msgspec.structs.replace(SPEC, name="indexes/8/cafe", sides="dense"))
    with pytest.raises(CapabilityMissing, match="searches by words"):
        only_dense.search_lexical("alpha", 5, None, NEVER)
    assert "text" not in stub.classes["Embedhouse_0123456789ab_8_cafe"].properties


# ---- Failures ----------------------------------------------------------------------------------------------------


def test_index_gives_each_call_what_its_deadline_leaves(stub: WeaviateStub, index: Index) -> None:
    index.write(upserts=[entry(1)], deadline=Deadline(3.0))
    index.search_dense(QUERY, 5, None, Deadline(2.0), namespaces=["default"])
    index.search_dense(QUERY, 5, None, NEVER, namespaces=["default"])
    bounded, unbounded = (each["timeout_s"] for each in stub.asked("search"))
    assert stub.asked("batch_objects")[0]["timeout_s"] <= 3.5
    assert bounded <= 2.5
    assert 10 < unbounded <= 20.5  # the option timeout_s


@pytest.mark.parametrize("operation", ["search", "patch"])
def test_index_keeps_to_the_deadline_when_the_server_is_slow(
    stub: WeaviateStub, index: Index, operation: str
) -> None:
    write(index, entry(1))
    stub.slow[operation] = 3.0
    deadline = Deadline(0.3)
    calls = {
        "search": lambda: index.search_dense(QUERY, 5, None, deadline),
        "patch": lambda: index.write(metadata=[(1, {})], deadline=deadline),
    }
    with pytest.raises(DeadlineExceeded):
        calls[operation]()
    assert deadline.remaining_s == 0.0


def test_index_tries_again_when_the_server_was_away_for_a_moment(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1))
    for operation in ("search", "batch_objects", "batch_delete"):
        stub.failures[operation] = [failure(grpc.StatusCode.UNAVAILABLE), failure(grpc.StatusCode.UNAVAILABLE)]
    index.write(upserts=[entry(2)], deletes=[1], deadline=NEVER)
    assert dense(index) == [2]
    assert len(stub.asked("batch_objects")) == 4


def test_index_gives_up_when_the_server_stays_away(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1))
    stub.requests.clear()
    stub.failures["search"] = [failure(grpc.StatusCode.UNAVAILABLE) for _ in range(9)]
    with pytest.raises(StoreUnavailable, match="said the server"):
        dense(index, namespaces=["default"])
    assert len(stub.asked("search")) == 3


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "no", StoreUnauthorized),
        (grpc.StatusCode.PERMISSION_DENIED, "forbidden: read data", StoreUnauthorized),
        (grpc.StatusCode.UNKNOWN, 'tenant not found: "default"', IndexDamaged),
        (grpc.StatusCode.UNKNOWN, "something new", StoreRefused),
        (grpc.StatusCode.INTERNAL, "panic", StoreRefused),
    ],
)
def test_index_asks_once_what_is_refused_for_good(
    stub: WeaviateStub, index: Index, code: grpc.StatusCode, text: str, kind: type[Exception]
) -> None:
    write(index, entry(1))
    stub.requests.clear()
    stub.failures["search"] = [failure(code, text)]
    with pytest.raises(kind):
        dense(index)
    assert len(stub.asked("search")) == 1


def test_index_whose_class_is_gone_is_damaged(stub: WeaviateStub, index: Index) -> None:
    write(index, entry(1))
    stub.classes.clear()
    for call in (lambda: dense(index), lambda: write(index, entry(2)), lambda: list(index.keys())):
        with pytest.raises(IndexDamaged):
            call()


def test_index_answers_many_threads(index: Index) -> None:
    write(index, *(entry(key) for key in range(50)))
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(dense(index, 10))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(10))] * 16
