"""The way to a Weaviate server: the official client, its limits taken from deadlines, its errors made ours.

The client's own checks at the start are left out, because one of them asks the package index for news; the checks
of the version, the key and the gRPC port are made here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import httpx
import msgspec
import stamina
from pydantic import PrivateAttr
from weaviate import WeaviateClient
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.config import GrpcConfig
from weaviate.connect import ConnectionParams
from weaviate.exceptions import WeaviateBaseError
from weaviate.proto.v1 import health_weaviate_pb2 as health

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, InvalidSetting, StoreUnavailable
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.naming import options_of
from embedhouse.indexes.weaviate.errors import error_of, error_of_code, is_passing

__all__ = ["WeaviateLink", "WeaviateOptions"]

Result = TypeVar("Result")
Item = TypeVar("Item")

_GRPC_PORT = 50_051
_TRIES = 3
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 1.0
_AT_ONCE = 8
_deadline: ContextVar[Deadline] = ContextVar("deadline")

# It would log whole objects that the server refused; what it logs, it raises as well.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)


class WeaviateOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`grpc_host`: where it is not the URL's. `grpc_port`: 50051 where none is given, 443 with https.
    `consistency_level`: how many replicas answer reads and writes. `replicas`: of each class that is made.
    `quantisation`: of the vectors in the graph. `timeout_s`: of one call. `max_results`: the server's
    QUERY_MAXIMUM_RESULTS. `async_indexing`: the server runs with ASYNC_INDEXING; writes then wait for the graph."""

    grpc_host: str = ""
    grpc_port: int = 0
    consistency_level: Literal["ONE", "QUORUM", "ALL"] = "QUORUM"
    replicas: int = 1
    quantisation: Literal["none", "rq", "sq", "bq", "pq"] = "none"
    timeout_s: float = 30.0
    max_results: int = 10_000
    async_indexing: bool = False


class _WhatIsLeft(Timeout):
    """The client reads these limits anew for each request, so each gets what its deadline leaves."""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in ("query", "insert", "init"):
            return value
        return min(value, _deadline.get(Deadline.never()).remaining_s)


