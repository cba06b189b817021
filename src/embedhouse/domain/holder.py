"""Who holds a home: what the holder writes beside its lock for other processes to read."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["HOLDER_FILE", "LOCK_FILE", "Holder", "read_holder"]

LOCK_FILE = "house.lock"
HOLDER_FILE = "house.json"


class Holder(msgspec.Struct, frozen=True):
    """Who holds a home: `<home>/house.json`. `url` once it serves."""

    pid: int
    url: str | None = None
    started_at: str = ""
    command: str = ""


def read_holder(home: Path) -> Holder | None:
    """What the holder last wrote; it may be dead."""
    try:
        return msgspec.json.decode((home / HOLDER_FILE).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None
