"""What a collection is bound to, and what keeping it in step did."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from embedhouse.domain.reports import Failure

__all__ = ["SourceInfo", "SourceKind", "SourceOutcome", "SourceSync", "SyncReport"]

SourceKind = Literal["folder", "sql", "kafka"]
SourceOutcome = Literal["ok", "partial", "failed"]


class SourceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A source that a collection is bound to. `settings` hold no secret.

    `mark`: how far increments were read; None: nothing was, or it is always read whole. `last_outcome` is None
    until it ran; `dead_letters` counts what it holds that could not go in.
    """

    name: str
    kind: SourceKind
    settings: dict[str, Any]
    mark: str | None = None
    created_at: str
    last_run_at: str | None = None
    last_outcome: SourceOutcome | None = None
    last_message: str = ""
    dead_letters: int = 0


class SourceSync(msgspec.Struct, frozen=True, kw_only=True):
    """What one source brought. Counts are documents.

    `read`: rows, files or events. `renamed` are counted among `added` and `deleted` too. `ignored`: events that
    were late or came again. outcome "partial": some could not go in, see `failures`; "failed": `error` says why,
    and nothing of this source was deleted.
    """

    source: str
    kind: SourceKind
    outcome: SourceOutcome
    read: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    renamed: int = 0
    ignored: int = 0
    failures: list[Failure] = []
    error: Failure | None = None


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run over all sources of a collection. `tokens` were embedded by the model, `cached_chunks` came from the
    vector cache, `pending_chunks` wait still."""

    collection: str
    sources: list[SourceSync]
    documents: int
    chunks: int
    tokens: int
    cached_chunks: int
    pending_chunks: int
    seconds: float

    @property
    def in_step(self) -> bool:
        """Whether the collection holds everything that its sources hold, and nothing else."""
        return not self.pending_chunks and all(each.outcome == "ok" for each in self.sources)
