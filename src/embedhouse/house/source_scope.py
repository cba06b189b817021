"""Which documents of a collection came from which of its sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.house.sources import binding_settings
from embedhouse.ledger import source_documents
from embedhouse.ledger.bindings import SourceBinding
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.bound_folder import BoundFolder

__all__ = ["SourceScope", "others_beside", "owner_among", "scope_of"]


class SourceScope(msgspec.Struct, frozen=True):
    """What stands in `source` of a source's documents: a label, or the path of a file at or below `root`; and their
    namespace."""

    name: str
    label: str = ""
    root: str = ""
    namespace: str = DEFAULT_NAMESPACE

    def documents(self, ledger: Connection, collection_id: int) -> Iterator[tuple[str, str]]:
        """(id, source) of those that the ledger has."""
        if self.root:
            return source_documents.documents_below(ledger, collection_id, self.root, self.namespace)
        return source_documents.documents_of(ledger, collection_id, self.label, self.namespace)

    def holds(self, source: str) -> bool:
        """Whether a document with this `source` is one of them."""
        if self.root:
            return source == self.root or source.startswith(self.root.rstrip("/") + "/")
        return source == self.label


def scope_of(binding: SourceBinding) -> SourceScope:
    """The scope of one source."""
    settings = binding_settings(binding)
    if isinstance(settings, FolderSourceSettings):
        return SourceScope(binding.name, root=BoundFolder(settings, 0).root, namespace=settings.namespace)
    return SourceScope(binding.name, label=f"{binding.kind}:{binding.name}", namespace=settings.namespace)


def others_beside(own: SourceScope, scopes: Iterable[SourceScope]) -> list[SourceScope]:
    """The other scopes that may have documents of the same ids."""
    return [each for each in scopes if each.name != own.name and each.namespace == own.namespace]


def owner_among(others: Sequence[SourceScope], source: str) -> str | None:
    """The name of the one among these scopes that a document with this `source` belongs to."""
    return next((other.name for other in others if other.holds(source)), None)
