"""Fixtures that every test tier shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def default_model_folder() -> Path:
    """The folder of the default model: EMBEDHOUSE_TEST_MODEL, or `.models/all-MiniLM-L6-v2` in the project."""
    named = os.environ.get("EMBEDHOUSE_TEST_MODEL")
    folder = Path(named) if named else PROJECT / ".models" / "all-MiniLM-L6-v2"
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"no default model in {folder}: run ./test, or set EMBEDHOUSE_TEST_MODEL")
    return folder
