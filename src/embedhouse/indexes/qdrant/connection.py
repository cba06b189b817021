"""A Qdrant server as the house uses it: limits of time, repeated requests, errors of the house."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import stamina
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    EmbedhouseError,
    IndexDamaged,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)

__all__ = ["QdrantConnection", "is_missing"]

Answer = TypeVar("Answer")

_TRIES = 3
_TRYING_S = 10.0
_CONNECTING_S = 5.0
_LEAST_S = 1e-3
_NEVER = Deadline.never()
_FULL = ("no space left", "out of disk", "disk usage", "low disk space", "insufficient storage")
_KEY_REMEDY = "Set QDRANT_API_KEY, or the variable that api_key_env names, to a key that may write to the cluster"


class QdrantConnection:
    """Requests to one server or cluster. Thread-safe. `name` is what messages call it; `timeout_s` is how long one
    request may take where no deadline says less. Writes are idempotent, so whatever failed for a moment is sent
    again."""

    def __init__(self, client: QdrantClient, name: str, timeout_s: float) -> None:
        self.name = name
        self._client = client
        self._timeout_s = timeout_s
        self._asking = threading.local()

    @classmethod
    def connect(cls, url: str, api_key: str, timeout_s: float) -> QdrantConnection:
        """Nothing is sent yet. `url` without a password."""
        # Given as a header, a key over plain HTTP is no warning: servers of one's own network have no certificate.
        headers = {"api-key": api_key} if api_key else {}
        client = QdrantClient(url=url, headers=headers, check_compatibility=False, timeout=math.ceil(timeout_s))
        made = cls(client, f"Qdrant at {url}", timeout_s)
        client.http.client.add_middleware(made._in_time)
        return made

    def ask(
        self,
        request: Callable[[QdrantClient], Answer],
        doing: str,
        deadline: Deadline = _NEVER,
        collection: str = "",
    ) -> Answer:
        """What the server answers. `doing` completes the message of a deadline that passes; `collection` is the one
        without which an index is damaged.

        Errors: StoreUnavailable, StoreUnauthorized, StoreRefused, IndexDamaged, DeadlineExceeded, Cancelled.
        """
        deadline.check(doing)
        try:
            trying_s = max(_LEAST_S, min(_TRYING_S, deadline.remaining_s))
            for attempt in stamina.retry_context(
                on=_is_passing, attempts=_TRIES, timeout=trying_s, wait_max=1.0, wait_jitter=0.1
            ):
                with attempt:
                    deadline.check(doing)
                    self._asking.deadline = deadline
                    return request(self._client)
        except (ApiException, QdrantException, json.JSONDecodeError) as error:
            deadline.check(doing)
            raise self._failure(error, collection) from error
        raise AssertionError("a retry ends with an answer or an error")

    def close(self) -> None:
        """Close what is open to the server."""
        self._client.close()

    def _in_time(self, request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
        left_s = min(self._timeout_s, getattr(self._asking, "deadline", _NEVER).remaining_s)
        within = httpx.Timeout(left_s, connect=min(left_s, _CONNECTING_S))
        request.extensions = {**request.extensions, "timeout": within.as_dict()}
        return send(request)

    def _failure(self, error: Exception, collection: str) -> EmbedhouseError:
        if isinstance(error, UnexpectedResponse):
            return self._refusal(error, collection)
        if isinstance(error, ResponseHandlingException):
            return self._no_answer(error.source)
        if isinstance(error, json.JSONDecodeError):
            return self._no_answer(error)
        return StoreUnavailable(store=self.name, reason=f"it asks for fewer requests ({error})")

    def _no_answer(self, source: Exception) -> EmbedhouseError:
        if isinstance(source, httpx.TimeoutException):
            return StoreUnavailable(store=self.name, reason=f"no answer within {self._timeout_s:g} s")
        if isinstance(source, httpx.TransportError):
            return StoreUnavailable(store=self.name, reason=str(source) or type(source).__name__)
        return StoreRefused(
            store=self.name,
            reason="what answers there is not Qdrant's REST API, or one that the client does not understand",
            remedy="Check host and port (Qdrant's is 6333), and that the server is of version 1.20 or later",
        )

    def _refusal(self, error: UnexpectedResponse, collection: str) -> EmbedhouseError:
        reason = _reason_of(error)
        if error.status_code in (401, 403):
            return StoreUnauthorized(store=self.name, reason=reason, remedy=_KEY_REMEDY)
        if error.status_code == 404 and collection:
            return IndexDamaged(path=Path(collection), reason=f"{self.name} does not have it any more ({reason})")
        if _is_full(error):
            remedy = "Free some room, or give the cluster more; nothing is lost, and indexing goes on from there"
            return StoreRefused(store=self.name, reason=f"it is full ({reason})", remedy=remedy)
        if _is_server_side(error):
            return StoreUnavailable(store=self.name, reason=reason)
        remedy = "Its log says more; the options of the store are in docs/how-to/stores.md"
        return StoreRefused(store=self.name, reason=reason, remedy=remedy)


def is_missing(error: EmbedhouseError) -> bool:
    """Whether the server said that there is no such collection."""
    cause = error.__cause__
    return isinstance(cause, UnexpectedResponse) and cause.status_code == 404


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a moment. What ran into its limit of time is not tried again."""
    if isinstance(error, UnexpectedResponse):
        return _is_server_side(error) and not _is_full(error)
    if isinstance(error, ResponseHandlingException):
        source = error.source
        return isinstance(source, httpx.TransportError) and not isinstance(source, httpx.TimeoutException)
    return isinstance(error, ResourceExhaustedResponse)


def _is_server_side(error: UnexpectedResponse) -> bool:
    return error.status_code in (429, 500, 502, 503, 504)


def _is_full(error: UnexpectedResponse) -> bool:
    return error.status_code == 507 or any(sign in _reason_of(error).lower() for sign in _FULL)


def _reason_of(error: UnexpectedResponse) -> str:
    try:
        said = error.structured()["status"]["error"]
    except (ValueError, TypeError, LookupError):
        said = error.content.decode(errors="replace")
    return f"{str(said)[:300].strip() or error.reason_phrase} (HTTP {error.status_code})"
