"""The stores and indexes under test. A store is started once for all files of the suite."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from secrets import token_hex

import pytest
from index_cases import DIMENSIONS, LEXICAL, Subject, skip_gaps
from stores_under_test import MAKERS, StoreUnderTest

from embedhouse.ports import IndexSpec

_generations = count(1)


@pytest.fixture(scope="session", params=list(MAKERS))
def under_test(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreUnderTest]:
    """One store after the other."""
    with MAKERS[request.param](tmp_path_factory.mktemp(request.param)) as made:
        yield made
        made.store.close()


@pytest.fixture
def able(request: pytest.FixtureRequest, under_test: StoreUnderTest) -> StoreUnderTest:
    """The store, where it can do what the test needs."""
    skip_gaps(request, under_test.gaps)
    return under_test


@pytest.fixture
def spec() -> IndexSpec:
    """A name that no other index has."""
    return IndexSpec(name=f"indexes/{next(_generations)}/{token_hex(4)}", dimensions=DIMENSIONS, lexical=LEXICAL)


@pytest.fixture
def subject(able: StoreUnderTest, spec: IndexSpec) -> Iterator[Subject]:
    """A new, empty index of the store; it is dropped afterwards."""
    made = Subject(able, spec)
    yield made
    made.remove()
