"""The classes of a Weaviate server that are indexes: how they are made, known again and dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import msgspec
from weaviate import WeaviateClient
from weaviate.classes.config import (
    Configure,
    DataType,
    Property,
    StopwordsPreset,
    Tokenization,
    VectorDistances,
)
from weaviate.exceptions import UnexpectedStatusCodeError

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, IndexDamaged, StoreRefused
from embedhouse.indexes.weaviate.filters import TERMS, Filterable, field_of, is_end
from embedhouse.indexes.weaviate.link import WeaviateLink, WeaviateOptions
from embedhouse.ports import IndexSpec

__all__ = ["DENSE", "DOCUMENT", "TEXT", "EndProperties", "FoundClass", "drop_class", "find_class", "open_class"]

DENSE = "dense"
"""The name of the vector."""
DOCUMENT = "document"
"""The property with the document's id."""
TEXT = "text"
"""The property with the analyzer's terms, between spaces."""

# docs/decisions/graph-width.md: half these widths find only 96 % of the true ten nearest among alike texts.
_LINKS = 16
_BUILD_WIDTH = 200
_SEARCH_WIDTH = 256
_MOST_FIELDS = 500
_RQ_SINCE = (1, 32)


class FoundClass(msgspec.Struct, frozen=True):
    """What a class of the server says of itself."""

    description: str
    properties: frozenset[str]

    def is_of(self, owner: str, name: str) -> bool:
        """Whether it is that house's index of that name."""
        return self.description.startswith(_mark(owner, name))


def _mark(owner: str, name: str) -> str:
    return f"Index {name} of Embedhouse {owner}."


def _description(owner: str, spec: IndexSpec) -> str:
    """The mark, and what the index is: to be known again."""
    said = msgspec.json.encode({"dimensions": spec.dimensions, "sides": spec.sides, "lexical": spec.lexical})
    return f"{_mark(owner, spec.name)} Do not change. {said.decode()}"


def find_class(link: WeaviateLink, class_name: str, deadline: Deadline | None = None) -> FoundClass | None:
    """The class of that name, whosever it is."""

    def look(client: WeaviateClient) -> FoundClass | None:
        try:
            config = client.collections.use(class_name).config.get(simple=True)
        except UnexpectedStatusCodeError as error:
            if error.status_code == 404:
                return None
            raise
        except (KeyError, ValueError):  # somebody's class, with parts that this client does not know
            return FoundClass("", frozenset())
        return FoundClass(config.description or "", frozenset(each.name for each in config.properties))

    return link.call(look, "looking for a class", deadline or Deadline.never())


def open_class(link: WeaviateLink, class_name: str, owner: str, spec: IndexSpec) -> None:
    """Make the class unless it is there. Errors: StoreRefused where it is not ours, IndexDamaged where it is not
    what `spec` says."""
    found = find_class(link, class_name)
    if found is None:
        try:
            link.call(partial(_make, link, class_name, owner, spec), "making a class", _NEVER)
        except EmbedhouseError:
            # Another process may have made it meanwhile, or the answer to our own request got lost.
            found = find_class(link, class_name)
            if found is None:
                raise
    if found is not None:
        _check_mark(link, class_name, found, owner, spec.name)
        if found.description != _description(owner, spec):
            reason = f"class {class_name} was made for another model or other lexical settings"
            raise IndexDamaged(path=f"{link.name}, class {class_name}", reason=reason)


def drop_class(link: WeaviateLink, class_name: str, owner: str, name: str) -> None:
    """Delete the class, if it is there. Errors: StoreRefused where it is not ours."""
    found = find_class(link, class_name)
    if found is not None:
        _check_mark(link, class_name, found, owner, name)
        link.call(lambda client: client.collections.delete(class_name), "deleting a class", _NEVER)


_NEVER = Deadline.never()


def _check_mark(link: WeaviateLink, class_name: str, found: FoundClass, owner: str, name: str) -> None:
    if not found.is_of(owner, name):
        raise StoreRefused(
            store=link.name,
            reason=f"a class {class_name} is there already, and its description does not say that it is an index "
            "of this house",
            remedy="It was not touched. Rename or delete it, or use another server.",
        )


def _make(link: WeaviateLink, class_name: str, owner: str, spec: IndexSpec, client: WeaviateClient) -> None:
    options = link.options
    version = str(client.get_meta()["version"])
    if options.quantisation == "rq" and tuple(map(int, version.split(".")[:2])) < _RQ_SINCE:
        raise StoreRefused(
            store=link.name,
            reason=f"it is Weaviate {version}, and rotational quantisation begins with 1.32",
            remedy="Upgrade the server, or set the option quantisation to sq, bq, pq or none.",
        )
    client.collections.create(
        class_name,
        description=_description(owner, spec),
        properties=list(_properties(spec)),
        vector_config=_no_vectors() if spec.sides == "lexical" else _vector_config(options),
        inverted_index_config=Configure.inverted_index(
            bm25_k1=spec.lexical.k1, bm25_b=spec.lexical.b, stopwords_preset=StopwordsPreset.NONE
        ),
        multi_tenancy_config=Configure.multi_tenancy(auto_tenant_creation=True, auto_tenant_activation=True),
        replication_config=Configure.replication(factor=options.replicas),
    )


