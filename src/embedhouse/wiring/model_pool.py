"""Models that are open, each once."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import get_args

import msgspec

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidSetting
from embedhouse.domain.models import ModelChoice
from embedhouse.models.local import LocalEmbedder, LocalModelSettings, PrecisionName, open_local_model
from embedhouse.models.parity import Parity, check_model
from embedhouse.models.progress import Progress, no_progress
from embedhouse.models.quantised import quantised_file
from embedhouse.models.store import ModelFiles, ModelStore
from embedhouse.ports import VectorCache

__all__ = ["ModelPool"]

_PRECISIONS = get_args(PrecisionName)


class ModelPool:
    """Opens local models over one vector cache. Thread-safe: two callers of one model share it."""

    def __init__(
        self, store: ModelStore, cache: VectorCache, threads: int, on_download: Progress = no_progress
    ) -> None:
        self._store = store
        self._on_download = on_download
        self._cache = cache
        self._threads = threads
        self._lock = threading.Lock()
        self._open: dict[ModelChoice, tuple[LocalEmbedder, CachedEmbedder]] = {}

    def open(self, choice: ModelChoice) -> CachedEmbedder:
        """The embedder, opened now if need be. Errors: InvalidSetting (precision), those of the store and the
        model."""
        with self._lock:
            if choice not in self._open:
                local = self._opened(choice)
                self._open[choice] = (local, CachedEmbedder(local, self._cache))
                # Asked for by its own dimensions and prompts, as collections do, it is the same model.
                dimensions = {choice.dimensions, local.space.dimensions}
                for same in itertools.product(dimensions, {choice.prompts, local.space.prompts}):
                    spelt_out = msgspec.structs.replace(choice, dimensions=same[0], prompts=same[1])
                    self._open.setdefault(spelt_out, self._open[choice])
            return self._open[choice][1]

    def close(self) -> None:
        """Close every model."""
        with self._lock:
            for local in {local for local, _ in self._open.values()}:
                local.close()
            self._open.clear()

    def check(self, model: str, precision: str) -> Parity:
        """How close the model's vectors are to a reference's. Errors: as `open`."""
        files = self._store.get(model)
        settings = self._settings(files, ModelChoice(model=model, precision=precision))
        return check_model(files.folder, settings, Deadline.never())

    def _opened(self, wanted: ModelChoice) -> LocalEmbedder:
        files = self._store.get(wanted.model, progress=self._on_download)
        return open_local_model(files.folder, self._settings(files, wanted))

    def _settings(self, files: ModelFiles, wanted: ModelChoice) -> LocalModelSettings:
        precision = _checked_precision(wanted.precision)
        return LocalModelSettings(
            name=files.name,
            # The same files are the same revision, from the hub, the package index or a folder.
            revision=files.content_sha256[:12],
            precision=precision,
            dimensions=wanted.dimensions,
            prompts=wanted.prompts,
            streams=self._threads or None,
            source_sha256=files.weights_sha256,
            quantised_file=quantised_file(files, self._store.quantised_folder, progress=self._on_download)
            if precision == "int8"
            else None,
        )


def _checked_precision(name: str) -> PrecisionName:
    with contextlib.suppress(msgspec.ValidationError):
        known: PrecisionName = msgspec.convert(name, PrecisionName)
        return known
    raise InvalidSetting(
        name="precision", origin="request", reason=f"{name!r} is not one of {', '.join(_PRECISIONS)}"
    )
