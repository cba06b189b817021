"""A folder of the embedded index that is locked, damaged, of another kind or cut off: it opens or says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import HouseLocked, IndexDamaged
from embedhouse.indexes.qdrant.edge import QdrantEdgeIndex
from embedhouse.ports import IndexEntry

NEVER = Deadline.never()
WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
import numpy as np
from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.indexes.qdrant.edge import QdrantEdgeIndex
from embedhouse.ports import IndexEntry

index = QdrantEdgeIndex.open(Path(sys.argv[1]), dimensions=4, lexical=LexicalSettings())
for key in range(10_000_000):
    vector = np.ones(4, np.float32)
    entry = IndexEntry(key=key, document_id=f"doc-{key}", vector=vector, text="alpha", metadata={"n": key})
    index.write(upserts=[entry], deadline=Deadline.never())
    if key == 50:
        index.flush()
    print(key, flush=True)
"""


def _open(folder: Path, dimensions: int = 4) -> QdrantEdgeIndex:
    return QdrantEdgeIndex.open(folder, dimensions=dimensions, lexical=LexicalSettings())


def _filled(folder: Path) -> None:
    index = _open(folder)
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    index.write(
        upserts=[
            IndexEntry(key=key, document_id=f"doc-{key}", vector=vectors[key], text="alpha", metadata={"n": key})
            for key in range(50)
        ],
        deadline=NEVER,
    )
    index.close()


def test_open_creates_a_missing_folder_and_reads_it_again(tmp_path: Path) -> None:
    _filled(tmp_path / "deep" / "index")
    index = _open(tmp_path / "deep" / "index")
    assert index.info().count == 50
    assert index.search_lexical("alpha", 3, None, NEVER).keys.tolist() == [0, 1, 2]
    index.close()


def test_open_twice_says_that_the_folder_is_in_use(tmp_path: Path) -> None:
    index = _open(tmp_path)
    with pytest.raises(HouseLocked):
        _open(tmp_path)
    index.close()
    _open(tmp_path).close()


def test_open_refuses_another_number_of_dimensions(tmp_path: Path) -> None:
    _filled(tmp_path)
    with pytest.raises(IndexDamaged):
        _open(tmp_path, dimensions=5)


def test_open_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "edge_config.json").write_text("not JSON")
    with pytest.raises(IndexDamaged):
        _open(tmp_path)


def test_a_closed_index_reports_itself_as_unusable(tmp_path: Path) -> None:
    index = _open(tmp_path)
    index.close()
    with pytest.raises(IndexDamaged):
        index.info()


DAMAGES = ("truncate", "overwrite", "remove")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [
        "edge_config.json",
        "segment.json",
        "version.info",
        "mutable_id_tracker.mappings",
        "payload_storage/config.json",
        "vectors/status.dat",
        "first-index",
    ],
)
def test_a_damaged_file_is_reported_or_does_not_matter(tmp_path: Path, name: str, damage: str) -> None:
    _filled(tmp_path)
    damaged = [path for path in tmp_path.rglob("*") if path.as_posix().endswith(name)]
    assert damaged, f"the engine no longer writes {name}"
    for path in damaged:
        _damage(path, damage)
    try:
        index = _open(tmp_path)
        keys = list(index.keys())
        assert set(index.vectors(keys)) <= set(range(50))
        assert len(index.search_dense(np.ones(4, np.float32), 100, None, NEVER).keys) <= len(keys)
        index.close()
    except IndexDamaged as error:
        assert str(tmp_path) in str(error)  # noqa: PT017 - either outcome is right, any other error is not


def _damage(path: Path, damage: str) -> None:
    held = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(held[: len(held) // 2])
    elif damage == "overwrite":
        path.write_bytes(np.random.default_rng(1).bytes(min(len(held), 4096)) + held[4096:])
    else:
        path.unlink()


def test_a_killed_writer_leaves_an_index_with_all_that_was_flushed(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    writer = subprocess.Popen([sys.executable, "-c", WRITE_UNTIL_KILLED, str(folder)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 120:
            break
    writer.kill()
    writer.communicate()
    index = _open(folder)
    keys = list(index.keys())
    assert keys == list(range(len(keys)))
    assert len(keys) > 50
    assert index.search_lexical("alpha", 10_000, None, NEVER).keys.tolist() == keys
    index.close()
