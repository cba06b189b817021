"""A search that is bound to namespaces against one of a collection that holds nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_house import open_fake_house
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedhouse import Document
from embedhouse.domain.models import attributed
from embedhouse.house import House

NAMESPACES = ["default", "acme", "beta"]
WORDS = ["river", "bank", "deposit", "mud", "rate"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
documents = st.dictionaries(
    st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(["a", "b", "c", "acme\x1fa"])), texts, max_size=12
)
bounds = st.lists(st.sampled_from(NAMESPACES), min_size=1, max_size=3, unique=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_fake_house(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def fill(house: House, name: str, held: dict[tuple[str, str], str]) -> None:
    house.collections.ensure(name)
    for namespace in NAMESPACES:
        house.documents.delete(name, filter={}, namespace=namespace)
    batch = [
        Document(id=document_id, text=text, metadata={"words": len(text.split())}, namespace=namespace)
        for (namespace, document_id), text in held.items()
    ]
    house.documents.upsert(name, batch)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=documents, bound=bounds, query=texts, k=st.integers(1, 12), whole=st.booleans())
def test_bound_search_is_that_of_a_collection_with_nothing_else(
    house: House, held: dict[tuple[str, str], str], bound: list[str], query: str, k: int, whole: bool
) -> None:
    fill(house, "all", held)
    fill(house, "own", {place: text for place, text in held.items() if place[0] in bound})

    def hits(name: str, mode: str, namespaces: list[str] | None = None) -> list[tuple[str, str, float]]:
        found = house.search(name, query, k=k, mode=mode, documents=whole, namespaces=namespaces)
        return [(hit.namespace, hit.document_id, round(hit.score, 5)) for hit in found.hits]

    def listed(name: str) -> list[tuple[str, str]]:
        return [(view.namespace, view.id) for view in house.documents.list(name, limit=1000).documents]

    expected, own = hits("own", "dense"), listed("own")
    assert hits("all", "dense", bound) == expected
    # Word statistics are shared: with room for all, the same are found, with other scores.
    words = {hit[:2] for hit in hits("own", "lexical")}
    with attributed(namespaces=bound):
        assert hits("all", "dense") == expected
        assert len(words) == k or {hit[:2] for hit in hits("all", "lexical")} == words
        assert listed("all") == own
    assert own == sorted(place for place in held if place[0] in bound)