def _properties(spec: IndexSpec) -> Iterator[Property]:
    yield Property(name=DOCUMENT, data_type=DataType.TEXT, index_filterable=False, index_searchable=False)
    yield Property(
        name=TERMS,
        data_type=DataType.TEXT_ARRAY,
        tokenization=Tokenization.FIELD,
        index_filterable=True,
        index_searchable=False,
    )
    if spec.sides != "dense":
        yield Property(
            name=TEXT,
            data_type=DataType.TEXT,
            tokenization=Tokenization.WHITESPACE,
            index_filterable=False,
            index_searchable=True,
        )


def _vector_config(options: WeaviateOptions):  # type: ignore[no-untyped-def]  # the client does not export its type
    # `none` is said as well: a server may have a quantiser of its own choice.
    quantiser = getattr(Configure.VectorIndex.Quantizer, options.quantisation)()
    return Configure.Vectors.self_provided(
        name=DENSE,
        quantizer=quantiser,
        vector_index_config=Configure.VectorIndex.hnsw(
            distance_metric=VectorDistances.COSINE,
            max_connections=_LINKS,
            ef_construction=_BUILD_WIDTH,
            ef=_SEARCH_WIDTH,
        ),
    )


def _no_vectors() -> Any:
    """No graph is kept for an index that is asked for words alone."""
    return Configure.Vectors.self_provided(name=DENSE, vector_index_config=Configure.VectorIndex.none())


class EndProperties:
    """The properties of one class that hold the least and greatest values of metadata, two for each path with such
    values, made when the first comes. Paths beyond the 500th have none. Thread-safe."""

    def __init__(self, link: WeaviateLink, class_name: str) -> None:
        self._link = link
        self._class_name = class_name
        self._known: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def has(self, name: str, deadline: Deadline) -> bool:
        """Whether any entry has it; other processes make them too. Errors: StoreRefused where that cannot be known,
        because no more paths get any."""
        if name not in self._known and name not in self._look(deadline) and self._room() == 0:
            raise StoreRefused(
                store=self._link.name,
                reason=f"it keeps the order of the values at {_MOST_FIELDS} metadata paths of a collection, and "
                "the one that the filter compares is not among them",
                remedy="Keep out of the metadata what is never compared, and move the collection to a new index.",
            )
        return name in self._known

    def all(self, deadline: Deadline) -> frozenset[str]:
        """Those that the class has."""
        return self._look(deadline)

    def ensure(self, entries: Iterable[Filterable], deadline: Deadline) -> None:
        """Make those of these entries that are not there, as far as there is room."""
        ends = {name: end for each in entries for name, end in each.ends.items()}
        if ends.keys() <= self._known or self._room() == 0:
            return
        with self._lock:
            known = self._look(deadline)
            missing = {name: end for name, end in ends.items() if name not in known}
            fields = list(dict.fromkeys(map(field_of, missing)))[: self._room()]
            made = [name for name in missing if field_of(name) in fields]
            self._link.each(lambda name: self._add(name, isinstance(missing[name], str), deadline), made)
            self._look(deadline)

    def kept(self, ends: dict[str, float | str]) -> dict[str, float | str]:
        """Those of an entry that the class has."""
        return {name: end for name, end in ends.items() if name in self._known}

    def _room(self) -> int:
        return max(0, _MOST_FIELDS - len(set(map(field_of, self._known))))

    def _look(self, deadline: Deadline) -> frozenset[str]:
        found = find_class(self._link, self._class_name, deadline)
        if found is None:
            path = f"{self._link.name}, class {self._class_name}"
            raise IndexDamaged(path=path, reason="the class is gone")
        self._known = frozenset(filter(is_end, found.properties))
        return self._known

    def _add(self, name: str, is_text: bool, deadline: Deadline) -> None:
        made = _text_end(name) if is_text else _number_end(name)

        def add(client: WeaviateClient) -> None:
            client.collections.use(self._class_name).config.add_property(made)

        try:
            self._link.call(add, "adding a property", deadline)
        except StoreRefused:
            if name not in self._look(deadline):  # else another process was faster
                raise


def _text_end(name: str) -> Property:
    return Property(
        name=name,
        data_type=DataType.TEXT,
        tokenization=Tokenization.FIELD,
        index_filterable=True,
        index_searchable=False,
    )


def _number_end(name: str) -> Property:
    return Property(
        name=name,
        data_type=DataType.NUMBER,
        index_filterable=False,
        index_searchable=False,
        index_range_filters=True,
    )
