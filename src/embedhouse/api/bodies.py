"""What comes in and goes out over HTTP beside the records of `domain`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.documents import Document, Metadata
from embedhouse.domain.hits import FusionSettings, Mode
from embedhouse.domain.reports import CollectionInfo, Failure, Granularity, ModelInfo, SimilarPair, SpaceInfo, Wait
from embedhouse.domain.spaces import Role

__all__ = [
    "Collections",
    "CreateCollection",
    "DeleteDocuments",
    "Deleted",
    "EmbedRequest",
    "ErrorBody",
    "ErrorDetail",
    "Health",
    "IncomingDocument",
    "Models",
    "MoreLike",
    "Pairs",
    "PatchDocument",
    "Ready",
    "Recommend",
    "SearchRequest",
    "Similarities",
    "SimilarityRequest",
    "Spaces",
    "Unfreeze",
    "UpsertDocuments",
    "VectorBody",
]

_K = Annotated[int, Meta(description="How many hits, 1 to 1000.", examples=[10])]
_MongoFilter = Annotated[
    dict[str, Any] | None,
    Meta(description="Metadata filter in the Mongo form.", examples=[{"year": {"$gte": 2020}}]),
]
_Namespaces = Annotated[
    list[str] | None,
    Meta(description="Those that are searched; without it all that the caller may see.", examples=[["acme"]]),
]
_Namespace = Annotated[
    str | None,
    Meta(description="Whose ids these are: without it the key's only namespace, or `default`.", examples=["acme"]),
]
_Id = Annotated[str, Meta(description="A document's id.", examples=["notes/rivers.md"])]


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`code` is stable; `message` says what to do; `fields` is what the error is about."""

    code: str
    message: str
    fields: dict[str, Any] = {}


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Every error outside of `/v1`."""

    error: ErrorDetail


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request's body: an unknown field is an error, so that a typing mistake is never ignored."""


class EmbedRequest(_Request, frozen=True, kw_only=True):
    """`text` for one, `texts` for many. `collection` takes model, precision and dimensions from a collection."""

    text: Annotated[str | None, Meta(examples=["The river bank is muddy."])] = None
    texts: Annotated[list[str] | None, Meta(examples=[["The river bank is muddy.", "A bank deposit."]])] = None
    role: Role = "document"
    granularity: Granularity = "text"
    model: str | None = None
    dimensions: int | None = None
    precision: str | None = None
    collection: str | None = None

    def all_texts(self) -> list[str]:
        """The texts, whichever field they came in."""
        return [*([self.text] if self.text is not None else []), *(self.texts or [])]


class SimilarityRequest(_Request, frozen=True, kw_only=True):
    """Two lists of texts; each of `a` is compared with each of `b`. `collection`: with that collection's model."""

    a: Annotated[list[str], Meta(examples=[["river bank"]])]
    b: Annotated[list[str], Meta(examples=[["muddy shore", "bank deposit"]])]
    role: Annotated[Role, Meta(description="Of both sides.")] = "document"
    model: str | None = None
    precision: str | None = None
    collection: str | None = None


class Similarities(msgspec.Struct, frozen=True, kw_only=True):
    """Cosines, one row for each text of `a`, one column for each of `b`."""

    similarities: list[list[float]]
    space: str


class SearchRequest(_Request, frozen=True, kw_only=True):
    """A search: `SearchQuery` and the collection that it is for."""

    collection: Annotated[str, Meta(examples=["notes"])]
    text: Annotated[str, Meta(examples=["how do rivers form?"])]
    k: _K = 10
    mode: Mode = "hybrid"
    fusion: FusionSettings = FusionSettings()
    filter: _MongoFilter = None
    documents: bool = False
    explain: bool = False
    namespaces: _Namespaces = None


class MoreLike(_Request, frozen=True, kw_only=True):
    """What is like a document of the collection."""

    document_id: _Id
    k: _K = 10
    filter: _MongoFilter = None
    documents: bool = True
    namespace: _Namespace = None
    namespaces: _Namespaces = None


class Recommend(_Request, frozen=True, kw_only=True):
    """What is near the liked documents and far from the disliked ones."""

    liked: list[str]
    disliked: list[str] = []
    k: _K = 10
    filter: _MongoFilter = None
    namespace: _Namespace = None
    namespaces: _Namespaces = None


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """Near-duplicates, most alike first."""

    pairs: list[SimilarPair]


class CreateCollection(_Request, frozen=True, kw_only=True):
    """A new collection. What is left out comes from the settings."""

    name: Annotated[str, Meta(examples=["notes"], description="Letters, digits, dot, dash and underscore.")]
    model: str | None = None
    precision: str | None = None
    dimensions: int | None = None
    prompts: Annotated[
        dict[Role, str] | None,
        Meta(
            description="Role -> text put in front of what is embedded, in place of the model's own prompts.",
            examples=[{"query": "query: ", "document": "passage: "}],
        ),
    ] = None
    chunking: ChunkingSettings | None = None
    lexical: LexicalSettings | None = None
    store: Annotated[str | None, Meta(description="A store of the settings, or a URL.")] = None
    lexical_store: Annotated[str | None, Meta(description="Where words are searched, if elsewhere.")] = None
    exist_ok: Annotated[bool, Meta(description="Answer with an existing collection of these options.")] = False


class Collections(msgspec.Struct, frozen=True, kw_only=True):
    """Every collection, by name."""

    collections: list[CollectionInfo]


class IncomingDocument:
    """One document of a batch: what was read, or why it could not be. The rest of the batch goes in."""

    __slots__ = ("document", "failure")

    def __init__(self, document: Document | None, failure: Failure | None) -> None:
        self.document = document
        self.failure = failure


class UpsertDocuments(_Request, frozen=True, kw_only=True):
    """A batch. `wait`: return when the documents can be found ("indexed"), or when they are safe ("accepted").
    `namespace`: of documents that name none."""

    documents: list[IncomingDocument]
    wait: Wait = "indexed"
    namespace: _Namespace = None


class PatchDocument(_Request, frozen=True, kw_only=True):
    """New metadata: merged (null deletes a key), or in place of the old with `replace`. Nothing is embedded."""

    metadata: Metadata
    replace: bool = False


class DeleteDocuments(_Request, frozen=True, kw_only=True):
    """Which documents of one namespace: by id or by filter."""

    ids: list[str] | None = None
    filter: _MongoFilter = None
    namespace: _Namespace = None


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """How many documents there were and are no more."""

    deleted: int


class VectorBody(msgspec.Struct, frozen=True, kw_only=True):
    """A document's vector, and the space that it is in."""

    vector: list[float]
    space: str


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """The models on this machine."""

    models: list[ModelInfo]


class Unfreeze(_Request, frozen=True, kw_only=True):
    """A model that was frozen, as `/status` names it. `accept`: even if its vectors are not what they were."""

    model: str
    accept: bool = False


class Spaces(msgspec.Struct, frozen=True, kw_only=True):
    """Spaces whose models are watched."""

    spaces: list[SpaceInfo]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Whether searches are answered, and what is missing for full speed, or for searching by meaning."""

    ready: bool
    reason: str = ""
