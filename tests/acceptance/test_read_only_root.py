"""In a container nothing but the home and the folder for temporary files need be writable."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from read_only_root import on_read_only_root

from .conftest import ALL_IDS
from .doors import SHELL, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture
def pod(tmp_path: Path) -> dict[str, Path]:
    """What the chart mounts: a home, and room for temporary files."""
    folders = {name: tmp_path / name for name in ("home", "tmp")}
    for folder in folders.values():
        folder.mkdir()
    return folders


def _started(pod: dict[str, Path], model: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = shell_environ(model) | {"EMBEDHOUSE_HOME": str(pod["home"])}
    environ |= {name: str(pod["tmp"]) for name in ("HOME", "TMPDIR")}
    environ.pop("XDG_CACHE_HOME", None)
    command = on_read_only_root([*SHELL, *arguments], list(pod.values()))
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True)


def _run(pod: dict[str, Path], model: Path, *arguments: str) -> Any:
    with _started(pod, model, *arguments, "--json") as process:
        answer, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    return json.loads(answer)


def test_commands_need_no_other_folder(pod: dict[str, Path], default_model_folder: Path, corpus: Path) -> None:
    report = _run(pod, default_model_folder, "index", "notes", str(corpus))
    assert report["documents"] == len(ALL_IDS)
    assert _run(pod, default_model_folder, "search", "notes", "the lease", "-k", "1")["hits"]
    assert _run(pod, default_model_folder, "collection", "compact", "notes")["pending_chunks"] == 0
    assert _run(pod, default_model_folder, "migrate")["applied"] == []


def test_server_needs_no_other_folder(pod: dict[str, Path], default_model_folder: Path) -> None:
    with _started(pod, default_model_folder, "serve", "--port", "0") as process:
        try:
            assert process.stderr is not None
            said = iter(process.stderr.readline, "")
            url = next(found[1] for line in said if (found := re.search(r"at (http://\S+)", line)))
            body = {"documents": [{"id": "a", "text": "The lease ends in June."}]}
            httpx.post(f"{url}/collections", json={"name": "notes"}, timeout=60).raise_for_status()
            httpx.post(f"{url}/collections/notes/documents", json=body, timeout=60).raise_for_status()
            found = httpx.get(f"{url}/search", params={"collection": "notes", "q": "lease"}, timeout=60)
            assert [hit["document_id"] for hit in found.json()["hits"]] == ["a"]
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0


def test_what_is_not_mounted_cannot_be_written(pod: dict[str, Path], default_model_folder: Path) -> None:
    with _started(pod, default_model_folder, "--home", str(pod["home"].parent / "other"), "status") as process:
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, "cannot be written" in complaint) == (8, True), complaint
