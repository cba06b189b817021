"""Models that are open, each once."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from embedhouse.cache.embedder import CachedEmbedder
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import CapabilityMissing, InvalidSetting, Offline, UnknownModel
from embedhouse.domain.models import ModelChoice, Spent
from embedhouse.domain.spaces import Lane
from embedhouse.models.progress import Progress, no_progress
from embedhouse.models.quantised import quantised_file
from embedhouse.models.spaces import GuardedEmbedder, SpaceStates
from embedhouse.models.store import ModelFiles, ModelStore
from embedhouse.ports import Embedder, Meter, VectorCache
from embedhouse.settings import PrecisionChoice, Settings
from embedhouse.spend.metered import MeteredEmbedder

# OpenVINO and the providers' clients are imported where a model is opened: most commands open none.
if TYPE_CHECKING:
    from embedhouse.models.local import LocalModelSettings
    from embedhouse.models.parity import Parity
    from embedhouse.models.remote.opening import RemoteModels

__all__ = ["ModelPool"]

_ENCODINGS_FOLDER = ".encodings"
_HUB_FOLDER = ".hub"
_PRECISIONS = get_args(PrecisionChoice)


class ModelPool:
    """Opens models over one vector cache: `PROVIDER:MODEL` at a provider of the settings, any other on this
    machine. Thread-safe: two callers of one model share it, and nobody waits for another model to open."""

    def __init__(
        self,
        store: ModelStore,
        cache: VectorCache,
        settings: Settings,
        on_download: Progress = no_progress,
        meter: Meter | None = None,
        spaces: SpaceStates | None = None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._settings = settings
        self._on_download = on_download
        self._meter = meter or _NoMeter()
        self._spaces = spaces
        self._remote: RemoteModels | None = None
        self._lock = threading.Lock()
        self._opening: dict[ModelChoice, threading.Lock] = {}
        self._open: dict[ModelChoice, CachedEmbedder] = {}

    def open(self, choice: ModelChoice) -> CachedEmbedder:
        """The embedder over the vector cache, opened now if need be.

        Errors: InvalidSetting (precision, dimensions, a provider's), those of the store and the model; Offline,
        MissingExtra and ProviderError for providers.
        """
        with self._lock:
            found = self._open.get(choice)
            opening = self._opening.setdefault(choice, threading.Lock())
        if found is not None:
            return found
        with opening:
            with self._lock:
                found = self._open.get(choice)
            return found or self._keep(choice, self._opened(choice))

    def close(self) -> None:
        """Close every model."""
        with self._lock:
            for cached in set(self._open.values()):
                cached.close()
            self._open.clear()
            if self._remote is not None:
                self._remote.close()

    def check(self, model: str, precision: str) -> Parity:
        """How close the model's vectors are to a reference's. Errors: as `open`; CapabilityMissing for providers'
        models."""
        if self._provider(model) is not None:
            remedy = "Its weights are not on this machine, so there is nothing to compute a reference with."
            raise CapabilityMissing(part=f"Model {model}", capability="this check", remedy=remedy)
        files = self._store.get(model)
        settings = self._local_settings(files, ModelChoice(model=model, precision=precision))
        from embedhouse.models.parity import check_model

        return check_model(files.folder, settings, Deadline.never())

    def _keep(self, choice: ModelChoice, embedder: Embedder) -> CachedEmbedder:
        provider = self._provider(choice.model)
        space = embedder.space
        # What the cache saves is on the account of the provider as it is called here, like what it is asked for.
        meter = self._meter if provider is None else _AccountMeter(self._meter, provider, _model_at(choice.model))
        guarded = None if self._spaces is None else GuardedEmbedder(embedder, self._spaces, choice)
        cached = CachedEmbedder(guarded or embedder, self._cache, meter)
        with self._lock:
            # Asked for by its own dimensions and prompts, as collections do, it is the same model.
            dimensions = {choice.dimensions, space.dimensions}
            for same in itertools.product(dimensions, {choice.prompts, space.prompts}):
                spelt_out = msgspec.structs.replace(choice, dimensions=same[0], prompts=same[1])
                self._open.setdefault(spelt_out, cached)
            kept = self._open[choice]
        if kept is not cached:  # opened at the same time under another spelling
            embedder.close()
        elif self._spaces is not None and guarded is not None:
            self._spaces.watch(guarded)
        return kept

    def _provider(self, model: str) -> str | None:
        """The provider that a model's name begins with."""
        name, colon, _ = model.partition(":")
        return name if colon and name in self._settings.providers else None

    def _opened(self, wanted: ModelChoice) -> Embedder:
        provider = self._provider(wanted.model)
        if provider is None:
            self._check_is_local(wanted.model)
            files = self._store.get(wanted.model, progress=self._on_download)
            from embedhouse.models.local import open_local_model

            local = open_local_model(files.folder, self._local_settings(files, wanted))
            return MeteredEmbedder(local, self._meter)
        choice = msgspec.structs.replace(wanted, model=_model_at(wanted.model))
        settings = self._settings.providers[provider]
        if settings.kind == "sentence-transformers":
            from embedhouse.models.sentence_transformers import open_sentence_transformer
            from embedhouse.models.snapshot import SnapshotAccess

            access = SnapshotAccess(cache_folder=self._store.folder / _HUB_FOLDER, offline=self._settings.offline)
            return MeteredEmbedder(open_sentence_transformer(provider, settings, choice, access), self._meter)
        if self._settings.offline:
            raise Offline(what=f"Model {choice.model} of provider {provider}")
        return self._remote_models().open(provider, choice)

    def _remote_models(self) -> RemoteModels:
        with self._lock:
            if self._remote is None:
                from embedhouse.models.remote.opening import RemoteModels

                folder = self._store.folder / _ENCODINGS_FOLDER
                self._remote = RemoteModels(self._settings.providers, self._meter, folder)
            return self._remote

    def _check_is_local(self, model: str) -> None:
        """Errors: UnknownModel for what looks like a provider's model, of a provider that nobody knows."""
        name, colon, rest = model.partition(":")
        if not colon or not rest or not name.isidentifier() or len(name) == 1 or Path(model).exists():
            return  # one letter: a drive
        known = ", ".join(self._settings.providers)
        near = difflib.get_close_matches(name, self._settings.providers, n=1)
        hint = f"did you mean {near[0]}:{rest}?" if near else f"there are {known}"
        raise UnknownModel(name=model, reason=f"no provider is called {name!r} ({hint})")

    def _local_settings(self, files: ModelFiles, wanted: ModelChoice) -> LocalModelSettings:
        precision = _checked_precision(wanted.precision)
        from embedhouse.models.local import LocalModelSettings

        return LocalModelSettings(
            name=files.name,
            # The same files are the same revision, from the hub, the package index or a folder.
            revision=files.content_sha256[:12],
            precision=precision,
            dimensions=wanted.dimensions,
            prompts=wanted.prompts,
            streams=self._settings.threads or None,
            source_sha256=files.weights_sha256,
            quantised_file=quantised_file(files, self._store.quantised_folder, progress=self._on_download)
            if precision == "int8"
            else None,
        )


class _NoMeter:
    """Implements ports.Meter where nobody counts."""

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        """Always."""

    def record(self, spent: Spent) -> None:
        """Nowhere."""


class _AccountMeter:
    """Implements ports.Meter under a provider's name in the settings."""

    def __init__(self, meter: Meter, provider: str, model: str) -> None:
        self._meter = meter
        self._provider = provider
        self._model = model

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        """See ports.Meter."""
        self._meter.allow(provider=self._provider, model=self._model, lane=lane, tokens=tokens)

    def record(self, spent: Spent) -> None:
        """See ports.Meter."""
        self._meter.record(msgspec.structs.replace(spent, provider=self._provider, model=self._model))


def _model_at(name: str) -> str:
    """A provider's model, without the provider's name."""
    return name.partition(":")[2]


def _checked_precision(name: str) -> PrecisionChoice:
    with contextlib.suppress(msgspec.ValidationError):
        known: PrecisionChoice = msgspec.convert(name, PrecisionChoice)
        return known
    raise InvalidSetting(
        name="precision", origin="request", reason=f"{name!r} is not one of {', '.join(_PRECISIONS)}"
    )
