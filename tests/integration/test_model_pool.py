"""Models that are open, each once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.models import ModelChoice
from embedhouse.models.store import ModelStore
from embedhouse.wiring.model_pool import ModelPool

pytestmark = pytest.mark.model


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ModelPool]:
    cache = SqliteVectorCache(tmp_path / "cache.db")
    pool = ModelPool(ModelStore(tmp_path / "models", offline=True), cache, threads=1)
    yield pool
    pool.close()
    cache.close()


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
