"""A SQL source of many rows: brought in, then unchanged, then with one row in a hundred changed.

    python benchmarks/bench_sync.py [--rows 100000] [--url postgresql://...]

The table is in SQLite, or in the empty database at `--url`. Unchanged rows are read, compared by hash and left
alone: rows per second count from the call of `sync` to its report, whole (`full`) and by the version column. Texts
are of the Wikipedia paragraphs, each with the row's number, so that no two are the same.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, Text, create_engine, insert, update

from embedhouse import Embedhouse
from embedhouse.domain.syncing import SyncReport
from embedhouse.sources import RowShape, SqlSourceSettings
from machine import paragraphs, versions, write_result

COLLECTION = "rows"
VARIABLE = "BENCH_SYNC_URL"
PACKAGES = ("embedhouse", "sqlalchemy", "openvino", "qdrant-edge-py", "psycopg")
NAME = "bench_rows"
TABLE = Table(
    NAME,
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("title", Text),
    Column("body", Text),
    Column("kind", Text),
    Column("version", BigInteger, index=True),
)
SHAPE = RowShape(text_columns=("body",), title_column="title", metadata_columns=("kind",))
# Each row once: nothing is written while this runs.
SETTINGS = SqlSourceSettings(
    table=NAME, url_env=VARIABLE, shape=SHAPE, version_column="version", overlap_versions=0, compare_keys=True
)
CHANGED_ONE_IN = 100


def rows(n: int, words: int) -> Iterator[dict[str, object]]:
    """The table's rows; texts of `words` words at most."""
    texts = itertools.cycle(paragraphs(20_000))
    for number, text in zip(range(n), texts, strict=False):
        body = f"Row {number}. " + " ".join(text.split()[:words])
        yield {"id": number, "title": f"Row {number}", "body": body, "kind": f"k{number % 7}", "version": number}


def fill(engine: Engine, n: int, words: int) -> None:
    """Make the table."""
    TABLE.metadata.create_all(engine)
    with engine.begin() as connection:
        all_rows = rows(n, words)
        while block := list(itertools.islice(all_rows, 5000)):
            connection.execute(insert(TABLE), block)


def change_some(engine: Engine, n: int) -> None:
    """New words in one row of a hundred of `n`."""
    with engine.begin() as connection:
        changed = update(TABLE).where(TABLE.c.id % CHANGED_ONE_IN == 0)
        connection.execute(changed.values(body="Changed. " + TABLE.c.body, version=TABLE.c.version + n))


def told(report: SyncReport) -> dict[str, object]:
    """What matters of a run."""
    (done,) = report.sources
    assert report.in_step, done
    return {
        "seconds": report.seconds,
        "rows_read": done.read,
        "rows_per_s": done.read / report.seconds,
        "added": done.added,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "tokens": report.tokens,
    }


def measure(home: Path, engine: Engine, n: int, rounds: int) -> dict[str, object]:
    """Brought in, unchanged, changed."""
    with Embedhouse(home) as house:
        house.models.embed(["warm up"])
        house.sources.bind(COLLECTION, SETTINGS, name="bench")
        first = told(house.sync(COLLECTION))
        unchanged = [told(house.sync(COLLECTION, full=True)) for _ in range(rounds)]
        by_version = [told(house.sync(COLLECTION)) for _ in range(rounds)]
        change_some(engine, n)
        changed = told(house.sync(COLLECTION))
    return {
        "first": first,
        "unchanged": max(unchanged, key=lambda each: float(str(each["rows_per_s"]))),
        "unchanged_by_version": min(by_version, key=lambda each: float(str(each["seconds"]))),
        "one_percent_changed": changed,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=30, help="words of a row's text at most")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of these counts")
    parser.add_argument("--url", help="an empty database, in place of SQLite")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        url = arguments.url or f"sqlite:///{temporary}/shop.db"
        os.environ[VARIABLE] = url
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        fill(engine, arguments.rows, arguments.words)
        try:
            result: dict[str, object] = {
                "versions": versions(PACKAGES),
                "database": engine.dialect.name,
                "rows": arguments.rows,
                **measure(Path(temporary) / "home", engine, arguments.rows, arguments.rounds),
            }
        finally:
            TABLE.metadata.drop_all(engine)
            engine.dispose()
    write_result("sync", result, arguments.out)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
