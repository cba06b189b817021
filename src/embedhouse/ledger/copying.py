"""The whole ledger into another one: of a running house, as it stood at one moment."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select, text, update

from embedhouse.domain.storage import storage_error
from embedhouse.ledger import tables as t
from embedhouse.ledger.collections import new_house_id
from embedhouse.ledger.database import Database

__all__ = ["copy_rows", "is_empty", "renew_house_id", "snapshot"]

_ROWS_PER_INSERT = 1000


def snapshot(database: Database, path: Path) -> None:
    """Write the ledger as it stands now to a SQLite file at `path`. Writers go on. Errors: those of the disk and of
    the ledger."""
    if database.server is None:
        try:
            with closing(sqlite3.connect(database.name)) as connection:
                connection.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.Error as error:
            raise storage_error(error, path) from error
        return
    copied = Database(path)
    try:
        with database.read() as source, copied.write() as target:
            copy_rows(source, target)
    finally:
        copied.close()


def copy_rows(source: Connection, target: Connection) -> None:
    """Every row of every table into an empty ledger of the same schema."""
    target.execute(delete(t.house))
    for table in t.metadata.sorted_tables:
        rows = source.execute(select(table).execution_options(yield_per=_ROWS_PER_INSERT))
        for block in rows.partitions():
            target.execute(insert(table), [dict(row._mapping) for row in block])
    if target.dialect.name == "postgresql":
        _go_on_counting(target)


def is_empty(connection: Connection) -> bool:
    """Whether nothing was ever put into this ledger."""
    tables = [table for table in t.metadata.sorted_tables if table is not t.house]
    return all(connection.execute(select(table).limit(1)).first() is None for table in tables)


def renew_house_id(connection: Connection) -> None:
    """Another house from now on: it must not take the first one's indexes on servers for its own."""
    connection.execute(update(t.house).values(id=new_house_id()))


def _go_on_counting(target: Connection) -> None:
    """Identity columns do not notice rows that bring their own numbers."""
    for table in t.metadata.sorted_tables:
        for column in table.primary_key.columns:
            sequence = target.execute(
                text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}
            ).scalar()
            if sequence:
                last = target.execute(select(func.max(column))).scalar()
                target.execute(
                    text("SELECT setval(CAST(:sequence AS regclass), :last, :called)"),
                    {"sequence": sequence, "last": last or 1, "called": last is not None},
                )
