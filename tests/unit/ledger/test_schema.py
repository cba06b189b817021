from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from embedhouse.domain.errors import LedgerTooNew, ReadOnly
from embedhouse.ledger import tables
from embedhouse.ledger.database import Database
from embedhouse.ledger.schema import migrate, migrations


def _shape(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    """Columns, indexes and foreign keys of every table, as SQLite reports them."""
    with engine.connect() as connection:

        def rows(pragma: str) -> list[tuple[object, ...]]:
            return [tuple(row) for row in connection.execute(text(f"PRAGMA {pragma}"))]

        names = [row[1] for row in rows("table_list") if not str(row[1]).startswith("sqlite_")]
        return {
            str(name): [
                # A rowid alias is never null, whether or not its column says so.
                *((c[1], c[2], c[3] or c[5], c[4], c[5]) for c in rows(f"table_info({name})")),
                *sorted((i[1], i[2]) for i in rows(f"index_list({name})")),
                *sorted(k[2:7] for k in rows(f"foreign_key_list({name})")),
            ]
            for name in names
            if name != "schema_version"
        }


def test_schema_is_what_all_migrations_make() -> None:
    migrated, declared = create_engine("sqlite://"), create_engine("sqlite://")
    migrate(migrated, "memory")
    tables.metadata.create_all(declared)
    assert _shape(migrated) == _shape(declared)


def test_migrate_twice_changes_nothing() -> None:
    engine = create_engine("sqlite://")
    migrate(engine, "memory")
    before = _shape(engine)
    migrate(engine, "memory")
    assert _shape(engine) == before


def test_migrations_that_were_left_out_are_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    late, early = create_engine("sqlite://"), create_engine("sqlite://")
    every = migrations()
    without_one = [one for one in every if one[0] != 4]
    monkeypatch.setattr("embedhouse.ledger.schema.migrations", lambda: without_one)
    migrate(late, "memory")
    monkeypatch.setattr("embedhouse.ledger.schema.migrations", lambda: every)
    migrate(late, "memory")
    migrate(early, "memory")
    assert _shape(late) == _shape(early)


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "ledger.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO schema_version VALUES (999)"))
    engine.dispose()
    with pytest.raises(LedgerTooNew, match="999"):
        Database(tmp_path / "ledger.db")


def test_ledger_in_a_place_that_is_no_folder_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ReadOnly, match="file"):
        Database(tmp_path / "file" / "ledger.db")


def test_write_block_is_all_or_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "ledger.db")
    row = {"name": "a", "created_at": 0.0}

    def fail() -> None:
        with database.write() as ledger:
            ledger.execute(tables.collection.insert().values(row))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as ledger:
        assert ledger.execute(tables.collection.select()).all() == []
    database.close()


def test_database_survives_power_cuts_by_its_settings(tmp_path: Path) -> None:
    database = Database(tmp_path / "ledger.db")
    with database.read() as ledger:
        assert ledger.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert ledger.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL
        assert ledger.execute(text("PRAGMA foreign_keys")).scalar() == 1
    database.close()
