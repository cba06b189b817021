"""Which spaces may still be written: the watch over models that others serve."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec
import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.errors import EmbedhouseError, SpaceFrozen
from embedhouse.domain.models import ModelChoice
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.ledger import spaces
from embedhouse.ledger.database import Database
from embedhouse.ledger.leadership import alone
from embedhouse.ledger.spaces import KnownSpace, SpaceState
from embedhouse.models.canary import distance, learn_canary, take_canary
from embedhouse.ports import Embedder, Tokenizer
from embedhouse.telemetry import COUNTERS

__all__ = ["GuardedEmbedder", "SpaceStates"]

_log = structlog.get_logger("embedhouse.spaces")

_TRY_AGAIN_S = 300.0
_REREAD_EVERY_S = 3.0
# How long a process that ends waits for its canary: hardly after a query; after bulk work so that even a small
# folder leaves one behind.
_GRACE_S: dict[Lane, float] = {"interactive": 1.0, "bulk": 5.0}


class SpaceStates:
    """What is known of each space, and the canaries that keep it true. Thread-safe.

    A canary is taken in a thread of its own and on the bulk lane, so no query waits for it. `canary_hours` of 0
    takes none; a space that was frozen before stays so.

    period_s: seconds between two canaries of a space; 0 for none.
    """

    def __init__(self, database: Database, canary_hours: float, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self.period_s = canary_hours * 3600
        self._now = now
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        self._watched: dict[str, GuardedEmbedder] = {}
        self._stopping = Deadline.never()
        self._closed = False
        self._last: Future[None] | None = None
        self._grace_s = 0.0
        self._threads = ThreadPoolExecutor(1, "canary")
        self._frozen: dict[str, str] = {}
        self._due_at: dict[str, float] = {}
        self._reread_at = float("inf")
        self._reread()

    def _reread(self) -> None:
        """What the ledger knows; another process may have frozen a space, or thawed it."""
        known = self.known()
        with self._lock:
            self._frozen = {one.fingerprint: one.reason for one in known if one.state == "frozen"}
            for one in known:  # never earlier: a canary that could not be taken waits for its next turn
                due_at = one.checked_at + self.period_s
                self._due_at[one.fingerprint] = max(due_at, self._due_at.get(one.fingerprint, due_at))
            if self._database.is_shared:
                self._reread_at = time.monotonic() + _REREAD_EVERY_S

    def _reread_if_old(self) -> None:
        """In the background: whoever embeds may hold a connection to the ledger already."""
        with self._lock:
            is_old = time.monotonic() > self._reread_at and not self._closed
            if is_old:
                self._reread_at = float("inf")
                self._threads.submit(self._reread_quietly)

    def _reread_quietly(self) -> None:
        try:
            self._reread()
        except EmbedhouseError as error:
            _log.warning("frozen spaces could not be read; they are read again", reason=str(error))
            self._reread_at = time.monotonic() + _REREAD_EVERY_S

    def known(self) -> list[KnownSpace]:
        """Every space that has a canary."""
        with self._database.read() as ledger:
            return spaces.known_spaces(ledger)

    def watched(self) -> dict[str, GuardedEmbedder]:
        """Fingerprint -> the open embedder."""
        with self._lock:
            return dict(self._watched)

    def watch(self, guarded: GuardedEmbedder) -> None:
        """Remember an embedder that was opened and stays so."""
        with self._lock:
            self._watched[guarded.fingerprint] = guarded

    def check_if_due(self, guarded: GuardedEmbedder, lane: Lane) -> None:
        """Take the space's canary in the background, if the last one is too old or there is none."""
        # What has a hash was hashed when it was opened: only what runs it could have changed, and that can wait for
        # bulk work, which has the model at hand.
        if not self.period_s or (lane == "interactive" and guarded.space.weights_sha256):
            return
        now = self._now()
        with self._lock:
            if now < self._due_at.get(guarded.fingerprint, 0.0) or self._closed:
                return
            self._due_at[guarded.fingerprint] = now + _TRY_AGAIN_S
            self._grace_s = _GRACE_S[lane]
            self._last = self._threads.submit(self.check_quietly, guarded)

    def check_quietly(self, guarded: GuardedEmbedder) -> None:
        """Take the canary; one that cannot be taken is logged, and freezes nothing."""
        try:
            self.check(guarded, self._stopping)
        except EmbedhouseError as error:
            COUNTERS.add("canaries_not_taken")
            _log.info("canary not taken", model=guarded.choice.model, reason=str(error))
        except Exception:
            COUNTERS.add("canaries_not_taken")
            _log.exception("canary failed", model=guarded.choice.model)

    def check(self, guarded: GuardedEmbedder, deadline: Deadline) -> KnownSpace:
        """Take the canary now, record it if it is the first, and freeze the space if its model has changed.

        Errors: those of `embed`; nothing is frozen then.
        """
        with self._checking:
            known, apart = self._compared(guarded, deadline)
            if known is None or (apart is None and known.state == "ok"):
                return self._record(guarded, deadline, known)
            if known.state == "frozen" or apart is None or apart <= known.tolerance:
                return self._mark(known, known.state, known.reason)
            reason = _reason(apart, known.tolerance)
            COUNTERS.add("spaces_frozen")
            _log.warning(
                "the model is not what it was", model=known.choice.model, space=known.fingerprint, reason=reason
            )
            return self._mark(known, "frozen", reason)

    def unfreeze(self, guarded: GuardedEmbedder, deadline: Deadline, *, accept: bool = False) -> KnownSpace:
        """Take the canary again, and let the space be written if it is what it was; or, to `accept`, whatever it
        is: then it is recorded anew. Errors: SpaceFrozen where it is not, and those of `embed`."""
        with self._checking:
            known, apart = self._compared(guarded, deadline)
            if known is not None and apart is not None and apart <= known.tolerance:
                return self._mark(known, "ok", "")
            if known is None or accept:
                return self._record(guarded, deadline, known)
            raise _frozen_error(guarded, known.reason if apart is None else _reason(apart, known.tolerance))

    def guard(self, guarded: GuardedEmbedder) -> None:
        """Errors: SpaceFrozen."""
        self._reread_if_old()
        reason = self._frozen.get(guarded.fingerprint)
        if reason is not None:
            raise _frozen_error(guarded, reason)

    def close(self) -> None:
        """Let a canary that is under way come to its end, for a moment; then stop."""
        with self._lock:
            self._closed = True
        if self._last is not None:
            wait([self._last], timeout=self._grace_s)
        self._stopping.cancel()
        self._threads.shutdown(cancel_futures=True)

    def _compared(self, guarded: GuardedEmbedder, deadline: Deadline) -> tuple[KnownSpace | None, float | None]:
        """What is known of the space, None at first use; and how far its model is from that now, None where there
        is nothing to compare: another version's texts were recorded."""
        with self._database.read() as ledger:
            known = spaces.known_space(ledger, guarded.fingerprint)
            recorded = spaces.canary_vectors(ledger, guarded.fingerprint)
        if known is None:
            return None, None
        found = take_canary(guarded.unguarded, deadline)
        if not recorded.keys() & found.keys():
            return known, None
        return known, distance(recorded, found)

    def _record(self, guarded: GuardedEmbedder, deadline: Deadline, before: KnownSpace | None) -> KnownSpace:
        """Unless another process has done so since `before` was read."""
        canary = learn_canary(guarded.unguarded, deadline)
        with self._database.write() as ledger:
            alone(ledger, "canaries")
            known = spaces.known_space(ledger, guarded.fingerprint)
            if known is None or (before is not None and known.recorded_at == before.recorded_at):
                known = spaces.record_canary(ledger, guarded.space, guarded.choice, canary, self._now())
        self._settle(known)
        return known

    def _mark(self, known: KnownSpace, state: SpaceState, reason: str) -> KnownSpace:
        with self._database.write() as ledger:
            marked = spaces.mark(ledger, known, state, reason, self._now())
        self._settle(marked)
        return marked

    def _settle(self, known: KnownSpace) -> None:
        with self._lock:
            self._due_at[known.fingerprint] = known.checked_at + self.period_s
            if known.state == "ok":
                self._frozen.pop(known.fingerprint, None)
            else:
                self._frozen[known.fingerprint] = known.reason


