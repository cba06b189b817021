"""`kill -9` at seeded points of build, promotion, rollback, drop and sync: nothing acknowledged is missing, no
space is mixed, and one repair is enough."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_house import open_fake_house
from upgrade_worker import COLLECTION, first_documents

from embedhouse.house import House

WORKER = Path(__file__).parent / "upgrade_worker.py"
FEW = range(6)
MANY = [pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 60)]
FEW_SYNCS = range(4)
MANY_SYNCS = [pytest.param(seed, marks=pytest.mark.full) for seed in range(4, 44)]


def _lines_until_killed(seconds: float, *arguments: object) -> list[str]:
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output.splitlines()


def _acknowledged(lines: list[str]) -> dict[str, int]:
    """Id -> the last version that was acknowledged."""
    versions = {document.id: 0 for document in first_documents()}
    for line in lines:
        if line.startswith("ack"):
            _, document_id, version = line.split()
            versions[document_id] = int(version)
    return versions


def _version(text: str) -> int:
    return int(text.split("version v")[1].split("x")[0])


def _assert_sound(house: House) -> None:
    states = [each.state for each in house.upgrades.status(COLLECTION).generations]
    assert states.count("live") == 1
    house.index_waiting()
    give_up = time.monotonic() + 60
    while any(
        each.pending_chunks or each.state == "building" for each in house.upgrades.status(COLLECTION).generations
    ):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert house.verify(COLLECTION, repair=True).clean
    assert house.verify(COLLECTION).clean
    assert house.status().clean


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_kill_while_upgrading_loses_nothing_and_mixes_nothing(seed: int, tmp_path: Path) -> None:
    lines = _lines_until_killed(random.Random(seed).uniform(0.0, 4.0), tmp_path, seed)
    expected = _acknowledged(lines)
    with open_fake_house(tmp_path) as house:
        _assert_sound(house)
        page = house.documents.list(COLLECTION, limit=1000, with_text=True)
        found = {each.id: _version(each.text) for each in page.documents}
        assert found.keys() == expected.keys()
        newest = max(expected.values())
        # One write was under way: it is there, or it is not.
        assert all(found[each] in (expected[each], newest + 1) for each in expected)
        for each in list(expected)[:10]:
            hits = house.search(COLLECTION, f"version v{found[each]}x", mode="lexical", k=20).hits
            assert any(hit.document_id == each for hit in hits) or found[each] == 0
        assert len({house.search(COLLECTION, "words", k=3).generation for _ in range(3)}) == 1
        for name in ("upgrade again", "and back"):
            states = {each.state for each in house.upgrades.status(COLLECTION).generations}
            if "shadow" in states:
                house.upgrades.cancel(COLLECTION)
            if "standby" in states:
                house.upgrades.drop(COLLECTION)
            assert [each.state for each in house.upgrades.status(COLLECTION).generations] == ["live"], name
    assert len(list((tmp_path / "indexes").iterdir())) == 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [*FEW_SYNCS, *MANY_SYNCS])
def test_kill_while_syncing_is_made_good_by_the_next_sync(seed: int, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    home = tmp_path / "home"
    _lines_until_killed(random.Random(seed).uniform(0.05, 2.0), home, seed, folder)
    with open_fake_house(home) as house:
        assert house.sync(COLLECTION, allow_mass_delete=True).in_step
        page = house.documents.list(COLLECTION, limit=1000, with_text=True)
        assert sorted(each.text.strip() for each in page.documents) == sorted(
            file.read_text().strip() for file in folder.iterdir()
        )
        _assert_sound(house)
