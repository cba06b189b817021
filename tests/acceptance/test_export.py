"""`embedhouse export` and `embedhouse import` in the shell, with the default model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import ALL_IDS
from .doors import SHELL, Server, ShellDoor, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, default_model_folder: Path, corpus: Path) -> Path:
    """A house with "notes", and the folder that it was exported to."""
    place = tmp_path_factory.mktemp("export")
    door = ShellDoor(place / "house", default_model_folder)
    door.index("notes", corpus)
    report = door.run("export", "notes", "--to", str(place / "out"))
    assert (report["documents"], report["without_vector"]) == (len(ALL_IDS), 0)
    return place


def test_import_answers_as_the_exported_house(exported: Path, default_model_folder: Path, tmp_path: Path) -> None:
    first = ShellDoor(exported / "house", default_model_folder)
    second = ShellDoor(tmp_path / "house", default_model_folder)
    report = second.run("import", str(exported / "out"), "--collection", "copies")
    assert (report["write"]["added"], report["write"]["tokens"]) == (len(ALL_IDS), 0)
    assert second.ids("copies") == first.ids("notes")
    for query in ("when does the lease end", "aphids", "E119"):
        hits = [door.search(name, query)["hits"] for door, name in ((first, "notes"), (second, "copies"))]
        assert hits[0] == hits[1]


def test_export_and_import_go_through_a_running_server(
    exported: Path, default_model_folder: Path, tmp_path: Path
) -> None:
    server = Server(tmp_path / "house", default_model_folder)
    try:
        door = ShellDoor(tmp_path / "house", default_model_folder)
        assert door.run("import", str(exported / "out"))["documents"] == len(ALL_IDS)
        report = door.run("export", "notes", "--to", str(tmp_path / "again.parquet"))
        assert (tmp_path / "again.parquet").stat().st_size == report["size_bytes"]
    finally:
        assert server.stop() == 0


def test_export_says_what_it_did_and_fails_in_one_line(
    exported: Path, default_model_folder: Path, tmp_path: Path
) -> None:
    def run(*arguments: str, home: Path = exported / "house") -> subprocess.CompletedProcess[str]:
        environ = shell_environ(default_model_folder)
        command = [*SHELL, "--home", str(home), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    done = run("export", "notes", "--to", str(tmp_path / "out"))
    assert done.returncode == 0
    assert done.stdout.startswith(f"notes: {len(ALL_IDS)} documents, ")
    assert (
        run("export", "notes", "--to", str(tmp_path / "out")).returncode,
        run("export", "notes").returncode,
    ) == (4, 2)
    (tmp_path / "out" / "chunks.parquet").write_bytes(b"")
    done = run("import", str(tmp_path / "out"), home=tmp_path / "other")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("embedhouse: ")
    assert "chunks.parquet: it is cut off" in done.stderr
    assert json.loads(run("status", "--json", home=tmp_path / "other").stdout)["collections"] == []