class _Refusals(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Raises what a gRPC call failed with at once. The client would ask a server that is away again and again for
    a minute, and throw the status away."""

    def __init__(self, store: str) -> None:
        self._store = store

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        call = continuation(details, request)
        if isinstance(call, grpc.RpcError):
            raise error_of_code(self._store, call.code(), str(call.details())) from call
        return call


class _Ports(ConnectionParams):
    """Where the server is. The client asks it for the gRPC channel."""

    _store: str = PrivateAttr("")
    _channel: Any = PrivateAttr(None)

    def _grpc_channel(self, *args: Any, **kwargs: Any) -> Any:
        self._channel = grpc.intercept_channel(super()._grpc_channel(*args, **kwargs), _Refusals(self._store))
        return self._channel

    def check_grpc(self, timeout_s: float) -> None:
        """Errors: StoreUnavailable where the gRPC port does not answer, StoreRefused where no Weaviate does."""
        check = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health.WeaviateHealthCheckRequest.SerializeToString,
            response_deserializer=health.WeaviateHealthCheckResponse.FromString,
        )
        try:
            answer = check(health.WeaviateHealthCheckRequest(), timeout=timeout_s)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                store=self._store,
                reason=f"its REST port answers, but its gRPC port {self._grpc_target} does not: it is closed, "
                "behind a firewall, or another one (option grpc_port)",
            ) from error
        if answer.status != health.WeaviateHealthCheckResponse.SERVING:
            raise StoreUnavailable(store=self._store, reason="its gRPC side is not serving yet")


class WeaviateLink:
    """One server or cluster. Thread-safe; connects at the first call. `name` is what errors call it."""

    def __init__(self, settings: StoreSettings) -> None:
        self.options = options_of(settings, WeaviateOptions)
        self._ports, self.name = _ports_of(settings.url, self.options)
        self._key = settings.api_key
        self._client: WeaviateClient | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="weaviate")

    def call(self, work: Callable[[WeaviateClient], Result], doing: str, deadline: Deadline) -> Result:
        """What `work` returns; it may be called again when the server was away for a moment, so it is idempotent.

        Errors: StoreUnavailable, StoreUnauthorized, StoreRefused, IndexDamaged, those of the deadline.
        """
        deadline.check(doing)
        token = _deadline.set(deadline)
        tries = stamina.RetryingCaller(
            attempts=_TRIES,
            timeout=max(0.001, min(deadline.remaining_s, self.options.timeout_s)),
            wait_initial=_FIRST_WAIT_S,
            wait_max=_LONGEST_WAIT_S,
            wait_jitter=_FIRST_WAIT_S,
        )
        try:
            return tries(is_passing, self._once, work)
        except StoreUnavailable:
            deadline.check(doing)
            raise
        finally:
            _deadline.reset(token)

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` of each item, several at once."""
        return [work(item) for item in items] if len(items) < 2 else list(self._pool.map(work, items))

    def soon(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Begin with `work` now; what comes back waits for its result."""
        return self._pool.submit(work).result

    def close(self) -> None:
        """Close the connections. Calls after it fail."""
        self._pool.shutdown(cancel_futures=True)
        with self._lock:
            self._closed = True
            if self._client is not None:
                self._client.close()
                self._client = None

    def _once(self, work: Callable[[WeaviateClient], Result]) -> Result:
        client = self._connected()
        try:
            return work(client)
        except (WeaviateBaseError, httpx.HTTPError, OSError) as error:
            raise error_of(self.name, error) from error

    def _connected(self) -> WeaviateClient:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(store=self.name, reason="its connections were closed")
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> WeaviateClient:
        timeout_s = self.options.timeout_s
        limits = _WhatIsLeft(query=timeout_s, insert=timeout_s, init=timeout_s)
        # Found again soon after it was away: gRPC alone would wait for up to two minutes.
        waits = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000)]
        client = WeaviateClient(
            connection_params=self._ports,
            auth_client_secret=Auth.api_key(self._key) if self._key else None,
            additional_config=AdditionalConfig(timeout=limits, grpc_config=GrpcConfig(channel_options=waits)),
            skip_init_checks=True,
        )
        try:
            client.connect()
            self._ports.check_grpc(limits.init)
        except BaseException as error:
            client.close()
            if isinstance(error, EmbedhouseError) or not isinstance(error, Exception):
                raise
            raise error_of(self.name, error) from error
        return client


def _ports_of(url: str, options: WeaviateOptions) -> tuple[_Ports, str]:
    """Where the REST and the gRPC side are, and the server's name in messages. Errors: InvalidSetting."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _wrong(url, str(error)) from None
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise _wrong(url, "a Weaviate URL has the form http://HOST:8080 or https://HOST, and nothing behind it")
    host = parts.hostname
    try:
        made = _Ports.from_params(
            http_host=host,
            http_port=port or (443 if secure else 8080),
            http_secure=secure,
            grpc_host=options.grpc_host or _grpc_host(host),
            grpc_port=options.grpc_port or (443 if secure else _GRPC_PORT),
            grpc_secure=secure,
        )
    except ValueError as error:
        raise _wrong(url, f"REST and gRPC need a port each (option grpc_port): {error}") from None
    ports = cast("_Ports", made)
    name = f"Weaviate at {parts.scheme}://{host}:{ports.http.port}"
    ports._store = name
    return ports, name


def _grpc_host(host: str) -> str:
    """Weaviate Cloud serves gRPC under a name of its own."""
    if host.endswith(".weaviate.network"):
        return host.replace(".", ".grpc.", 1)
    return f"grpc-{host}" if host.endswith(".weaviate.cloud") else host


def _wrong(url: str, reason: str) -> InvalidSetting:
    return InvalidSetting(name="stores", origin=f"the URL {url!r}", reason=reason)
