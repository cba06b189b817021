"""Models that are open, each once."""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.domain.errors import InvalidSetting
from embedhouse.models.local import LocalEmbedder, LocalModelSettings, PrecisionName, open_local_model
from embedhouse.models.store import ModelFiles, ModelStore
from embedhouse.ports import VectorCache

__all__ = ["ModelPool"]

_PRECISIONS = ("auto", "f32", "bf16", "int8")


class _Wanted(msgspec.Struct, frozen=True):
    model: str
    precision: PrecisionName
    dimensions: int | None


class ModelPool:
    """Opens local models over one vector cache. Thread-safe: two callers of one model share it."""

    def __init__(self, store: ModelStore, cache: VectorCache, threads: int) -> None:
        self._store = store
        self._cache = cache
        self._threads = threads
        self._lock = threading.Lock()
        self._open: OrderedDict[_Wanted, tuple[LocalEmbedder, CachedEmbedder]] = OrderedDict()

    def open(self, model: str, precision: str, dimensions: int | None) -> CachedEmbedder:
        """The embedder, opened now if need be. Errors: InvalidSetting (precision), those of the store and the
        model."""
        wanted = _Wanted(model, _checked_precision(precision), dimensions)
        with self._lock:
            if wanted not in self._open:
                local = self._opened(wanted)
                self._open[wanted] = (local, CachedEmbedder(local, self._cache))
            return self._open[wanted][1]

    def close(self) -> None:
        """Close every model."""
        with self._lock:
            for local, _ in self._open.values():
                local.close()
            self._open.clear()

    def _opened(self, wanted: _Wanted) -> LocalEmbedder:
        files = self._store.get(wanted.model)
        settings = LocalModelSettings(
            name=files.name,
            revision=files.revision,
            precision=wanted.precision,
            dimensions=wanted.dimensions,
            streams=self._threads or None,
            source_sha256=files.weights_sha256,
            quantised_file=_quantised(files) if wanted.precision == "int8" else None,
        )
        return open_local_model(files.folder, settings)


def _quantised(files: ModelFiles) -> object:
    raise NotImplementedError


def _checked_precision(name: str) -> PrecisionName:
    for known in _PRECISIONS:
        if name == known:
            return known  # type: ignore[return-value]
    raise InvalidSetting(
        name="precision", origin="request", reason=f"{name!r} is not one of {', '.join(_PRECISIONS)}"
    )
