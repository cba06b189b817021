"""Documents and chunks."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from embedhouse.domain.errors import InvalidText, TooLarge
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Place

__all__ = [
    "Chunk",
    "ChunkDraft",
    "Document",
    "Metadata",
    "StoredChunk",
    "check_length",
    "check_text",
    "content_hash",
    "embedded_text",
]

Metadata = dict[str, Any]
"""Free-form JSON: strings, numbers, booleans, lists of these, dates as ISO 8601 strings, nested objects."""

_SEPARATOR = "\x1f"


def check_text(text: str, where: str) -> None:
    """Raise `InvalidText` for what no model can embed; `where` names the text in the message."""
    if not text.strip():
        raise InvalidText(where=where, reason="it is empty")
    if "\x00" in text:
        raise InvalidText(where=where, reason=f"NUL byte at character {text.index(chr(0))}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidText(where=where, reason=f"lone surrogate at character {error.start}") from None


def check_length(text: str, limit_bytes: int, what: str) -> None:
    """Raise `TooLarge` for a text of more bytes in UTF-8 than the limit."""
    if 4 * len(text) <= limit_bytes:
        return
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limit_bytes:
        raise TooLarge(
            what=what,
            size=f"{size:,} bytes",
            limit=f"{limit_bytes:,} bytes",
            remedy="Split it into several, or raise max_text_bytes.",
        )


def content_hash(title: str, text: str) -> bytes:
    """SHA-256 of what decides a document's chunks: its title and text."""
    return hashlib.sha256(f"{title}{_SEPARATOR}{text}".encode()).digest()


def embedded_text(context: str, text: str) -> str:
    """What is embedded of a chunk, and what lexical search reads: its context on a line of its own, then its
    text."""
    return f"{context}\n{text}" if context else text


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What a user puts in. `source` says where it came from: a path, a URL, a table. `namespace` is empty where
    none is named: then it is that of the caller, or `default`."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = {}
    source: str = ""
    namespace: str = ""

    @property
    def place(self) -> Place:
        """Its namespace and id."""
        return self.namespace or DEFAULT_NAMESPACE, self.id

    @property
    def content_hash(self) -> bytes:
        """SHA-256 of title and text: 32 bytes."""
        return content_hash(self.title, self.text)


class ChunkDraft(msgspec.Struct, frozen=True):
    """A span of a document as a chunker makes it: `document.text[start:end] == text`, character offsets.

    `headings` is the path of headings above it, outermost first (Markdown and HTML).
    """

    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """The indexed unit. `key` is versioned: the ledger gives a new, larger one whenever the content changes, so
    a slow worker can never overwrite a newer version."""

    key: int
    document_id: str
    ordinal: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    context: str = ""
    hash: bytes = b""

    @property
    def id(self) -> str:
        """The document's id, `#`, and the chunk's place in the document, from 0."""
        return f"{self.document_id}#{self.ordinal}"

    @property
    def embedded_text(self) -> str:
        """See the function of that name."""
        return embedded_text(self.context, self.text)


class StoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A current chunk as the ledger holds it, with what a hit shows of its document."""

    chunk: Chunk
    title: str
    source: str
    metadata: Metadata
    namespace: str = DEFAULT_NAMESPACE

    @property
    def place(self) -> Place:
        """The document's namespace and id."""
        return self.namespace, self.chunk.document_id
