"""What an export did."""

from __future__ import annotations

import msgspec

__all__ = ["ExportReport"]


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was written to `to`, in the space of that fingerprint. `without_vector` counts chunks that were not
    embedded yet; `rows` are those of each file."""

    collection: str
    to: str
    space: str
    documents: int
    chunks: int
    without_vector: int
    rows: dict[str, int]
    size_bytes: int
    seconds: float
