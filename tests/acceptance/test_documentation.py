"""What README and docs show works as written: the tutorial from top to bottom, and every Python example."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .doors import Server, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

PROJECT = Path(__file__).resolve().parents[2]
PYTHON_PAGES = ["README.md", "docs/how-to/python.md", "docs/reference/python.md"]
NEEDS_A_SERVER = ("embedhouse serve", "curl ")


def _blocks(page: str, language: str) -> list[str]:
    text = (PROJECT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder to work in, with `docs/` and an `embedhouse` on the path, as in a clone."""
    shutil.copytree(PROJECT / "docs" / "how-to", tmp_path / "docs")
    command = tmp_path / "bin" / "embedhouse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from embedhouse.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_tutorial_works_from_top_to_bottom(place: Path, default_model_folder: Path) -> None:
    shown = [block for block in _blocks("docs/tutorial.md", "sh") if not block.startswith(NEEDS_A_SERVER)]
    script = "\n".join(["set -eu", f"PATH={place}/bin:$PATH", *shown])
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=place,
        env=shell_environ(default_model_folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = re.findall(r"^ 1\. (.+?)  \d", done.stdout, re.MULTILINE)
    assert answers == ["The flat", "The flat", "The flat", "The flat", "The flat"]
    assert '"document_id":"garden.md"' in done.stdout
    assert "notes: 3 added" in done.stdout
    assert "notes: 1 updated, 2 unchanged" in done.stdout


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_examples_run_one_after_the_other(page: str, place: Path, default_model_folder: Path) -> None:
    examples = _blocks(page, "python")
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example],
            cwd=place,
            env=shell_environ(default_model_folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{example}\n{done.stderr}"
        assert done.stdout


def test_openai_example_runs_against_a_server(place: Path, default_model_folder: Path) -> None:
    server = Server(place / "house", default_model_folder)
    (example,) = _blocks("docs/how-to/openai-client.md", "python")
    example = example.replace("http://127.0.0.1:7700", server.url)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert server.stop() == 0
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 384 ")


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{name}" for name in ("tutorial.md", "how-to/search-well.md"))]
)
def test_commands_shown_are_commands_that_exist(page: str) -> None:
    options = set(re.findall(r"(?<!\w)--[a-z][a-z-]+", "\n".join(_blocks(page, "sh"))))
    known = (PROJECT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert sorted(option for option in options if option not in known) == []
    for name in re.findall(r"^embedhouse (\w+)", "\n".join(_blocks(page, "sh")), re.MULTILINE):
        assert f"## embedhouse {name}\n" in known
