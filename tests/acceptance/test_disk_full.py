"""A disk that is really full, or really read-only: one clear error at each door, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_disk import SmallDisk, small_disk

from embedhouse import Document, Embedhouse
from embedhouse.domain.error_status import status_of
from embedhouse.domain.errors import DiskFull, ReadOnly

from .conftest import ALL_IDS, DOORS
from .doors import SHELL, Door, HttpDoor, PythonDoor, ShellDoor, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root: see the last test")
MIB = 1024 * 1024
NEW_IDS = [f"new{number}.txt" for number in range(3)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", "384m") as mounted:
        yield mounted


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A folder with the new documents."""
    folder = tmp_path / "more"
    folder.mkdir()
    for name in NEW_IDS:
        (folder / name).write_text(f"{name} says that a zebra has stripes.")
    return folder


@pytest.fixture(params=sorted(DOORS))
def door(
    request: pytest.FixtureRequest, disk: SmallDisk, default_model_folder: Path, corpus: Path
) -> Iterator[Door]:
    opened = DOORS[request.param](disk.path / "house", default_model_folder)
    opened.index("notes", corpus)
    yield opened
    disk.empty()
    opened.close()


def _put(door: Door, folder: Path) -> None:
    """Put the new documents in; by requests where a door has them, so that the error has a status."""
    documents = [Document(id=file.name, text=file.read_text()) for file in sorted(folder.iterdir())]
    if isinstance(door, HttpDoor):
        body = {"documents": [{"id": document.id, "text": document.text} for document in documents]}
        door.call("POST", "/collections/notes/documents", body)
    elif isinstance(door, PythonDoor):
        door.house.documents.upsert("notes", documents)
    else:
        door.index("notes", folder)


def _zebras(door: Door) -> list[str]:
    return sorted(hit["document_id"] for hit in door.search("notes", "zebra", mode="lexical")["hits"])


@AS_ROOT
@pytest.mark.parametrize("left_bytes", [0, 16 * MIB], ids=["not-a-byte-left", "too-little-left"])
def test_full_disk_is_one_clear_error_and_loses_nothing(
    door: Door, disk: SmallDisk, more: Path, left_bytes: int
) -> None:
    disk.fill(left_bytes)
    for _ in range(1 if isinstance(door, ShellDoor) else 2):  # tried again, they stand in the ledger already
        with pytest.raises(DiskFull, match="full"):
            _put(door, more)
    disk.empty()
    assert set(ALL_IDS) <= set(door.ids("notes"))
    assert door.search("notes", "E119")["hits"][0]["document_id"] == "flat.md"
    _put(door, more)
    assert door.ids("notes") == sorted([*ALL_IDS, *NEW_IDS])
    assert _zebras(door) == NEW_IDS
    assert door.status()["clean"] is True


@AS_ROOT
def test_open_house_searches_on_while_there_is_too_little_room_to_write(door: Door, disk: SmallDisk) -> None:
    assert door.search("notes", "E119", mode="lexical")["hits"]
    disk.fill(16 * MIB)
    if isinstance(door, ShellDoor):  # it opens the house for each search, and that writes
        with pytest.raises(DiskFull, match="full"):
            door.search("notes", "E119")
        return
    assert door.search("notes", "E119")["hits"][0]["document_id"] == "flat.md"


@AS_ROOT
def test_index_that_a_full_disk_stopped_is_completed_by_the_next_run(
    disk: SmallDisk, default_model_folder: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"_id": "{n:04}", "text": "Row {n} of a zebra."}}\n' for n in range(1500)))
    with Embedhouse(disk.path / "house", model=str(default_model_folder), offline=True) as house:
        house.collections.create("rows")

        def fill(_: object) -> None:
            disk.fill(1 * MIB)

        with pytest.raises(DiskFull):
            house.index("rows", [rows], progress=fill)
        assert house.status().clean is False
        acknowledged = house.collections.get("rows").documents
        disk.empty()
        report = house.index("rows", [rows])
        assert report.write.unchanged == acknowledged
        assert (report.documents, report.write.pending_chunks) == (1500, 0)
        assert house.status().clean


@AS_ROOT
def test_read_only_disk_is_one_clear_error(disk: SmallDisk, default_model_folder: Path, corpus: Path) -> None:
    home = disk.path / "house"
    with Embedhouse(home, model=str(default_model_folder), offline=True) as house:
        house.index("notes", [corpus])
    disk.remount("ro")
    with pytest.raises(ReadOnly, match="house"):
        Embedhouse(home)
    for arguments in (("status",), ("search", "notes", "E119"), ("serve", "--port", "0")):
        done = subprocess.run(
            [*SHELL, "--home", str(home), *arguments],
            env=shell_environ(default_model_folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status_of(ReadOnly).exit
        assert done.stderr.startswith("embedhouse: ")
        assert "--home" in done.stderr
        assert "Traceback" not in done.stderr
    disk.remount("rw")
    with Embedhouse(home, model=str(default_model_folder), offline=True) as house:
        assert house.search("notes", "E119").hits[0].document_id == "flat.md"


@pytest.mark.skipif(os.geteuid() == 0, reason="root has run the tests above")
def test_disk_tests_run_as_root_of_a_namespace() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this user may not make a namespace of its own, in which it could mount a small disk")
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "pytest", "-q", __file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
