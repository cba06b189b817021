"""Fixtures that every test tier shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def _model_folders() -> list[Path]:
    named = os.environ.get("EMBEDHOUSE_TEST_MODEL")
    kept = [PROJECT / ".models" / name for name in ("sentence-transformers--all-MiniLM-L6-v2", "all-MiniLM-L6-v2")]
    return [Path(named)] if named else kept


@pytest.fixture(scope="session")
def default_model_folder() -> Path:
    """The folder of the default model: EMBEDHOUSE_TEST_MODEL, or where ./test puts it in the project."""
    folders = _model_folders()
    for folder in folders:
        if (folder / "model.safetensors").is_file():
            return folder
    pytest.skip(f"no default model in {folders[0]}: run ./test, or set EMBEDHOUSE_TEST_MODEL")
