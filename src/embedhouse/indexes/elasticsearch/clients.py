"""The official clients of Elasticsearch and OpenSearch, made alike: one request, one stream of bulk operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import msgspec

from embedhouse.domain.errors import InvalidSetting, MissingExtra
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.elasticsearch.failures import FOREIGN, Refusal, Unreachable, refusal_of

__all__ = ["BulkItem", "SearchClient", "SearchPlace", "client_of", "place_of"]

BulkItem = tuple[bool, dict[str, Any]]
"""Whether one operation was done, and {operation: the server's answer to it}."""

_CONNECTIONS = 32
_CHUNK_BYTES = 20 * 1024 * 1024
_JSON = {"accept": "application/json", "content-type": "application/json"}
_DEFAULT_USER = "admin"


class SearchPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, and who asks: a user with a password, or a key, or nobody."""

    scheme: str
    host: str
    port: int
    path: str
    user: str
    secret: str
    ca_certs: str | None

    @property
    def shown(self) -> str:
        """As it may be printed."""
        return f"{self.scheme}://{self.host}:{self.port}{self.path}"


class SearchClient(Protocol):
    """One server. Thread-safe. Errors of each call: Unreachable, Refusal. Nothing is tried twice."""

    def request(self, method: str, path: str, body: Any, params: dict[str, str], timeout_s: float) -> Any:
        """The decoded answer."""
        ...

    def bulk(self, operations: Iterable[dict[str, Any]], timeout_s: float) -> Iterator[BulkItem]:
        """Stream operations of the bulk helper's form, to aliases only; the answers come in the same order."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...


def place_of(settings: StoreSettings, ca_certs: str | None) -> SearchPlace:
    """Errors: InvalidSetting for a URL that is none."""
    try:
        parts = urlsplit(settings.url)
        port = parts.port or (443 if parts.scheme == "https" else 9200)
    except ValueError as error:
        raise _bad_url(settings, str(error)) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad_url(settings, "it has no http:// or https:// and host")
    user, secret = unquote(parts.username or ""), unquote(parts.password or "") or settings.api_key
    if not user and ":" in secret:
        user, secret = secret.split(":", 1)
    return SearchPlace(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        path=parts.path.rstrip("/"),
        user=user,
        secret=secret,
        ca_certs=ca_certs,
    )


def _bad_url(settings: StoreSettings, reason: str) -> InvalidSetting:
    return InvalidSetting(
        name="stores",
        origin=f"the url of {settings.kind}",
        reason=f"{reason}. It looks like https://HOST:9200; as the name of a store, {settings.kind}+https://HOST:9200",
    )


def client_of(kind: str, place: SearchPlace) -> SearchClient:
    """Errors: MissingExtra."""
    try:
        return _ElasticsearchClient(place) if kind == "elasticsearch" else _OpenSearchClient(place)
    except ModuleNotFoundError:
        raise MissingExtra(what=f"A store of kind {kind}", extra=kind) from None


class _ElasticsearchClient:
    def __init__(self, place: SearchPlace) -> None:
        import elasticsearch
        from elasticsearch import helpers

        from embedhouse.indexes.elasticsearch.node import Form8Node

        self._library = elasticsearch
        self._streaming_bulk = helpers.streaming_bulk
        host: dict[str, Any] = {"scheme": place.scheme, "host": place.host, "port": place.port}
        options: dict[str, Any] = {"ca_certs": place.ca_certs} if place.ca_certs else {}
        if place.user:
            options["basic_auth"] = (place.user, place.secret)
        elif place.secret:
            options["api_key"] = place.secret
        self._client = elasticsearch.Elasticsearch(
            [{**host, "path_prefix": place.path}],
            node_class=Form8Node,
            connections_per_node=_CONNECTIONS,
            max_retries=0,
            retry_on_timeout=False,
            **options,
        )
        # Another client for each time limit, which takes as long to make as a short search.
        self._within = lru_cache(maxsize=256)(lambda limit_s: self._client.options(request_timeout=limit_s))

    def request(self, method: str, path: str, body: Any, params: dict[str, str], timeout_s: float) -> Any:
        client = self._within(_rounded(timeout_s))
        try:
            return client.perform_request(method, path, params=params, headers=_JSON, body=body).body
        except (self._library.ApiError, self._library.TransportError) as error:
            raise self._failure(error) from error

    def bulk(self, operations: Iterable[dict[str, Any]], timeout_s: float) -> Iterator[BulkItem]:
        client = self._within(_rounded(timeout_s))
        try:
            yield from self._streaming_bulk(
                client, operations, max_chunk_bytes=_CHUNK_BYTES, raise_on_error=False, require_alias=True
            )
        except (self._library.ApiError, self._library.TransportError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, self._library.UnsupportedProductError):
            return Refusal(error.meta.status, FOREIGN, "the server does not say that it is Elasticsearch")
        if isinstance(error, self._library.ApiError):
            return refusal_of(error.meta.status, error.body)
        return _unreachable(f"{error}: {error.__cause__ or error.__context__}")

    def close(self) -> None:
        self._client.close()


class _OpenSearchClient:
    def __init__(self, place: SearchPlace) -> None:
        import opensearchpy
        from opensearchpy import helpers

        self._library = opensearchpy
        self._streaming_bulk = helpers.streaming_bulk
        options: dict[str, Any] = {"ca_certs": place.ca_certs} if place.ca_certs else {}
        if place.secret:
            options["http_auth"] = (place.user or _DEFAULT_USER, place.secret)
        self._client = opensearchpy.OpenSearch(
            [{"host": place.host, "port": place.port, "url_prefix": place.path}],
            use_ssl=place.scheme == "https",
            pool_maxsize=_CONNECTIONS,
            max_retries=0,
            retry_on_timeout=False,
            **options,
        )

    def request(self, method: str, path: str, body: Any, params: dict[str, str], timeout_s: float) -> Any:
        try:
            return self._client.transport.perform_request(
                method, path, params=params, body=body, headers=_JSON, timeout=timeout_s
            )
        except self._library.OpenSearchException as error:
            raise self._failure(error) from error

    def bulk(self, operations: Iterable[dict[str, Any]], timeout_s: float) -> Iterator[BulkItem]:
        try:
            yield from self._streaming_bulk(
                self._client,
                operations,
                max_chunk_bytes=_CHUNK_BYTES,
                raise_on_error=False,
                require_alias="true",
                request_timeout=timeout_s,
            )
        except self._library.OpenSearchException as error:
            raise self._failure(error) from error

    def _failure(self, error: Any) -> Exception:
        if not isinstance(error, self._library.TransportError):
            return _unreachable(str(error))
        if isinstance(error.status_code, int):
            return refusal_of(error.status_code, error.info)
        return _unreachable(str(error.error))

    def close(self) -> None:
        self._client.close()


def _unreachable(reason: str) -> Unreachable:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return Unreachable(f"{reason} (name its authority's file with the store's option ca_certs)")
    return Unreachable(reason)


def _rounded(timeout_s: float) -> float:
    return max(0.1, round(timeout_s, 1))
