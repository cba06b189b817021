"""What every request passes: the API key, protection against foreign web pages, the limit, timing, access log."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from embedhouse.api.errors import answer_to
from embedhouse.api.requests import route_without_id
from embedhouse.api.served import ServedHouse
from embedhouse.domain.errors import Forbidden, InvalidSetting, NotReady, Overloaded, StorageError, Unauthorized
from embedhouse.domain.models import attributed, new_request_id
from embedhouse.house.keys import DEFAULT_CALLER
from embedhouse.settings import Settings

__all__ = ["Gate", "check_listening", "is_loopback"]

_log = structlog.get_logger("embedhouse.access")
_OPEN = frozenset({"/", "/health", "/ready"})
_OPEN_PREFIX = "/ui/"

_Caller = tuple[str, list[str] | None]
"""A name, empty where no key is needed; and the namespaces that the key is bound to, if it is."""


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_listening(settings: Settings, has_named_keys: Callable[[], bool]) -> None:
    """Refuse to open the house to other machines without a key. Errors: InvalidSetting."""
    if not settings.api_key and not is_loopback(settings.host) and not has_named_keys():
        reason = (
            f"{settings.host!r} is reachable from other machines, so an API key is needed: make one with "
            "`embedhouse key create NAME`, or set EMBEDHOUSE_API_KEY"
        )
        raise InvalidSetting(name="host", origin=settings.origins.get("host", "default"), reason=reason)


class Gate:
    """Wraps the application.

    Once there is a key, of the settings or a named one, the key decides, and whoever asks is its name in the ledger
    of spend. Without any the house listens on loopback only, where any web page in the user's
    browser could reach it: so the Host must be a loopback name (against DNS rebinding), and a request that a
    browser sends for a page of another origin is refused (Origin, Sec-Fetch-Site).
    """

    def __init__(self, app: ASGIApp, served: ServedHouse) -> None:
        self._app = app
        self._served = served
        self._key = served.settings.api_key.encode()
        self._is_local = is_loopback(served.settings.host)
        self._limit = served.settings.max_concurrency
        self._logs = served.settings.log_level in ("debug", "info")
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        route_without_id(scope)
        timed = _Timed(send, new_request_id())
        try:
            await self._pass(scope, receive, timed)
        finally:
            if self._logs:
                _log_access(scope, timed)

    async def _pass(self, scope: Scope, receive: Receive, send: _Timed) -> None:
        path = scope["path"]
        if path in _OPEN or path.startswith(_OPEN_PREFIX):
            await self._app(scope, receive, send)
            return
        try:
            send.caller, namespaces = self._admit(scope)
        except (Unauthorized, Forbidden, NotReady, Overloaded, StorageError) as error:
            await _refuse(error, scope, send)
            return
        self._under_way += 1
        try:
            with attributed(caller=send.caller, request_id=send.request_id, namespaces=namespaces):
                await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _admit(self, scope: Scope) -> _Caller:
        """Whoever asks."""
        caller = self._caller(_first_headers(scope))
        if self._served.closing:
            raise NotReady(reason="it is closing")
        if self._under_way >= self._limit:
            raise Overloaded(what=f"{self._limit} are under way", retry_after_s=1)
        return caller

    def _caller(self, headers: dict[bytes, bytes]) -> _Caller:
        given = _given_key(headers)
        if self._key and _is_same(given, self._key):
            return DEFAULT_CALLER, None
        keys = self._served.house.keys  # while the house opens nobody knows the named keys
        holder = keys.holder_of(given) if given else None
        if holder is not None:
            return holder.name, holder.namespaces
        # The last named key may be gone: what listens beyond this machine asks for one all the same.
        if self._key or keys.any or not self._is_local:
            raise Unauthorized
        _check_same_machine(headers)
        return "", None


class _Timed:
    """Adds the request's id and the total time to the response's headers, and remembers its status."""

    __slots__ = ("_send", "caller", "request_id", "started", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.caller = ""
        self.started = time.perf_counter()
        self.status = 0

    @property
    def took_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1e3

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            total = f"total;dur={self.took_ms:.2f}".encode()
            own = [(b"server-timing", total), (b"x-request-id", self.request_id.encode())]
            message["headers"] = [*message["headers"], *own]
        await self._send(message)


def _first_headers(scope: Scope) -> dict[bytes, bytes]:
    return dict(reversed(list(scope["headers"])))


def _given_key(headers: dict[bytes, bytes]) -> bytes:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    return credentials.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")


def _is_same(given: bytes, key: bytes) -> bool:
    # Of their hashes: how long it takes must not tell the key's length.
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(key).digest())


def _check_same_machine(headers: dict[bytes, bytes]) -> None:
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(_without_port(host)):
        raise Forbidden(reason=f"the host {host!r} is not this machine. Set an API key to serve under other names.")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() not in (f"http://{host}", f"https://{host}"):
        raise Forbidden(reason="it comes from a web page of another origin.")
    if headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site"):
        raise Forbidden(reason="it comes from a web page of another site.")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0]
    return host.rpartition(":")[0] or host


async def _refuse(error: Exception, scope: Any, send: Send) -> None:
    answer = answer_to(error, method=scope["method"], path=scope["path"])
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _log_access(scope: Any, timed: _Timed) -> None:
    client = (scope.get("client") or ("",))[0]
    _log.info(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=timed.status,
        took_ms=round(timed.took_ms, 2),
        client=client,
        caller=timed.caller,
        request_id=timed.request_id,
    )
