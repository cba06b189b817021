"""What a backup holds, and what a restore did."""

from __future__ import annotations

import msgspec

__all__ = ["FORMAT", "BackupReport", "Manifest", "RestoreReport"]

FORMAT = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json` of an archive. `files`: name -> SHA-256, hexadecimal. `schema`: the ledger's."""

    format: int
    embedhouse: str
    schema: int
    made_at: str
    house: str
    files: dict[str, str]


class BackupReport(msgspec.Struct, frozen=True, kw_only=True):
    """`without_vector`: chunks whose vectors nobody has: they are embedded again after a restore."""

    file: str
    size_bytes: int
    collections: int
    documents: int
    chunks: int
    without_vector: int
    seconds: float


class RestoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """`pending_chunks`: those that had no vector and are embedded as soon as the house is used."""

    home: str
    collections: int
    documents: int
    chunks: int
    pending_chunks: int
    seconds: float
