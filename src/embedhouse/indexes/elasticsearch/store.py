"""Indexes on a server or cluster of Elasticsearch, or of OpenSearch.

Each index is an alias with one index behind it, so that an operator can rebuild it with other shards without the
house noticing. Its mapping says whose it is; whatever has its name without saying so is never touched.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from embedhouse.domain.errors import IndexDamaged, InvalidSetting, StoreRefused
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.elasticsearch.clients import client_of, place_of
from embedhouse.indexes.elasticsearch.forms import ElasticsearchForms, OpenSearchForms, Quantization, SearchForms
from embedhouse.indexes.elasticsearch.index import ElasticsearchIndex, OpenedIndex
from embedhouse.indexes.elasticsearch.mapping import (
    Layout,
    check_limits,
    creation,
    described_by,
    marked,
    range_fields,
)
from embedhouse.indexes.elasticsearch.server import SearchServer
from embedhouse.indexes.naming import object_name, options_of
from embedhouse.ports import IndexSpec

__all__ = ["ElasticsearchOptions", "ElasticsearchStore"]

_OLDEST = {"elasticsearch": (8, 12), "opensearch": (2, 17)}
_PRODUCTS = {"elasticsearch": "Elasticsearch", "opensearch": "OpenSearch"}
_CONNECT_WITHIN_S = 10.0
_REACH_REMEDY = "Name a server of that product in the store's url, or change its kind."


class ElasticsearchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`shards` and `replicas` of each new index; `quantization` of the vectors in its graph: none, int8, int4, bbq;
    `ca_certs`: the file of the authority that signed the server's certificate."""

    shards: int = 1
    replicas: int = 1
    quantization: Quantization = "int8"
    ca_certs: str = ""


class ElasticsearchStore:
    """Indexes of one house. Thread-safe; any number of processes."""

    def __init__(self, server: SearchServer, forms: SearchForms, layout: Layout, owner: str) -> None:
        self._server = server
        self._forms = forms
        self._layout = layout
        self._owner = owner

    @classmethod
    def connect(cls, settings: StoreSettings, *, owner: str) -> ElasticsearchStore:
        """The store of kind `elasticsearch` or `opensearch` at the settings' URL; `owner` is the house's id.

        Errors: InvalidSetting, MissingExtra, StoreUnavailable, StoreUnauthorized; StoreRefused for another product
        or too old a version.
        """
        options = _options(settings)
        place = place_of(settings, options.ca_certs or None)
        server = SearchServer(client_of(settings.kind, place), f"{settings.kind} at {place.shown}")
        layout = Layout(shards=options.shards, replicas=options.replicas, quantization=options.quantization)
        try:
            return cls(server, _forms(settings.kind, server), layout, owner)
        except BaseException:
            server.close()
            raise

    def exists(self, name: str) -> bool:
        """Whether the index of that name is there, and this house's."""
        found = self._behind(object_name(self._owner, name))
        return found is not None and self._is_ours(found[1])

    def open(self, spec: IndexSpec) -> ElasticsearchIndex:
        """The index, made if it is not there. Errors: StoreRefused, IndexDamaged."""
        alias = object_name(self._owner, spec.name)
        found = self._behind(alias) or self._made(spec, alias)
        name, described = found
        self._check_ours(alias, name, described)
        mark = marked(described)
        wanted = described_by(spec, self._owner)
        differs = [key for key, value in wanted.items() if mark.get(key) != value]
        if differs:
            reason = ", ".join(f"its {key} is {mark.get(key)!r}, not {wanted[key]!r}" for key in differs)
            raise IndexDamaged(path=name, reason=reason)
        opened = OpenedIndex(
            spec=spec, alias=alias, quantization=mark["quantization"], range_fields=range_fields(described)
        )
        return ElasticsearchIndex(opened, self._server, self._forms)

    def _made(self, spec: IndexSpec, alias: str) -> tuple[str, dict[str, Any]]:
        check_limits(spec, self._server.name, self._layout, self._forms)
        name = f"{alias}_1"
        body = creation(spec, alias, self._owner, self._layout, self._forms)
        try:
            self._server.ask("PUT", f"/{name}", body)
        except StoreRefused as refused:
            if "already_exists" not in str(refused):
                raise
        found = self._behind(alias)  # another process may have been first
        if found is None:
            raise self._foreign(name)
        return found

    def drop(self, name: str) -> None:
        """Delete the index of that name, if it is there. Errors: StoreRefused where it is not the house's."""
        alias = object_name(self._owner, name)
        found = self._behind(alias)
        if found is not None:
            self._check_ours(alias, *found)
            self._server.ask("DELETE", f"/{found[0]}", ignore_unavailable="true")

    def close(self) -> None:
        """Release the connections."""
        self._server.close()

    def _behind(self, alias: str) -> tuple[str, dict[str, Any]] | None:
        """The name and description of what has that name. Errors: StoreRefused where several have."""
        found = self._server.find(f"/{alias}")
        if not found:
            return None
        if len(found) > 1:
            raise StoreRefused(
                store=self._server.name,
                reason=f"the alias {alias} leads to {len(found)} indices: {', '.join(sorted(found))}",
                remedy="Let it lead to the one that the house is to use.",
            )
        ((name, described),) = found.items()
        return name, described

    def _is_ours(self, described: dict[str, Any]) -> bool:
        return marked(described).get("owner") == self._owner

    def _check_ours(self, alias: str, name: str, described: dict[str, Any]) -> None:
        if not self._is_ours(described) or alias not in (described.get("aliases") or {}):
            raise self._foreign(name)

    def _foreign(self, name: str) -> StoreRefused:
        return StoreRefused(
            store=self._server.name,
            reason=f"the index {name} is not this house's; it is left as it is",
            remedy="Rename or delete it, if nobody needs it.",
        )


def _options(settings: StoreSettings) -> ElasticsearchOptions:
    options = options_of(settings, ElasticsearchOptions)
    if options.shards < 1 or options.replicas < 0:
        raise InvalidSetting(
            name="stores",
            origin=f"the options of {settings.kind}",
            reason=f"shards is {options.shards} and replicas {options.replicas}; use at least 1 and 0",
        )
    return options


def _forms(kind: str, server: SearchServer) -> SearchForms:
    """Those of the product that answers, once it is the right one and new enough."""
    found = server.about(_CONNECT_WITHIN_S).get("version") or {}
    product = "opensearch" if found.get("distribution") == "opensearch" else "elasticsearch"
    numbers = re.match(r"(\d+)\.(\d+)", str(found.get("number", "")))
    if product != kind or numbers is None:
        reason = f"it is not {_PRODUCTS[kind]}"
        raise StoreRefused(store=server.name, reason=reason, remedy=_REACH_REMEDY)
    version = int(numbers[1]), int(numbers[2])
    if version < _OLDEST[kind]:
        oldest = ".".join(map(str, _OLDEST[kind]))
        raise StoreRefused(
            store=server.name,
            reason=f"its version is {found['number']}",
            remedy=f"Upgrade it to {_PRODUCTS[kind]} {oldest} or later.",
        )
    return ElasticsearchForms(version) if kind == "elasticsearch" else OpenSearchForms(version)
