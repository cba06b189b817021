"""A sync that is killed at seeded moments: the next one brings the collection into step, whatever was under way."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from sync_worker import COLLECTION, bind

from embedhouse.domain.deadline import Deadline
from embedhouse.ledger import chunks
from embedhouse.ledger.changes import EVERYTHING

WORKER = Path(__file__).parent / "sync_worker.py"
FEW = range(2)
MANY = [pytest.param(seed, marks=pytest.mark.full) for seed in range(2, 25)]
N_ROWS = 1200
KILLS = 5


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _kill(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output


def _change(table: sqlite3.Connection, round_number: int, random_state: random.Random) -> None:
    """Rows come, change and go, as between two nights."""
    with table:
        for _ in range(200):
            number = random_state.randrange(N_ROWS + 300)
            if random_state.random() < 0.3:
                table.execute("DELETE FROM rows WHERE id = ?", (number,))
            else:
                _put(table, number, round_number)


def _put(table: sqlite3.Connection, number: int, round_number: int) -> None:
    row = (number, f"Round {round_number} of row {number}.", 2000 + round_number, round_number)
    table.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", row)


@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_sync_killed_at_any_moment_is_made_up_for_by_the_next(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_state = random.Random(seed)
    database = tmp_path / "shop.db"
    table = sqlite3.connect(database)
    table.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT, year INTEGER, version INTEGER)")
    with table:
        for number in range(N_ROWS):
            _put(table, number, 0)
    killed = 0
    for round_number in range(1, KILLS + 1):
        worker = _start(tmp_path / "home", database)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(random_state.uniform(0.0, 0.8))
        killed += "done" not in _kill(worker)
        _change(table, round_number, random_state)
    assert killed
    monkeypatch.setenv("SOURCE_DB_URL", f"sqlite:///{database}")
    with open_fake_house(tmp_path / "home", HashEmbedder()) as house:
        bind(house)
        assert house.sync(COLLECTION, allow_mass_delete=True).in_step
        found = {}
        after = ""
        while True:
            page = house.documents.list(COLLECTION, limit=1000, after=after, with_text=True)
            found |= {each.id: (each.text, each.metadata["year"]) for each in page.documents}
            if page.next is None:
                break
            after = page.next
        assert found == {str(row[0]): (row[1], row[2]) for row in table.execute("SELECT id, text, year FROM rows")}
        opened = house._shelf.get(COLLECTION)
        opened.finish(EVERYTHING, Deadline.never())
        with house._parts.database.read() as ledger:
            keys = list(chunks.chunk_keys(ledger, opened.live.generation.id))
        with opened.live.slot.borrow() as index:
            assert list(index.keys()) == keys
        assert house.sync(COLLECTION, full=True).tokens == 0
    table.close()
