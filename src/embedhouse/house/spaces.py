"""`house.spaces`: the spaces that were used, and whether their models are still what they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Conflict, EmbedhouseError, NotFound
from embedhouse.domain.models import ModelChoice
from embedhouse.domain.reports import SpaceInfo
from embedhouse.house.collections import iso_time
from embedhouse.indexing.parts import Parts
from embedhouse.ledger import collections
from embedhouse.ledger.spaces import KnownSpace
from embedhouse.models.spaces import GuardedEmbedder, SpaceStates

__all__ = ["Spaces"]

_CLOSE_S = 2.0

_log = structlog.get_logger("embedhouse.spaces")


class Spaces:
    """Look at spaces, watch them, thaw them. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._states = parts.spaces or SpaceStates(parts.database, canary_hours=0)
        self._closing = threading.Event()
        self._watching: threading.Thread | None = None

    @property
    def any_frozen(self) -> bool:
        """Whether a model has changed under its name."""
        return any(known.state == "frozen" for known in self._states.known())

    def list(self) -> Sequence[SpaceInfo]:
        """Every space that has a canary, in the order of first use."""
        return [_info(known) for known in self._states.known()]

    def unfreeze(
        self, model: str, *, accept: bool = False, deadline: Deadline | None = None
    ) -> Sequence[SpaceInfo]:
        """Embed the fixed texts again for the frozen spaces of a model, and let them be written if the vectors are
        those of first use; or, to `accept` them, whatever they are.

        Errors: NotFound (no frozen space has this model), SpaceFrozen, and those of the model.
        """
        frozen = [known for known in self._states.known() if known.state == "frozen" and _is_of(known, model)]
        if not frozen:
            raise NotFound(what=f"A frozen space of model {model!r}")
        within = deadline or Deadline.never()
        return [_info(self._states.unfreeze(self._opened(known), within, accept=accept)) for known in frozen]

    def keep_watch(self) -> None:
        """From now on, in a thread: take the canary of each space that a provider serves, at once and every
        `canary_hours`."""
        if self._states.period_s and self._watching is None:
            self._watching = threading.Thread(target=self._watch, name="canary-watch", daemon=True)
            self._watching.start()

    def close(self) -> None:
        """Stop watching."""
        self._closing.set()
        self._states.close()
        if self._watching is not None:
            # It may be opening a model at a provider that does not answer; it looks at nothing of ours after that.
            self._watching.join(_CLOSE_S)

    def _watch(self) -> None:
        while True:
            self._open_remote()
            for guarded in self._states.watched().values():
                if not self._closing.is_set() and not guarded.space.weights_sha256:
                    self._states.check_quietly(guarded)
            if self._closing.wait(self._states.period_s):
                return

    def _open_remote(self) -> None:
        """Open what the collections use of providers, so that it is watched."""
        for choice in list(self._remote_choices()):
            try:
                self._parts.open_embedder(choice)
            except EmbedhouseError as error:
                _log.info("canary not taken", model=choice.model, reason=str(error))

    def _remote_choices(self) -> Iterator[ModelChoice]:
        with self._parts.database.read() as ledger:
            for collection in collections.collections(ledger):
                for generation in collections.generations(ledger, collection.id):
                    space = generation.space
                    if not space.weights_sha256:
                        yield ModelChoice(
                            model=generation.model,
                            precision=generation.precision,
                            dimensions=space.dimensions,
                            prompts=space.prompts,
                        )

    def _opened(self, known: KnownSpace) -> GuardedEmbedder:
        self._parts.open_embedder(known.choice)
        guarded = self._states.watched().get(known.fingerprint)
        if guarded is None:
            reason = f"{known.choice.model} opens in another space than {known.space.describe()}"
            raise Conflict(reason=f"{reason}: there is nothing to compare.")
        return guarded


def _is_of(known: KnownSpace, model: str) -> bool:
    """Whether a user means this space by this name."""
    return model in (known.choice.model, known.space.model, f"{known.space.provider}:{known.space.model}")


def _info(known: KnownSpace) -> SpaceInfo:
    return SpaceInfo(
        space=known.fingerprint,
        model=known.choice.model,
        provider=known.space.provider,
        dimensions=known.space.dimensions,
        frozen=known.state == "frozen",
        reason=known.reason,
        tolerance=known.tolerance,
        first_used_at=iso_time(known.recorded_at),
        checked_at=iso_time(known.checked_at),
        frozen_at=None if known.frozen_at is None else iso_time(known.frozen_at),
    )
