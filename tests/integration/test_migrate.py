"""`embedhouse migrate`, on a file and on a server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ledgers import LEDGERS, a_place
from typer.testing import CliRunner

from embedhouse.cli.app import app
from embedhouse.domain.errors import Conflict
from embedhouse.ledger.database import Database
from embedhouse.ledger.schema import migrations
from embedhouse.settings import Settings, load_settings
from embedhouse.wiring.lock import HouseLock
from embedhouse.wiring.migration import migrate_ledger

NUMBERS = [number for number, _ in migrations()]


def _settings(home: Path, place: Any) -> Settings:
    return load_settings({"home": home, "ledger_url": "" if isinstance(place, Path) else place.url}, {})


@pytest.mark.parametrize("kind", LEDGERS)
def test_migrate_applies_what_the_ledger_lacks_once(kind: str, tmp_path: Path) -> None:
    with a_place(kind, tmp_path) as place:
        settings = _settings(tmp_path, place)
        first, second = migrate_ledger(settings), migrate_ledger(settings)
        assert (first.applied, first.schema) == (NUMBERS, NUMBERS[-1])
        assert (second.applied, second.schema) == ([], NUMBERS[-1])
        Database(place, migrates=False).close()


def test_migrate_of_many_at_once_is_done_by_one(tmp_path: Path) -> None:
    with a_place("postgresql", tmp_path) as place, ThreadPoolExecutor(4) as threads:
        settings = _settings(tmp_path, place)
        done = list(threads.map(lambda _: migrate_ledger(settings).applied, range(4)))
    assert sorted(done, key=len) == [[], [], [], NUMBERS]


def test_migrate_beside_a_process_of_this_version_has_nothing_to_do(tmp_path: Path) -> None:
    settings = _settings(tmp_path, tmp_path)
    migrate_ledger(settings)
    lock = HouseLock(tmp_path)
    try:
        assert migrate_ledger(settings).applied == []
    finally:
        lock.release()


def test_migrate_beside_an_older_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(tmp_path, tmp_path)
    with monkeypatch.context() as older:
        older.setattr("embedhouse.ledger.schema.migrations", lambda: migrations()[:-1])
        Database(tmp_path / "ledger.db").close()
    lock = HouseLock(tmp_path)
    try:
        with pytest.raises(Conflict, match="in use by an older Embedhouse"):
            migrate_ledger(settings)
    finally:
        lock.release()
    assert migrate_ledger(settings).applied == NUMBERS[-1:]


def test_migrate_command_says_what_it_did(tmp_path: Path) -> None:
    first = CliRunner().invoke(app, ["--home", str(tmp_path), "migrate"])
    assert (first.exit_code, first.stdout) == (
        0,
        f"{tmp_path}/ledger.db: schema {NUMBERS[-1]}, {len(NUMBERS)} migrations applied\n",
    )
    second = CliRunner().invoke(app, ["migrate", "--home", str(tmp_path), "--json"])
    assert json.loads(second.stdout) == {"ledger": f"{tmp_path}/ledger.db", "schema": NUMBERS[-1], "applied": []}
