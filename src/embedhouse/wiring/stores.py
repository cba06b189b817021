"""The stores that the settings name, each opened once."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import msgspec

from embedhouse.domain.errors import EmbeddedLocked, InvalidInput, InvalidSetting, MissingExtra
from embedhouse.domain.stores import EMBEDDED, StoreKind, StoreSettings, store_of_url
from embedhouse.indexes.embedded import EmbeddedStore
from embedhouse.indexes.paired import PairedStore
from embedhouse.ledger import collections
from embedhouse.ledger.database import Database
from embedhouse.ledger.leadership import Leadership, leader, try_to_lead
from embedhouse.ledger.term_statistics import LedgerTermStatistics
from embedhouse.ports import Store
from embedhouse.settings import Settings

__all__ = ["Stores", "store_settings"]

_EMBEDDED_INDEXES = "embedded indexes"

_KEY_VARIABLES: dict[StoreKind, str] = {
    "qdrant": "QDRANT_API_KEY",
    "elasticsearch": "ELASTIC_API_KEY",
    "opensearch": "OPENSEARCH_PASSWORD",
    "weaviate": "WEAVIATE_API_KEY",
    "pinecone": "PINECONE_API_KEY",
    "postgresql": "PGPASSWORD",
}


class Stores:
    """Opens stores by their name in the settings or by URL. Thread-safe."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], Store] = {}
        self._owner = ""
        self._leadership: Leadership | None = None

    def open(self, store: str, lexical_store: str = "") -> Store:
        """The store; with a `lexical_store` that is another one, both as one.

        Errors: InvalidSetting for a name that the settings do not have; MissingExtra; EmbeddedLocked where another
        process of the same ledger has the embedded indexes; those of the store.
        """
        with self._lock:
            if not lexical_store or lexical_store == store:
                return self._one(store)
            pair = (store, lexical_store)
            if pair not in self._open:
                self._open[pair] = PairedStore(self._one(store), self._one(lexical_store))
            return self._open[pair]

    def close(self) -> None:
        """Close every store."""
        with self._lock:
            for store in self._open.values():
                store.close()
            self._open.clear()
            if self._leadership is not None:
                self._leadership.release()
                self._leadership = None

    def _one(self, name: str) -> Store:
        if (name, "") not in self._open:
            self._open[name, ""] = self._connected(store_settings(name, self._settings, os.environ))
        return self._open[name, ""]

    def _connected(self, settings: StoreSettings) -> Store:
        if settings.kind == "embedded":
            self._lead_in_embedded()
            return EmbeddedStore(self._settings.home)
        if not self._owner:
            with self._database.write() as ledger:
                self._owner = collections.house_id(ledger)
        try:
            return self._connect(settings)
        except ModuleNotFoundError as error:
            raise MissingExtra(what=f"A store of kind {settings.kind}", extra=settings.kind) from error

    def _connect(self, settings: StoreSettings) -> Store:
        """Imported here: each needs an extra of its own."""
        match settings.kind:
            case "postgresql":
                from embedhouse.indexes.pgvector.store import PgvectorStore

                return PgvectorStore.connect(settings, owner=self._owner)
            case "qdrant":
                from embedhouse.indexes.qdrant.server import QdrantStore

                return QdrantStore.connect(settings, owner=self._owner)
            case "elasticsearch" | "opensearch":
                from embedhouse.indexes.elasticsearch.store import ElasticsearchStore

                return ElasticsearchStore.connect(settings, owner=self._owner)
            case "weaviate":
                from embedhouse.indexes.weaviate.store import WeaviateStore

                return WeaviateStore.connect(settings, owner=self._owner)
            case _:
                from embedhouse.indexes.pinecone.store import PineconeStore

                statistics = LedgerTermStatistics(self._database)
                return PineconeStore.connect(settings, owner=self._owner, statistics=statistics)

    def _lead_in_embedded(self) -> None:
        """Errors: EmbeddedLocked."""
        if self._leadership is None:
            self._leadership = try_to_lead(self._database, _EMBEDDED_INDEXES)
        if self._leadership is None:
            holder = leader(self._database, _EMBEDDED_INDEXES) or "unknown"
            raise EmbeddedLocked(home=self._database.name, pid=holder)


def store_settings(name: str, settings: Settings, environ: Mapping[str, str]) -> StoreSettings:
    """The settings of a store, by its name or its URL, with its key from the variable that holds it. Errors:
    InvalidSetting."""
    if name == EMBEDDED:
        return StoreSettings(kind="embedded")
    found = settings.stores.get(name)
    if found is None:
        if "://" not in name:
            known = ", ".join([EMBEDDED, *sorted(settings.stores)])
            reason = f"there is no store {name!r}. There are: {known}. Others are tables [stores.NAME], or URLs"
            raise InvalidSetting(name="store", origin=settings.origins.get("store", "argument"), reason=reason)
        try:
            found = store_of_url(name)
        except InvalidInput as error:
            raise InvalidSetting(name="store", origin="its URL", reason=str(error)) from None
    variable = found.api_key_env or _KEY_VARIABLES.get(found.kind, "")
    return msgspec.structs.replace(found, api_key=found.api_key or environ.get(variable, ""))
