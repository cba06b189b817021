"""The store on Pinecone: what it makes and what it refuses to touch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from pinecone_house import NEVER, OWNER, QUERY, SPEC, House, entry, house_on, keys_of

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
from embedhouse.domain.stores import StoreSettings, store_of_url
from embedhouse.indexes.naming import object_name
from embedhouse.indexes.pinecone import store as adapter
from embedhouse.indexes.pinecone.index import PineconeIndex
from embedhouse.indexes.pinecone.store import PineconeStore
from embedhouse.ports import IndexSpec


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with house_on(tmp_path) as made:
        yield made


def other(**fields: object) -> IndexSpec:
    return msgspec.structs.replace(SPEC, **fields)


def connect(house: House, settings: StoreSettings) -> PineconeStore:
    return PineconeStore.connect(settings, owner=OWNER, statistics=house.statistics)


# ---- Settings ----------------------------------------------------------------------------------------------------


def test_connect_asks_nothing(house: House) -> None:
    house.store()
    assert house.stub.seen == []


def test_connect_without_a_key_says_where_to_put_it(house: House) -> None:
    with pytest.raises(StoreUnauthorized, match="PINECONE_API_KEY"):
        connect(house, msgspec.structs.replace(house.stub.settings(), api_key=""))


@pytest.mark.parametrize("url", ["pinecone://", "pinecone://Docs", "pinecone://-a", f"pinecone://{'a' * 40}", ""])
def test_connect_takes_only_names_that_pinecone_takes(house: House, url: str) -> None:
    with pytest.raises(InvalidSetting, match="pinecone://my-index"):
        connect(house, StoreSettings(kind="pinecone", url=url, api_key="k"))


@pytest.mark.parametrize("options", [{"regoin": "us-east-1"}, {"sparse": "perhaps"}, {"settle_s": "soon"}])
def test_connect_refuses_options_that_it_does_not_know(house: House, options: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting, match="region"):
        connect(house, StoreSettings(kind="pinecone", url="pinecone://docs", api_key="k", options=options))


def test_connect_takes_the_options_of_a_url(house: House) -> None:
    settings = store_of_url("pinecone://docs?cloud=gcp&region=us-central1&sparse=false&deletion_protection=true")
    store = connect(house, msgspec.structs.replace(settings, api_key="k"))
    options = store._connection.options
    assert (options.cloud, options.region, options.sparse) == ("gcp", "us-central1", False)
    assert options.deletion_protection
    store.close()


def test_connect_without_the_package_names_the_extra(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinecone", None)
    with pytest.raises(MissingExtra, match=r"embedhouse\[pinecone\]"):
        house.store()


def test_a_wrong_key_is_refused_and_never_shown(house: House) -> None:
    settings = msgspec.structs.replace(house.stub.settings(), api_key="pcsk-wrong-secret")
    store = connect(house, settings)
    with pytest.raises(StoreUnauthorized, match="Invalid API Key") as caught:
        store.open(SPEC)
    assert "secret" not in str(caught.value) + repr(settings)
    store.close()


# ---- The Pinecone index ------------------------------------------------------------------------------------------


def test_open_makes_a_serverless_index_with_the_houses_tag(house: House) -> None:
    house.store(cloud="gcp", region="us-central1", deletion_protection=True).open(SPEC)
    (made,) = (seen.body for seen in house.stub.seen if (seen.method, seen.path) == ("POST", "/indexes"))
    assert made == {
        "name": "docs-4",
        "schema": {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "dotproduct"}}},
        "deployment": {"deployment_type": "managed", "cloud": "gcp", "region": "us-central1"},
        "deletion_protection": "enabled",
        "tags": {"embedhouse": "indexes"},
    }
    assert house.stub.complaints == []


def test_open_waits_until_a_new_index_is_ready(house: House) -> None:
    house.stub.describes_until_ready = 3
    index = house.store().open(SPEC)
    index.write(upserts=[entry(1)], deadline=NEVER)
    assert keys_of(index.search_dense(QUERY, 5, None, NEVER)) == [1]


def test_open_gives_up_on_an_index_that_never_gets_ready(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_LONGEST_S", 0.3)
    house.stub.describes_until_ready = 1_000
    with pytest.raises((StoreUnavailable, DeadlineExceeded)):
        house.store().open(SPEC)


def test_open_refuses_an_index_that_is_going_away(house: House) -> None:
    house.store().open(SPEC)
    house.stub.indexes["docs-4"].state = "Terminating"
    with pytest.raises(StoreRefused, match="Terminating"):
        house.store().open(SPEC)


def test_open_refuses_a_place_that_pinecone_has_not(house: House) -> None:
    with pytest.raises(StoreRefused, match="options cloud and region"):
        house.store(region="mars-1").open(SPEC)


def test_open_never_touches_an_index_without_the_tag(house: House) -> None:
    is_untouched = house.stub.make_foreign("docs-4", 4)
    house.stub.indexes["docs-4"].deletion_protection = "enabled"
    store = house.store()
    with pytest.raises(StoreRefused, match="has not the tag embedhouse"):
        store.open(SPEC)
    assert not store.exists(SPEC.name)
    store.drop(SPEC.name)
    assert is_untouched()


@pytest.mark.parametrize(("dimension", "metric"), [(8, "dotproduct"), (4, "cosine"), (4, "euclidean")])
def test_open_never_touches_an_index_of_another_form(house: House, dimension: int, metric: str) -> None:
    is_untouched = house.stub.make_foreign("docs-4", 4)
    index = house.stub.indexes["docs-4"]
    index.tags = {"embedhouse": "indexes"}
    index.fields["_values"] |= {"dimension": dimension, "metric": metric}
    with pytest.raises(StoreRefused, match=f"has {dimension} dimensions and the metric {metric}"):
        house.store().open(SPEC)
    assert is_untouched()


def test_open_refuses_vectors_that_are_too_long_before_it_asks_anything(house: House) -> None:
    with pytest.raises(StoreRefused, match="20001 dimensions are over its limit of 20000"):
        house.store().open(other(dimensions=20_001))
    assert house.stub.seen == []


def test_open_by_two_processes_at_once_makes_one_index(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = house.store(), house.store()
    described = PineconeStore._described

    def nothing_yet(store: PineconeStore, name: str, deadline: object) -> object:
        """The other process makes it between our look and our making it."""
        monkeypatch.setattr(PineconeStore, "_described", described)
        two.open(SPEC)
        return None

    monkeypatch.setattr(PineconeStore, "_described", nothing_yet)
    one.open(SPEC).write(upserts=[entry(1)], deadline=NEVER)
    assert list(two.open(SPEC).keys()) == [1]
    assert list(house.stub.indexes) == ["docs-4"]


# ---- Generations on it -------------------------------------------------------------------------------------------


def test_an_index_exists_from_open_to_drop(house: House) -> None:
    store = house.store()
    assert not store.exists(SPEC.name)
    store.open(SPEC)
    assert store.exists(SPEC.name)
    store.drop(SPEC.name)
    assert not store.exists(SPEC.name)
    store.drop(SPEC.name)


def test_generations_share_an_index_and_are_dropped_apart(house: House) -> None:
    store = house.store()
    one, two = store.open(SPEC), store.open(other(name="indexes/5/bbbb"))
    one.write(upserts=[entry(1, "cat")], deadline=NEVER)
    one.write(upserts=[entry(2, "cat")], namespace="tenant", deadline=NEVER)
    two.write(upserts=[entry(3, "cat")], deadline=NEVER)
    assert list(house.stub.indexes) == ["docs-4"]
    assert keys_of(one.search_lexical("cat", 5, None, NEVER)) == [1, 2]
    assert (one.info().count, two.info().count) == (2, 1)
    store.drop(SPEC.name)
    assert set(house.stub.indexes["docs-4"].spaces) == {
        object_name(OWNER, "indexes/5/bbbb"),
        f"{object_name(OWNER, 'indexes/5/bbbb')}-default",
    }
    assert keys_of(two.search_lexical("cat", 5, None, NEVER)) == [3]
    assert house.statistics.frequencies(SPEC.name, [1]).documents == 0


def test_a_name_that_begins_like_another_is_not_dropped_with_it(house: House) -> None:
    store = house.store()
    longer = store.open(other(name=f"{SPEC.name}b"))
    longer.write(upserts=[entry(1)], deadline=NEVER)
    store.open(SPEC)
    store.drop(SPEC.name)
    assert list(longer.keys()) == [1]


def test_houses_on_one_project_do_not_meet(house: House) -> None:
    ours, theirs = house.store(), house.store(owner="ffffffffffff")
    ours.open(SPEC).write(upserts=[entry(1)], deadline=NEVER)
    assert not theirs.exists(SPEC.name)
    index = theirs.open(SPEC)
    assert (list(index.keys()), index.info().count) == ([], 0)
    theirs.drop(SPEC.name)
    assert ours.exists(SPEC.name)


def test_vectors_of_another_length_have_another_index(house: House) -> None:
    store = house.store()
    store.open(SPEC)
    store.open(other(name="indexes/6/cccc", dimensions=8))
    assert sorted(house.stub.indexes) == ["docs-4", "docs-8"]
    with pytest.raises(IndexDamaged, match="not 8 dimensions"):
        store.open(other(dimensions=8))
    assert store.exists(SPEC.name)


def test_without_sparse_vectors_there_are_no_lexical_searches(house: House) -> None:
    index = house.store(sparse=False).open(SPEC)
    index.write(upserts=[entry(1, "cat")], deadline=NEVER)
    assert not index.capabilities.lexical
    with pytest.raises(CapabilityMissing, match="sparse = true"):
        index.search_lexical("cat", 5, None, NEVER)
    (sent,) = house.stub.requests("/vectors/upsert")
    assert "sparseValues" not in sent.body["vectors"][0]
    assert house.statistics.frequencies(SPEC.name, []).documents == 0


def test_the_dense_side_alone_keeps_no_sparse_vectors(house: House) -> None:
    index = house.store().open(other(sides="dense"))
    index.write(upserts=[entry(1, "cat")], deadline=NEVER)
    assert not index.capabilities.lexical
    (sent,) = house.stub.requests("/vectors/upsert")
    assert "sparseValues" not in sent.body["vectors"][0]


def test_the_lexical_side_alone_without_sparse_vectors_is_refused_before_anything_is_made(house: House) -> None:
    with pytest.raises(CapabilityMissing, match="lexical search"):
        house.store(sparse=False).open(other(sides="lexical"))
    assert house.stub.seen == []


def test_a_namespace_begun_by_another_process_is_found_after_a_while(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = house.store().open(SPEC), house.store().open(SPEC)
    mine.write(upserts=[entry(1)], deadline=NEVER)
    assert keys_of(mine.search_dense(QUERY, 5, None, NEVER)) == [1]
    theirs.write(upserts=[entry(2)], namespace="tenant", deadline=NEVER)
    assert keys_of(mine.search_dense(QUERY, 5, None, NEVER, namespaces=["tenant"])) == [2]
    monkeypatch.setattr("embedhouse.indexes.pinecone.spaces._KNOWN_FOR_S", 0.0)
    assert sorted(keys_of(mine.search_dense(QUERY, 5, None, NEVER))) == [1, 2]


def test_more_namespaces_than_a_page_are_all_searched(house: House) -> None:
    index = house.store().open(SPEC)
    for key in range(1, 131):
        index.write(upserts=[entry(key)], namespace=f"tenant-{key}", deadline=NEVER)
    again = house.store().open(SPEC)
    assert sorted(keys_of(again.search_dense(QUERY, 200, None, NEVER))) == list(range(1, 131))
    assert list(again.keys()) == list(range(1, 131))


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.write(upserts=[entry(2)], deadline=NEVER),
        lambda index: index.write(deletes=[1], deadline=NEVER),
        lambda index: index.write(metadata=[(1, {"a": 1})], deadline=NEVER),
        lambda index: index.search_dense(QUERY, 5, None, NEVER, namespaces=["default"]),
        lambda index: index.search_dense(QUERY, 5, None, NEVER),
        lambda index: index.search_lexical("plain", 5, None, NEVER),
        lambda index: index.dense_scores(QUERY, [1], NEVER, namespaces=["default"]),
        lambda index: index.vectors([1], namespaces=["default"]),
        lambda index: list(index.keys()),
        lambda index: index.info(),
    ],
)
def test_an_index_that_somebody_deleted_is_damaged_and_can_be_made_again(
    house: House, ask: Callable[[PineconeIndex], object]
) -> None:
    store = house.store()
    index = store.open(SPEC)
    index.write(upserts=[entry(1)], deadline=NEVER)
    del house.stub.indexes["docs-4"]
    with pytest.raises(IndexDamaged, match="was deleted"):
        ask(index)
    assert not store.exists(SPEC.name)
    again = store.open(SPEC)
    again.write(upserts=[entry(1)], deadline=NEVER)
    assert list(again.keys()) == [1]
