"""What a Weaviate server fails with, as the house's errors.

Most refusals reach us as a sentence and no more: the server's gRPC side answers nearly all of them with UNKNOWN,
and the objects of a batch fail one by one with a text each.
"""

from __future__ import annotations

import httpx
from grpc import StatusCode
from weaviate import exceptions

from embedhouse.domain.errors import (
    EmbedhouseError,
    IndexDamaged,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)

__all__ = ["error_of", "error_of_code", "error_of_text", "is_passing"]

_KEY = "Set WEAVIATE_API_KEY, or the variable that api_key_env names, to a key of this server."
_ROLE = "Give the key's role the rights to read and write classes, tenants and objects that begin with Embedhouse_."
_READ_ONLY = (
    "Free disk space on its node (or raise DISK_USE_READONLY_PERCENTAGE), then set the shard to READY: "
    "PUT /v1/schema/CLASS/shards/SHARD."
)
_LOG = "The server's log says more."
_PASSING = (
    *("connection refused", "connection reset", "deadline exceeded", "context canceled", "leader not found"),
    *("no leader", "cannot reach enough replicas", "cannot achieve consistency", "shutting down", "not ready"),
    *("shutdown", "not enough memory", "too many"),
)
_GONE = (
    *("tenant not found", "class not found", "could not find class", "does not exist in schema"),
    *("shard not found", "vector lengths don't match", "dimensions of the vector"),
)
_TOO_SLOW = "it did not answer in time"
_LONGEST = 300


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed in a moment; one that took all of its time is not made again."""
    return isinstance(error, StoreUnavailable) and error.fields["reason"] != _TOO_SLOW


def error_of_code(store: str, code: StatusCode, details: str) -> EmbedhouseError:
    """The error of a gRPC call that ended with this status."""
    match code:
        case StatusCode.UNAVAILABLE | StatusCode.ABORTED | StatusCode.CANCELLED:
            return StoreUnavailable(store=store, reason=_short(details))
        case StatusCode.DEADLINE_EXCEEDED:
            return StoreUnavailable(store=store, reason=_TOO_SLOW)
        case StatusCode.UNAUTHENTICATED:
            return StoreUnauthorized(store=store, reason=_short(details), remedy=_KEY)
        case StatusCode.PERMISSION_DENIED:
            return StoreUnauthorized(store=store, reason=_short(details), remedy=_ROLE)
        case _:
            return error_of_text(store, details)


def error_of_text(store: str, text: str) -> EmbedhouseError:
    """The error that the server's words tell of."""
    words = text.lower()
    if "read-only" in words or "readonly" in words or "read only" in words:
        return StoreRefused(store=store, reason=f"it is read-only: {_short(text)}", remedy=_READ_ONLY)
    if any(sign in words for sign in _GONE):
        return IndexDamaged(path=store, reason=_short(text))
    if any(sign in words for sign in _PASSING):
        return StoreUnavailable(store=store, reason=_short(text))
    if "unauthorized" in words or "anonymous access" in words:
        return StoreUnauthorized(store=store, reason=_short(text), remedy=_KEY)
    return StoreRefused(store=store, reason=_short(text), remedy=_LOG)


def error_of(store: str, error: Exception) -> EmbedhouseError:
    """The error of whatever the client raised."""
    match error:
        case exceptions.UnexpectedStatusCodeException():
            return _of_http_status(store, error)
        case exceptions.WeaviateStartUpError() if "not supported" in str(error):
            remedy = "Upgrade the server to 1.27 or later."
            return StoreRefused(store=store, reason=_short(str(error)).rstrip("."), remedy=remedy)
        case exceptions.WeaviateTimeoutError() | httpx.TimeoutException():
            return StoreUnavailable(store=store, reason=_TOO_SLOW)
        case exceptions.ResponseCannotBeDecodedError() | KeyError() | ValueError():
            remedy = "Check the address: it is that of the REST port, 8080 where nothing else is set."
            return StoreRefused(store=store, reason="what answers there is not Weaviate", remedy=remedy)
        case (
            exceptions.WeaviateConnectionError()
            | exceptions.WeaviateStartUpError()
            | exceptions.WeaviateClosedClientError()
            | httpx.HTTPError()
            | OSError()
        ):
            return StoreUnavailable(store=store, reason=_short(str(error)))
        case _:
            return error_of_text(store, str(error) or type(error).__name__)


def _of_http_status(store: str, error: exceptions.UnexpectedStatusCodeException) -> EmbedhouseError:
    text = str(error)
    match error.status_code:
        case 401:
            return StoreUnauthorized(store=store, reason="401 Unauthorized", remedy=_KEY)
        case 403:
            return StoreUnauthorized(store=store, reason="403 Forbidden", remedy=_ROLE)
        case 429 | 502 | 503 | 504:
            return StoreUnavailable(store=store, reason=_short(text))
        case _:
            return error_of_text(store, text)


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."
