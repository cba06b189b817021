"""What comparing source, ledger, vector cache and index found."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["DeadLetterInfo", "Finding", "FindingKind", "SourceDifference", "VerifyReport"]

FindingKind = Literal["missing", "stale", "orphaned", "wrong_space", "duplicated", "damaged"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be. `document_id` is empty where nobody knows any more whose it was.

    missing: a chunk that the index lacks. stale: a document whose chunks are not those of its text, or chunks that
    wait to be indexed. orphaned: in the index, and of no current chunk. wrong_space: a vector of another length, or
    a model that is not the generation's. duplicated: two chunks in one place. damaged: a vector that is not that of
    its text.
    """

    kind: FindingKind
    generation: int
    document_id: str = ""
    chunk_key: int = 0
    detail: str = ""


class SourceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A source beside the ledger. `missing`, `stale`, `orphaned`: ids of documents that the ledger lacks, has in
    another form, and has although the source has them no more. `error`: why it could not be read to its end."""

    source: str
    missing: list[str] = []
    stale: list[str] = []
    orphaned: list[str] = []
    failures: int = 0
    error: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether the ledger holds exactly what the source does."""
        return not (self.missing or self.stale or self.orphaned or self.error)


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """`unchecked_chunks`: their vectors are not in the cache, so only their presence was checked. `counts`:
    findings by kind; `findings`: the first thousand of each kind. `repaired`: how many were mended."""

    collection: str
    clean: bool
    documents: int
    chunks: int
    unchecked_chunks: int
    dead_letters: int
    counts: dict[FindingKind, int]
    findings: list[Finding]
    sources: list[SourceDifference] = []
    repaired: int = 0
    seconds: float = 0.0


class DeadLetterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What failed for good, and why. `id` names it for a retry or a drop: `chunk:KEY` or `SOURCE:NUMBER`."""

    id: str
    document_id: str
    where: str
    code: str
    message: str
