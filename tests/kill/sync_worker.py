"""Runs in a process of its own until it is killed: one `house.sync` of a SQL table.

python sync_worker.py HOME DATABASE
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from fake_house import HashEmbedder, open_fake_house

from embedhouse.domain.errors import Conflict
from embedhouse.house import House
from embedhouse.sources import RowShape, SqlSourceSettings

COLLECTION = "kept"
TABLE = SqlSourceSettings(
    table="rows",
    shape=RowShape(metadata_columns=("year",)),
    version_column="version",
    overlap_versions=0,
    page_rows=50,
)


def bind(house: House) -> None:
    with contextlib.suppress(Conflict):
        house.sources.bind(COLLECTION, TABLE, name="rows")


def main(home: str, database: str) -> None:
    os.environ["SOURCE_DB_URL"] = f"sqlite:///{database}"
    with open_fake_house(Path(home), HashEmbedder(seconds_per_batch=0.05)) as house:
        bind(house)
        print("ready", flush=True)
        house.sync(COLLECTION, allow_mass_delete=True)
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
