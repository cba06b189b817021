"""What goes wrong between the house and a server of Elasticsearch or OpenSearch, and what each failure means."""

from __future__ import annotations

from typing import Any

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    EmbedhouseError,
    IndexDamaged,
    InvalidFilter,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)

__all__ = ["FOREIGN", "Refusal", "Unreachable", "error_of", "refusal_of"]

FOREIGN = "unsupported_product"
"""The kind of refusal where another product answers."""

_BUSY = (408, 429, 502, 503, 504)
_CONFLICT = 409
_UNAUTHORISED = (401, 403)
_MISSING = 404
_BLOCKED = "cluster_block_exception"
_KEY_REMEDY = (
    "Set api_key to an API key or to user:password (or the variable that api_key_env names), with the privileges "
    "monitor on the cluster, and manage, read and write on the indices embedhouse_*."
)
_FOREIGN_REMEDY = "Check the url; a server of OpenSearch is a store of kind opensearch."
_BLOCK_REMEDY = (
    "Nothing is lost. Free disk space or add a node, then take the block away: PUT INDEX/_settings "
    '{"index.blocks.read_only_allow_delete": null, "index.blocks.read_only": null, "index.blocks.write": null}.'
)


class Unreachable(Exception):
    """No answer came."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Refusal(Exception):
    """The server answered with an error: HTTP status, the server's own name for it, and its explanation."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        self.status = status
        self.kind = kind
        self.reason = reason
        super().__init__(f"{status} {kind}: {reason}")

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        if self.kind == _BLOCKED:
            return self.status == 503
        return self.status in _BUSY or self.status == _CONFLICT


def refusal_of(status: int, body: Any) -> Refusal:
    """From the body of an answer, or that of one item of a bulk answer."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return Refusal(status, "error", str(error)[:500])
    root = (error.get("root_cause") or [error])[0]
    reasons = dict.fromkeys(
        str(each["reason"]) for each in (root, error, error.get("caused_by") or {}) if each.get("reason")
    )
    return Refusal(status, str(root.get("type") or error.get("type")), "; ".join(reasons)[:500])


def error_of(failure: Refusal | Unreachable, store: str, index: str, deadline: Deadline) -> EmbedhouseError:
    """The house's own error. Errors: DeadlineExceeded and Cancelled where nobody waits any more."""
    if isinstance(failure, Unreachable):
        deadline.check("waiting for the store")
        return StoreUnavailable(store=store, reason=failure.reason)
    if failure.kind == _BLOCKED and not failure.passes:
        return StoreRefused(store=store, reason=f"it takes no writes: {failure.reason}", remedy=_BLOCK_REMEDY)
    if failure.status in _UNAUTHORISED:
        return StoreUnauthorized(store=store, reason=failure.reason or failure.kind, remedy=_KEY_REMEDY)
    if failure.passes or failure.status >= 500:
        deadline.check("waiting for the store")
        return StoreUnavailable(store=store, reason=str(failure))
    if failure.status == _MISSING and "index_not_found" in failure.kind:
        return IndexDamaged(path=index, reason=f"it is not on the server any more ({failure.reason})")
    if failure.kind == FOREIGN:
        return StoreRefused(store=store, reason=failure.reason, remedy=_FOREIGN_REMEDY)
    if "nested depth" in failure.reason:
        return InvalidFilter(path="filter", reason=f"it is nested deeper than the store takes: {failure.reason}")
    return StoreRefused(store=store, reason=str(failure), remedy="The server's log says more.")
