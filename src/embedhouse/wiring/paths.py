"""What lies where in a house's folder."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cache_path", "ledger_path"]


def ledger_path(home: Path) -> Path:
    """The ledger: what must be backed up."""
    return home / "ledger.db"


def cache_path(home: Path) -> Path:
    """The vector cache: can be lost, at the price of embedding again."""
    return home / "cache.db"
