"""How a SQL table or query is read."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, NamespaceName
from embedhouse.sources.rows import RowShape

__all__ = ["SOURCE_DB_URL", "SqlSourceSettings"]

SOURCE_DB_URL = "SOURCE_DB_URL"
"""The environment variable that holds a source's address unless another is named."""


class SqlSourceSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sql"
):
    """A table (`schema.table`, or its name alone) or a query (one SELECT), and what its columns mean.

    url_env: the environment variable that holds the address, as SQLAlchemy writes it; the address itself is never
    stored.
    version_column: when, or how often, a row was changed last: a time, or a number that grows. With it a run reads
    only rows changed since the last one, and again those of the last `overlap_s` seconds (or `overlap_versions`
    numbers) before it: clocks differ, and a transaction that began early may commit late. Without it every run
    reads every row; what did not change is told by its hash.
    compare_keys: whether each run also reads all ids, to find rows that are gone, or that came without a newer
    version; None: unless there is a `deleted_column`. page_rows: rows in one statement. The address must be that of
    a user who may read; nothing is ever written. `namespace`: of its documents.
    """

    url_env: Annotated[str, Meta(min_length=1)] = SOURCE_DB_URL
    table: str = ""
    query: str = ""
    shape: RowShape = RowShape()
    version_column: str | None = None
    overlap_s: Annotated[float, Meta(ge=0)] = 60.0
    overlap_versions: Annotated[int, Meta(ge=0)] = 1000
    compare_keys: bool | None = None
    page_rows: Annotated[int, Meta(ge=1, le=100_000)] = 2000
    namespace: NamespaceName = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if bool(self.table.strip()) == bool(self.query.strip()):
            raise InvalidInput(reason="Say what to read: either a table or a query.")

    @property
    def reads_all_ids(self) -> bool:
        """Whether a run that reads increments compares all ids too."""
        return self.shape.deleted_column is None if self.compare_keys is None else self.compare_keys

    @property
    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        version = [self.version_column] if self.version_column else []
        return list(dict.fromkeys([*self.shape.columns, *version]))
