"""Models that are open, each once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import SpaceFrozen
from embedhouse.domain.models import ModelChoice
from embedhouse.ledger import spaces
from embedhouse.ledger.database import Database
from embedhouse.models.package_index import DEFAULT_MODEL
from embedhouse.models.spaces import SpaceStates
from embedhouse.models.store import ModelStore
from embedhouse.settings import load_settings
from embedhouse.wiring.model_pool import ModelPool

pytestmark = pytest.mark.model


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SqliteVectorCache]:
    cache = SqliteVectorCache(tmp_path / "cache.db")
    yield cache
    cache.close()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", offline=True)


@pytest.fixture
def pool(tmp_path: Path, store: ModelStore, cache: SqliteVectorCache) -> Iterator[ModelPool]:
    settings = load_settings({"home": tmp_path, "offline": True, "threads": 1}, {})
    pool = ModelPool(store, cache, settings)
    yield pool
    pool.close()


def test_open_by_its_own_number_of_dimensions_is_the_same_model(
    pool: ModelPool, default_model_folder: Path
) -> None:
    whole = pool.open(_choice(default_model_folder, None))
    assert pool.open(_choice(default_model_folder, whole.space.dimensions)) is whole


def test_open_by_fewer_dimensions_is_another_space(pool: ModelPool, default_model_folder: Path) -> None:
    whole = pool.open(_choice(default_model_folder, None))
    cut = pool.open(_choice(default_model_folder, 128))
    assert (cut.space.dimensions, cut.space == whole.space) == (128, False)


def _choice(model: Path, dimensions: int | None) -> ModelChoice:
    return ModelChoice(model=str(model), precision="f32", dimensions=dimensions)


def test_model_in_a_folder_is_the_same_wherever_the_folder_stands(
    pool: ModelPool, default_model_folder: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / default_model_folder.name
    shutil.copytree(default_model_folder, moved)
    before, after = pool.open(_choice(default_model_folder, None)), pool.open(_choice(moved, None))
    assert after.space == before.space
    assert "/" not in after.space.model or after.space.model == DEFAULT_MODEL


def test_guard_stands_under_the_cache(
    default_model_folder: Path, store: ModelStore, cache: SqliteVectorCache, tmp_path: Path
) -> None:
    database = Database(tmp_path / "ledger.db")
    states = SpaceStates(database, 24)
    settings = load_settings({"home": tmp_path, "offline": True, "threads": 1}, {})
    pool = ModelPool(store, cache, settings, spaces=states)
    embedder = pool.open(_choice(default_model_folder, None))
    (guarded,) = states.watched().values()
    never = Deadline.never()
    embedder.embed(["known"], role="query", deadline=never)
    known = states.check(guarded, never)
    assert (known.space, known.tolerance) == (embedder.space, 5e-4)
    with database.write() as ledger:
        spaces.mark(ledger, known, "frozen", "a test", 0.0)
    frozen = SpaceStates(database, 24)
    again = ModelPool(store, cache, settings, spaces=frozen)
    after = again.open(_choice(default_model_folder, None))
    assert after.embed(["known"], role="query", deadline=never).cached_count == 1
    with pytest.raises(SpaceFrozen):
        after.embed(["unknown"], role="query", deadline=never)
    for each in (states, frozen, pool, again, database):
        each.close()
