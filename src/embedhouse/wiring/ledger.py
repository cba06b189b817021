"""The ledger that the settings name, and whether one process or several may use the home beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embedhouse.domain.errors import MissingExtra
from embedhouse.settings import Settings
from embedhouse.wiring.lock import HouseLock, SharedHome
from embedhouse.wiring.paths import ledger_path

if TYPE_CHECKING:
    from embedhouse.ledger.postgresql import LedgerServer

__all__ = ["ledger_place", "take_home"]


def ledger_place(settings: Settings) -> Path | LedgerServer:
    """The file in the home, or the server. Errors: MissingExtra."""
    if not settings.ledger_url:
        return ledger_path(settings.home)
    try:
        from embedhouse.ledger.postgresql import LedgerServer
    except ModuleNotFoundError as error:
        raise MissingExtra(what="A ledger on PostgreSQL", extra="postgresql") from error
    origin = settings.origins.get("ledger_url", "default")
    return LedgerServer(url=settings.ledger_url, connections=settings.ledger_pool, origin=origin)


def take_home(settings: Settings) -> HouseLock | SharedHome:
    """The home for this process alone, unless nothing of it is kept there. Errors: those of HouseLock."""
    is_shared = bool(settings.ledger_url) and settings.cache != "sqlite"
    return SharedHome(settings.home) if is_shared else HouseLock(settings.home)
