"""The only place that picks concrete parts from the settings."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path

from embedhouse.chunking.chunkers import make_chunker
from embedhouse.house import House
from embedhouse.indexing.leasing import Leases
from embedhouse.indexing.parts import Parts
from embedhouse.ledger.database import Database
from embedhouse.models.progress import Progress, no_progress
from embedhouse.models.spaces import SpaceStates
from embedhouse.models.store import ModelStore
from embedhouse.settings import Settings, load_settings
from embedhouse.spend.budgets import check_budgets
from embedhouse.spend.meter import SpendMeter
from embedhouse.spend.prices import PriceTable
from embedhouse.wiring.caches import cache_choice, needed_by_indexes, open_cache
from embedhouse.wiring.child import build_in_child
from embedhouse.wiring.ledger import ledger_place, take_home
from embedhouse.wiring.model_pool import ModelPool
from embedhouse.wiring.stores import Stores

__all__ = ["Embedhouse", "open_house"]


class Embedhouse(House):
    """An open house: `with Embedhouse("~/house") as house: house.search("notes", "when does the lease end")`.

    home: the folder with its state; without it EMBEDHOUSE_HOME, or the platform's data folder. `settings` are
    those of `embedhouse config show`, by name.
    Errors: HouseLocked, ReadOnly, DiskFull, LedgerTooNew, InvalidSetting.
    """

    def __init__(self, home: Path | str | None = None, **settings: object) -> None:
        self._open(load_settings({"home": home, **settings}, os.environ))

    def _open(self, settings: Settings, on_download: Progress = no_progress) -> None:
        home = settings.home
        prices = PriceTable(settings)
        check_budgets(settings)
        place = ledger_place(settings)
        self._lock = take_home(settings)
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            database = Database(place)
            undo.callback(database.close)
            cache = open_cache(cache_choice(settings), home, needed_by_indexes(database))
            meter = SpendMeter(database, prices, settings.budgets)
            spaces = SpaceStates(database, settings.canary_hours)
            undo.pop_all()
        store = ModelStore(
            settings.models_folder,
            offline=settings.offline,
            hub_url=settings.hub_url,
            token=settings.hub_token or None,
        )
        self._stores = Stores(settings, database)
        self._pool = ModelPool(store, cache, settings, on_download, meter, spaces)
        parts = Parts(
            home=home,
            database=database,
            cache=cache,
            open_embedder=self._pool.open,
            open_store=self._stores.open,
            make_chunker=make_chunker,
            build_in_child=partial(build_in_child, cache=cache_choice(settings), ledger_url=settings.ledger_url),
            spaces=spaces,
            leases=Leases.of(database, settings.lease_s),
        )
        super().__init__(parts, store, settings, self._pool.check, meter)

    def announce(self, url: str) -> None:
        """Say under which URL this house is served, for `status` and for other processes."""
        super().announce(url)
        self._lock.announce(url)

    def close(self) -> None:
        """Finish what is under way, flush and release everything."""
        try:
            super().close()
            self._pool.close()
            self._stores.close()
        finally:
            self._lock.release()


def open_house(settings: Settings, *, on_download: Progress = no_progress) -> Embedhouse:
    """The house that these settings describe. `on_download` hears of models that are fetched on the way."""
    house = Embedhouse.__new__(Embedhouse)
    house._open(settings, on_download)
    return house
