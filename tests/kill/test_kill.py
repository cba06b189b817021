"""No acknowledged write is lost, whenever the process dies: `kill -9` at seeded moments."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from worker import COLLECTION, State, Step, steps

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.hits import Hit
from embedhouse.house import House
from embedhouse.ledger import chunks
from embedhouse.ledger.changes import EVERYTHING

WORKER = Path(__file__).parent / "worker.py"
FEW = range(6)
MANY = [pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 60)]
FEW_INGESTS = range(4)
MANY_INGESTS = [pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 44)]
N_ROWS = 1500


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _kill(process: subprocess.Popen[str]) -> list[str]:
    """Kill it and whatever it started; the lines it had printed."""
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output.splitlines()


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def _state(house: House) -> State:
    page = house.documents.list(COLLECTION, limit=1000, with_text=True)
    return {each.id: (each.text, each.metadata) for each in page.documents}


def _assert_index_matches_ledger(house: House) -> None:
    opened = house._shelf.get(COLLECTION)
    opened.finish(EVERYTHING, Deadline.never())
    with house._parts.database.read() as ledger:
        expected = list(chunks.chunk_keys(ledger, opened.live.generation.id))
    with opened.live.slot.borrow() as index:
        assert list(index.keys()) == expected


def _assert_same_hits(found: list[Hit], before: list[Hit]) -> None:
    """The same chunks in the same order. Fused scores may move in the sixth decimal: the mean vector is summed
    anew, and what was taken from the old sum came from an index of float16."""
    assert [(hit.chunk_id, hit.text, hit.metadata) for hit in found] == [
        (hit.chunk_id, hit.text, hit.metadata) for hit in before
    ]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in before], abs=1e-4)


def _expected(seed: int, acknowledged: int) -> tuple[State, State, Step]:
    """The state after the last acknowledged step, the state after the one under way, and that step."""
    state: State = {}
    series = steps(seed)
    for _ in range(acknowledged):
        state = next(series).model(state)
    under_way = next(series)
    return state, under_way.model(state), under_way


@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_kill_loses_no_acknowledged_write(seed: int, tmp_path: Path) -> None:
    worker = _start(tmp_path, seed)
    _ready(worker)
    # Odd seeds die around a compaction, which starts after 25 steps.
    time.sleep(random.Random(seed).uniform(0.0, 0.6) + 1.2 * (seed % 2))
    lines = _kill(worker)
    acknowledged = sum(line.startswith("ack") for line in lines)
    before, after, step = _expected(seed, acknowledged)
    with open_fake_house(tmp_path) as house:
        found = _state(house)
        for each in before.keys() | after.keys() | found.keys():
            assert found.get(each) in (before.get(each), after.get(each))
        _assert_index_matches_ledger(house)
        assert house.status().clean
        step.apply(house)
        assert _state(house) == after
        for each, (text, _) in sorted(after.items())[:10]:
            version = text.split("Version ")[1].split(" ")[0]
            hits = house.search(COLLECTION, f"Version {version} of the other paragraph", k=60, mode="lexical").hits
            assert any(hit.document_id == each and version in hit.text for hit in hits)


@pytest.mark.parametrize("seed", [*FEW_INGESTS, *MANY_INGESTS])
def test_kill_while_indexing_resumes(seed: int, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    with rows.open("w") as file:
        for number in range(N_ROWS):
            file.write(json.dumps({"_id": str(number), "text": f"Row {number} tells of a{number}b. " * 3}) + "\n")
    home = tmp_path / "home"
    home.mkdir()
    worker = _start(home, "ingest", rows)
    _ready(worker)
    time.sleep(random.Random(seed).uniform(0.05, 0.8))
    _kill(worker)
    with open_fake_house(home) as house:
        status = house.status().collections[0]
        stored = status.documents
        report = house.index(COLLECTION, [rows])
        assert report.write.unchanged == stored
        assert report.write.added == N_ROWS - stored
        assert (report.documents, report.chunks, report.write.pending_chunks) == (N_ROWS, N_ROWS, 0)
        _assert_index_matches_ledger(house)
        assert house.status().clean
        assert house.search(COLLECTION, f"a{N_ROWS - 1}b", mode="lexical").hits[0].document_id == str(N_ROWS - 1)


def test_deleted_index_folder_is_built_again_without_the_model(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        house.collections.create(COLLECTION)
        for step in (next(series) for series in [steps(3)] for _ in range(30)):
            step.apply(house)
        state = _state(house)
        hits = house.search(COLLECTION, "shared paragraph", k=50).hits
    shutil.rmtree(tmp_path / "indexes")
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        _assert_same_hits(house.search(COLLECTION, "shared paragraph", k=50).hits, hits)
        assert embedder.calls == []
        assert _state(house) == state
        assert house.status().clean
        _assert_index_matches_ledger(house)


def test_damaged_index_is_built_again_beside(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        house.collections.create(COLLECTION)
        for step in (next(series) for series in [steps(4)] for _ in range(20)):
            step.apply(house)
        hits = house.search(COLLECTION, "shared paragraph", k=50).hits
    for path in sorted((tmp_path / "indexes").rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        _assert_same_hits(house.search(COLLECTION, "shared paragraph", k=50).hits, hits)
        assert embedder.calls == []
        assert house.status().clean


def test_index_that_lost_entries_without_an_error_is_built_again(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        house.collections.create(COLLECTION)
        next(steps(1)).apply(house)
        house.documents.upsert(COLLECTION, [Document(id=f"{n}", text=f"Text {n}.") for n in range(30)])
        opened = house._shelf.get(COLLECTION)
        with opened.live.slot.borrow() as index:
            index.write(deletes=list(index.keys())[::2], deadline=Deadline.never())
    with open_fake_house(tmp_path) as house:
        assert house.search(COLLECTION, "Text 0.", k=50).hits
        _assert_index_matches_ledger(house)
