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
    "build",
    "change",
    "chunk",
    "collection",
    "dead_letter",
    "document",
    "generation",
    "house",
    "metadata",
    "shadow_query",
    "source_binding",
    "source_dead_letter",
    "source_version",
    "term_entry",
    "term_frequency",
    "term_index",
    "usage",
]

# SQLite counts only `INTEGER PRIMARY KEY` as a rowid; elsewhere keys are 64 bits wide.
_Key = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

house = Table(
    "house",
    metadata,
    # Twelve hexadecimal digits: which of the objects on a server are this house's.
    Column("id", Text, primary_key=True),
    Column("created_at", Float, nullable=False),
)

collection = Table(
    "collection",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    # Goes up with each change of its generations.
    Column("revision", _Key, nullable=False, server_default="0"),
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
    # In the embedded store a folder relative to the house's, so that the house can be moved.
    Column("index_name", Text, nullable=False),
    # Changes after this one are kept while an index is built beside; NULL: none is.
    Column("keep_changes_after", _Key),
    # Sum of the vectors applied, float64 bytes: its mean is the background of DESIGN's fusion.
    Column("vector_sum", LargeBinary),
    Column("vector_count", _Key, nullable=False, server_default="0"),
    # As the user asked for the model; `space` is what came of it.
    Column("model", Text, nullable=False, server_default=""),
    Column("precision", Text, nullable=False, server_default=""),
    Column("store", Text, nullable=False, server_default="embedded"),
    Column("lexical_store", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False, server_default="0"),
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
    Column("namespace", Text, nullable=False, server_default="default"),
    Index("document_by_id", "collection_id", "namespace", "id", unique=True),
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
    Column("namespace", Text, nullable=False, server_default="default"),
    # Which process works on it, in a ledger of several, and until when that counts.
    Column("lease_owner", Text),
    Column("leased_until", Float),
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
    # Nobody wants to hear of it any more.
    Column("dropped", Integer, nullable=False, server_default="0"),
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
    # As a JSON list; empty: all.
    Column("namespaces", Text, nullable=False, server_default=""),
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

source_binding = Table(
    "source_binding",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("collection_id", _Key, ForeignKey("collection.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    # folder | sql | kafka
    Column("kind", Text, nullable=False),
    # JSON without secrets: addresses by the names of environment variables.
    Column("settings", Text, nullable=False),
    # Where the next run begins to read: JSON of the kind's own; empty: at the beginning.
    Column("mark", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_run_at", Float),
    # ok | partial | failed; empty: it never ran
    Column("last_outcome", Text, nullable=False),
    Column("last_message", Text, nullable=False),
    Index("source_binding_by_name", "collection_id", "name", unique=True),
)

source_version = Table(
    "source_version",
    metadata,
    Column("source_id", _Key, ForeignKey("source_binding.id", ondelete="CASCADE"), primary_key=True),
    # Kept when the document is deleted: a late event must not bring it back.
    Column("document_id", Text, primary_key=True),
    # What the event itself says; NULL where it says nothing, and its place in the topic decides.
    Column("version", _Key),
    Column("partition", _Key, nullable=False),
    Column("offset", _Key, nullable=False),
    Column("sent_at_ms", _Key, nullable=False),
)

source_dead_letter = Table(
    "source_dead_letter",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("source_id", _Key, ForeignKey("source_binding.id", ondelete="CASCADE"), nullable=False),
    # Empty, -1 and -1 for what did not come from a topic.
    Column("topic", Text, nullable=False),
    Column("partition", _Key, nullable=False),
    Column("offset", _Key, nullable=False),
    # Empty where it is not known.
    Column("document_id", Text, nullable=False),
    # As the message names it: a file, a row, an event.
    Column("place", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("source_dead_letter_by_place", "source_id", "topic", "partition", "offset", "place", unique=True),
)

term_index = Table(
    "term_index",
    metadata,
    Column("id", _Key, primary_key=True),
    # That of an IndexSpec, of a store that has no BM25 of its own.
    Column("name", Text, nullable=False, unique=True),
    Column("entries", _Key, nullable=False),
    # Terms of all entries together.
    Column("length", _Key, nullable=False),
)

term_frequency = Table(
    "term_frequency",
    metadata,
    Column("index_id", _Key, ForeignKey("term_index.id", ondelete="CASCADE"), primary_key=True),
    Column("term", _Key, primary_key=True),
    # In how many it stands.
    Column("entries", _Key, nullable=False),
)

term_entry = Table(
    "term_entry",
    metadata,
    Column("index_id", _Key, ForeignKey("term_index.id", ondelete="CASCADE"), primary_key=True),
    Column("entry_key", _Key, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("length", _Key, nullable=False),
    # What is taken away again when the entry goes: distinct term ids, uint32, little-endian.
    Column("terms", LargeBinary, nullable=False),
)

build = Table(
    "build",
    metadata,
    Column("generation_id", _Key, ForeignKey("generation.id", ondelete="CASCADE"), primary_key=True),
    # building | paused | complete
    Column("stage", Text, nullable=False),
    # Whether the chunks of the live generation are taken over, because they are cut and embedded alike.
    Column("copies_chunks", Integer, nullable=False),
    # The document, by its pk, up to which everything is cut.
    Column("built_upto", _Key, nullable=False),
    Column("documents", _Key, nullable=False),
    Column("total", _Key, nullable=False),
    Column("chunks", _Key, nullable=False),
    Column("tokens", _Key, nullable=False),
    # Shares: of the time that the model may work for it, of searches that run on both, of callers it answers.
    Column("busy_share", Float, nullable=False),
    Column("shadow_share", Float, nullable=False),
    Column("traffic_share", Float, nullable=False),
    Column("started_at", Float, nullable=False),
    # Seconds that were worked on it, pauses and stops left out.
    Column("busy_s", Float, nullable=False),
    Column("finished_at", Float),
    Column("error", Text, nullable=False),
)

shadow_query = Table(
    "shadow_query",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("generation_id", _Key, ForeignKey("generation.id", ondelete="CASCADE"), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("query", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("overlap", Float, nullable=False),
    Column("rank_correlation", Float),
    Column("live_ms", Float, nullable=False),
    Column("shadow_ms", Float, nullable=False),
    # JSON lists of document ids, best first.
    Column("live_ids", Text, nullable=False),
    Column("shadow_ids", Text, nullable=False),
    Index("shadow_query_by_generation", "generation_id", "overlap"),
)
