"""The reference pages that are made by scripts say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REFERENCE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["make_cli_reference", "make_errors_reference", "make_settings_reference"])
def test_reference_page_is_what_its_script_makes(name: str) -> None:
    script = _script(name)
    written = script.PAGE.read_text(encoding="utf-8")
    assert written == script.page(), f"run: python docs/reference/{name}.py"


def test_settings_reference_has_every_setting() -> None:
    from embedhouse.settings import MEANINGS, setting_names

    assert tuple(MEANINGS) == setting_names()
