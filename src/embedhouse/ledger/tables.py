"""The ledger's tables. `migrations/` makes exactly these; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

__all__ = [
    "APPLIED",
    "PENDING",
    "REPLAY",
    "api_key",
    "change",
    "chunk",
    "collection",
    "dead_letter",
    "document",
    "generation",
    "metadata",
    "usage",
]

# SQLite counts only `INTEGER PRIMARY KEY` as a rowid; elsewhere keys are 64 bits wide.
_Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

collection = Table(
    "collection",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("precision", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

generation = Table(
    "generation",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("collection_id", _Key, ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    Column("state", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("chunking", Text, nullable=False),
    Column("lexical", Text, nullable=False),
    # Relative to the house's folder, so that the folder can be moved.
    Column("index_folder", Text, nullable=False),
    # Changes after this one are kept while an index is built beside; NULL: none is.
    Column("keep_changes_after", _Key),
    # Sum of the vectors applied, float64 bytes: its mean is the background of DESIGN's fusion.
    Column("vector_sum", LargeBinary),
    Column("vector_count", _Key, nullable=False, server_default="0"),
)

document = Table(
    "document",
    metadata,
    Column("pk", _Key, primary_key=True),
    Column("collection_id", _Key, ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    Column("id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("document_by_id", "collection_id", "id", unique=True),
)

chunk = Table(
    "chunk",
    metadata,
    # Never reused, ever larger: the versioned key.
    Column("key", _Key, primary_key=True),
    Column("generation_id", _Key, ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    Column("document_pk", _Key, ForeignKey("document.pk", ondelete="CASCADE"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start", _Key, nullable=False),
    Column("end", _Key, nullable=False),
    Column("text", Text, nullable=False),
    Column("headings", Text, nullable=False),
    # Title and headings as they were put in front of the text that is embedded.
    Column("context", Text, nullable=False),
    # SHA-256 of the bytes that are embedded, prompt and context included: the vector cache's key.
    Column("hash", LargeBinary, nullable=False),
    Index("chunk_by_document", "document_pk", "generation_id", "ordinal"),
    Index("chunk_by_generation", "generation_id", "key"),
    Index("chunk_by_hash", "hash", "generation_id"),
    sqlite_autoincrement=True,
)

PENDING, APPLIED, REPLAY = 0, 1, 2
"""States of a change: to do; written to the index but not yet flushed; flushed state lost, to be written again
(its vector is in the running sum already)."""

change = Table(
    "change",
    metadata,
    Column("seq", _Key, primary_key=True),
    Column("generation_id", _Key, ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    Column("chunk_key", _Key, nullable=False),
    # upsert | delete | metadata
    Column("action", Text, nullable=False),
    Column("state", Integer, nullable=False, server_default="0"),
    Index("change_by_state", "generation_id", "state", "seq"),
    sqlite_autoincrement=True,
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("generation_id", _Key, ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    Column("chunk_key", _Key, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("dead_letter_by_chunk", "generation_id", "chunk_key", unique=True),
)

usage = Table(
    "usage",
    metadata,
    Column("id", _Key, primary_key=True),
    # Of UTC, days since the epoch.
    Column("day", _Key, nullable=False),
    # Empty: work of that day that no request stands for.
    Column("request_id", Text, nullable=False),
    # Names, not references: what was spent stays when a key or a collection is gone.
    Column("caller", Text, nullable=False),
    Column("collection", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("lane", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("items", _Key, nullable=False),
    Column("cached_items", _Key, nullable=False),
    Column("tokens", _Key, nullable=False),
    # Those of `tokens` whose price was not known: they are not in `nano_usd`.
    Column("unpriced_tokens", _Key, nullable=False),
    Column("requests", _Key, nullable=False),
    Column("retries", _Key, nullable=False),
    Column("seconds", Float, nullable=False),
    # Billionths: a query of five tokens costs a tenth of a millionth.
    Column("nano_usd", _Key, nullable=False),
    Index(
        "usage_by_account", "day", "request_id", "caller", "collection", "provider", "model", "lane", unique=True
    ),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False),
    # The key's first characters, to tell keys apart.
    Column("hint", Text, nullable=False),
    Column("created_at", Float, nullable=False),
)

space = Table(
    "space",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("space", Text, nullable=False),
    # The model as the user asked for it.
    Column("choice", Text, nullable=False),
    # ok | frozen
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("frozen_at", Float),
    # How far (1 - cosine) a canary's vectors may lie from those recorded.
    Column("tolerance", Float, nullable=False),
    Column("recorded_at", Float, nullable=False),
    Column("checked_at", Float, nullable=False),
)

canary = Table(
    "canary",
    metadata,
    Column("fingerprint", Text, ForeignKey("space.fingerprint", ondelete="CASCADE"), primary_key=True),
    Column("role", Text, primary_key=True),
    Column("text_sha256", LargeBinary, primary_key=True),
    # float32, little-endian
    Column("vector", LargeBinary, nullable=False),
)
