"""Qdrant's collections as indexes: how one is made, marked as the house's, found by its alias, and deleted.

The alias is what an index is known by, and comes last: an index whose making was interrupted has none, and is made
again. Who runs the cluster may put another collection behind it, say one with more shards.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from qdrant_client import models

from embedhouse.domain.errors import StoreError
from embedhouse.indexes.qdrant.connection import QdrantConnection, is_missing
from embedhouse.indexes.qdrant.filters import NAMESPACE, TERMS
from embedhouse.indexes.qdrant.points import DENSE, GRAPH_DEGREE, GRAPH_WIDTH, QUANTILE, TEXT
from embedhouse.ports import IndexSpec

__all__ = ["Described", "Mark", "QdrantCollections", "QdrantOptions"]

_MARK = "embedhouse"
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class QdrantOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a store of kind `qdrant`; what is not given is as the cluster has it. They count when an index
    is made. on_disk: vectors are read from disk (their int8 copies stay in memory). timeout_s: of one request."""

    shard_number: _AtLeastOne | None = None
    replication_factor: _AtLeastOne | None = None
    write_consistency_factor: _AtLeastOne | None = None
    on_disk: bool = False
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection of ours says about itself, in its metadata."""

    house: str
    index: str
    dimensions: int
    sides: str


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A collection that is there. `mark` is None where it is not a house's; `fields` are its indexed payload
    fields."""

    mark: Mark | None
    fields: set[str]


class QdrantCollections:
    """The collections of one cluster."""

    def __init__(self, connection: QdrantConnection, options: QdrantOptions) -> None:
        self._connection = connection
        self._options = options

    def describe(self, name: str) -> Described | None:
        """The collection of that name or alias; None where there is none."""
        try:
            found = self._connection.ask(lambda client: client.get_collection(name), "looking for an index")
        except StoreError as error:
            if is_missing(error):
                return None
            raise
        return Described(mark=_mark_of(found.config.metadata), fields=set(found.payload_schema))

    def behind(self, alias: str) -> str | None:
        """The collection that an alias stands for."""
        found = self._connection.ask(lambda client: client.get_aliases(), "looking for an index")
        return next((each.collection_name for each in found.aliases if each.alias_name == alias), None)

    def create(self, name: str, spec: IndexSpec, mark: Mark) -> None:
        """An empty collection. Errors: StoreRefused where the name is taken."""
        options = self._options
        self._connection.ask(
            lambda client: client.create_collection(
                name,
                vectors_config=_vectors(spec, options),
                shard_number=options.shard_number,
                replication_factor=options.replication_factor,
                write_consistency_factor=options.write_consistency_factor,
                metadata={_MARK: msgspec.to_builtins(mark)},
            ),
            "making an index",
        )

    def index_fields(self, name: str, spec: IndexSpec) -> set[str]:
        """Index the payload fields that searches need; those that are indexed stay as they are."""
        needed: dict[str, models.KeywordIndexParams | models.TextIndexParams] = {
            NAMESPACE: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
            TERMS: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False),
        }
        if spec.sides != "dense":
            needed[TEXT] = models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.WHITESPACE,
                lowercase=False,
                scoring=True,
                enable_hnsw=False,
            )
        for field, params in needed.items():
            self._connection.ask(
                lambda client, field=field, params=params: client.create_payload_index(  # type: ignore[misc]
                    name, field, params, wait=True
                ),
                "making an index",
            )
        return set(needed)

    def name_it(self, alias: str, name: str) -> None:
        """Put the collection behind the alias."""
        create = models.CreateAlias(collection_name=name, alias_name=alias)
        self._connection.ask(
            lambda client: client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)]),
            "making an index",
        )

    def delete(self, name: str, alias: str | None) -> None:
        """Delete the alias, and the collection with all that is in it."""
        if alias is not None:
            gone = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            self._connection.ask(lambda client: client.update_collection_aliases([gone]), "dropping an index")
        self._connection.ask(lambda client: client.delete_collection(name), "dropping an index")


def _vectors(spec: IndexSpec, options: QdrantOptions) -> dict[str, models.VectorParams]:
    if spec.sides == "lexical":
        return {}
    copies = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=QUANTILE, always_ram=True)
    return {
        DENSE: models.VectorParams(
            size=spec.dimensions,
            distance=models.Distance.COSINE,
            datatype=models.Datatype.FLOAT16,
            on_disk=options.on_disk or None,
            hnsw_config=models.HnswConfigDiff(m=GRAPH_DEGREE, ef_construct=GRAPH_WIDTH),
            quantization_config=models.ScalarQuantization(scalar=copies),
        )
    }


def _mark_of(metadata: dict[str, Any] | None) -> Mark | None:
    try:
        return msgspec.convert((metadata or {}).get(_MARK), Mark)
    except msgspec.ValidationError:
        return None