class GuardedEmbedder:
    """Implements ports.Embedder over a model whose space may be frozen. It stands under the vector cache: what is
    cached goes on, and what would have to be computed is refused.

    choice: the model as a user names it; None: by the space's own name.
    """

    def __init__(self, embedder: Embedder, states: SpaceStates, choice: ModelChoice | None = None) -> None:
        space = embedder.space
        self.unguarded = embedder
        self.fingerprint = space.fingerprint
        self.choice = msgspec.structs.replace(
            choice or ModelChoice(model=space.model), dimensions=space.dimensions, prompts=space.prompts
        )
        self._states = states

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self.unguarded.space

    @property
    def tokenizer(self) -> Tokenizer:
        """See ports.Embedder."""
        return self.unguarded.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See ports.Embedder. Errors: SpaceFrozen too."""
        self._states.guard(self)
        self._states.check_if_due(self, lane)
        return self.unguarded.embed(texts, role=role, lane=lane, deadline=deadline)

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """See ports.Embedder. Errors: SpaceFrozen too."""
        self._states.guard(self)
        return self.unguarded.embed_tokens(texts, role=role, deadline=deadline)

    def close(self) -> None:
        """See ports.Embedder."""
        self.unguarded.close()


def _frozen_error(guarded: GuardedEmbedder, reason: str) -> SpaceFrozen:
    return SpaceFrozen(model=guarded.choice.model, space=guarded.fingerprint[:12], reason=reason)


def _reason(apart: float, tolerance: float) -> str:
    return f"fixed texts lie {apart:.2g} (1 - cosine) from where they lay then, and {tolerance:.2g} is allowed"
