"""A collection's sources beside the ledger, without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, EmbedhouseError
from embedhouse.domain.reports import Progress
from embedhouse.domain.verification import SourceDifference
from embedhouse.house.source_scope import SourceScope, others_beside, owner_among, scope_of
from embedhouse.house.sources import binding_settings
from embedhouse.indexing.differences import Differences, Held
from embedhouse.ledger import bindings, collections
from embedhouse.ledger.bindings import SourceBinding
from embedhouse.ledger.database import Database
from embedhouse.settings import Settings
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.bound_folder import BoundFolder
from embedhouse.sources.opening import open_sql
from embedhouse.sources.sql import SqlSource
from embedhouse.sources.sql_settings import SqlSourceSettings

__all__ = ["compare_sources"]


def compare_sources(
    database: Database, settings: Settings, environ: Mapping[str, str], collection: str, deadline: Deadline
) -> list[SourceDifference]:
    """Each folder and SQL source of the collection, read whole. A topic holds events, not documents: there is
    nothing to compare. Errors: UnknownCollection, those of the deadline; a source's own are in its difference."""
    with database.read() as ledger:
        found = bindings.bindings(ledger, collections.collection_named(ledger, collection).id)
    scopes = {binding.name: scope_of(binding) for binding in found}
    compared: list[SourceDifference] = []
    for binding in found:
        try:
            source = _source(binding, settings, environ)
            if source is None:
                continue
            with closing(source):
                source.check()
                compared.append(_compare(database, binding, source, scopes, deadline))
        except (Cancelled, DeadlineExceeded):
            raise
        except EmbedhouseError as error:
            compared.append(SourceDifference(source=binding.name, error=str(error)))
    return compared


def _source(
    binding: SourceBinding, settings: Settings, environ: Mapping[str, str]
) -> BoundFolder | SqlSource | None:
    bound = binding_settings(binding)
    if isinstance(bound, FolderSourceSettings):
        return BoundFolder(bound, settings.max_text_bytes)
    if isinstance(bound, SqlSourceSettings):
        return open_sql(binding.name, bound, environ, settings.max_text_bytes, None)
    return None


def _compare(
    database: Database,
    binding: SourceBinding,
    source: BoundFolder | SqlSource,
    scopes: Mapping[str, SourceScope],
    deadline: Deadline,
) -> SourceDifference:
    own = scopes[binding.name]
    others = others_beside(own, scopes.values())
    with database.read() as ledger:
        known = dict(own.documents(ledger, binding.collection_id))
    differences = Differences(
        source,
        database,
        binding.collection_id,
        Held(documents=dict(known), owner_of=partial(owner_among, others), namespace=own.namespace),
        _nobody,
    )
    differing = [item.document.id for item in differences.read(deadline) if item.document is not None]
    gone = set(differences.gone) | (differences.deleted & known.keys())
    return SourceDifference(
        source=binding.name,
        missing=sorted(each for each in differing if each in differences.added),
        stale=sorted(each for each in differing if each not in differences.added),
        orphaned=[] if differences.error else sorted(gone),
        failures=len(differences.failures),
        error=str(differences.error or ""),
    )


def _nobody(progress: Progress) -> None:
    pass
