"""The official client of Pinecone, with the house's errors, deadlines and retries in place of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec
import stamina

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    IndexDamaged,
    InvalidSetting,
    MissingExtra,
    StoreRefused,
    StoreUnauthorized,
    StoreUnavailable,
)
from embedhouse.domain.stores import StoreSettings
from embedhouse.indexes.naming import options_of

if TYPE_CHECKING:
    import pinecone

__all__ = ["Connection", "PineconeOptions"]

Answer = TypeVar("Answer")

_API = "https://api.pinecone.io"
_KEY_REMEDY = "Set PINECONE_API_KEY, or api_key_env of the store in config.toml, to a key of the project."
_LONGEST_REQUEST_S = 60.0
# Of requests about namespaces, for which the client takes no other limit.
_LONGEST_LISTING_S = 10.0
_LONGEST_TRIES_S = 60.0
_TRIES_OF_UNAVAILABLE = 5
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 8.0
_WORTH_A_RETRY = frozenset({408, 429, 500, 502, 503, 504})
# With a dimension and a dash behind it, it must be a name that Pinecone takes: 45 characters.
_LONGEST_NAME = 39


class PineconeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cloud`, `region`, `deletion_protection`: of Pinecone indexes that the house makes. `sparse`: keep BM25's
    sparse vectors, so that lexical searches are answered. `settle_s`: how long a write without a deadline waits
    until searches see it."""

    cloud: str = "aws"
    region: str = "us-east-1"
    deletion_protection: bool = False
    sparse: bool = True
    settle_s: float = 120.0


class Connection:
    """One project of Pinecone. Nothing is asked before the first call. Thread-safe."""

    def __init__(self, settings: StoreSettings) -> None:
        """Errors: MissingExtra, InvalidSetting, StoreUnauthorized where there is no key at all."""
        try:
            import pinecone
        except ImportError as error:
            raise MissingExtra(what="The store pinecone", extra="pinecone") from error
        self.options = options_of(settings, PineconeOptions)
        self.base, self._api = _place_of(settings)
        self.label = f"Pinecone {self.base!r}"
        if not settings.api_key:
            raise StoreUnauthorized(store=self.label, reason="there is no key", remedy=_KEY_REMEDY)
        self._client = pinecone.Pinecone(
            api_key=settings.api_key,
            host=self._api,
            source_tag="embedhouse",
            timeout=_LONGEST_REQUEST_S,
            retry_config=_no_retries(),
        )

    @property
    def control(self) -> pinecone.Pinecone:
        """What makes and lists Pinecone indexes."""
        return self._client

    def data(self, host: str) -> pinecone.Index:
        """What reads and writes one of them."""
        if self._api.startswith("http://"):  # an emulator names its hosts without a scheme, and has no TLS
            host = host.replace("https://", "http://", 1)
        client = self._client.index(host=host)
        _keep_to_deadlines(client)
        return client

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def call(self, doing: str, deadline: Deadline, ask: Callable[..., Answer]) -> Answer:
        """What `ask` answers; its `timeout` is the seconds that a request may take. It must be idempotent.

        Errors: StoreUnavailable, StoreUnauthorized, StoreRefused, DeadlineExceeded, Cancelled; NotFoundError and
        ConflictError of the client, which mean something else to each caller.
        """
        import pinecone

        try:
            for attempt in stamina.retry_context(on=_Tries(deadline), attempts=None, timeout=None):
                with attempt:
                    deadline.check(doing)
                    return ask(timeout=min(_LONGEST_REQUEST_S, max(0.001, deadline.remaining_s)))
        except pinecone.PineconeError as error:
            self._fail(error, doing, deadline)
        raise AssertionError("a loop of tries ends with an answer or an error")

    def call_index(self, doing: str, deadline: Deadline, ask: Callable[..., Answer]) -> Answer | None:
        """`call`, of a Pinecone index; None where nothing was written to the namespace yet.

        Errors: IndexDamaged where somebody deleted the Pinecone index.
        """
        import pinecone

        try:
            return self.call(doing, deadline, ask)
        except pinecone.NotFoundError as error:
            if "namespace" in error.message.lower():
                return None
            raise IndexDamaged(
                path=self.label, reason=f"its Pinecone index was deleted ({error.message})"
            ) from error

    def _fail(self, error: pinecone.PineconeError, doing: str, deadline: Deadline) -> NoReturn:
        import pinecone

        if isinstance(error, pinecone.NotFoundError | pinecone.ConflictError):
            raise error
        reason = " ".join(error.message.split()) or type(error).__name__
        if isinstance(error, pinecone.UnauthorizedError):
            raise StoreUnauthorized(store=self.label, reason=reason, remedy=_KEY_REMEDY) from error
        if _is_transient(error):
            deadline.check(doing)
            raise StoreUnavailable(store=self.label, reason=reason) from error
        raise StoreRefused(store=self.label, reason=reason, remedy=_remedy_of(error)) from error


class _Tries:
    """One call's tries, as a backoff hook of stamina: doubling waits, or what the server asks for; never past the
    deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._began = time.monotonic()
        self._tries = 0
        self._unavailable = 0

    def __call__(self, error: Exception) -> float | bool:
        """Seconds to wait for the next try; False to give up."""
        if not _is_transient(error):
            return False
        self._tries += 1
        asked_for = getattr(error, "retry_after", None)
        self._unavailable += getattr(error, "status_code", None) != 429
        longest = min(_FIRST_WAIT_S * 2.0 ** min(self._tries - 1, 10), _LONGEST_WAIT_S)
        wait_s = longest * random.uniform(0.5, 1.0) if asked_for is None else float(asked_for)  # noqa: S311
        waited_s = time.monotonic() - self._began
        if self._unavailable >= _TRIES_OF_UNAVAILABLE or waited_s + wait_s > _LONGEST_TRIES_S:
            return False
        return wait_s if wait_s < self._deadline.remaining_s else False


def _is_transient(error: Exception) -> bool:
    import pinecone

    if isinstance(error, pinecone.ApiError):
        return error.status_code in _WORTH_A_RETRY
    return isinstance(error, pinecone.PineconeConnectionError | pinecone.PineconeTimeoutError)


def _remedy_of(error: pinecone.PineconeError) -> str:
    status = getattr(error, "status_code", 0)
    if status == 402:
        return "Settle the organisation's bill in Pinecone's console."
    if status == 403:
        return "The key may not do this, or a limit of the plan is reached: Pinecone's console shows both."
    return "If the message does not say what to change, update the package pinecone."


def _place_of(settings: StoreSettings) -> tuple[str, str]:
    """The name of the Pinecone index, and the address of the API: `pinecone://NAME`, or `http://HOST:PORT/NAME` for
    an emulator."""
    parts = urlsplit(settings.url)
    is_address = parts.scheme in ("http", "https")
    name = parts.path.strip("/") if is_address else parts.netloc
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if not name or len(name) > _LONGEST_NAME or not set(name) <= allowed or "-" in (name[0], name[-1]):
        raise InvalidSetting(
            name="stores",
            origin=f"the url {settings.url!r}",
            reason=f"a Pinecone index is named as in pinecone://my-index: at most {_LONGEST_NAME} lower-case "
            "letters, digits and '-'",
        )
    return name, f"{parts.scheme}://{parts.netloc}" if is_address else _API


def _no_retries() -> pinecone.RetryConfig:
    import pinecone

    return pinecone.RetryConfig(max_retries=0)


def _keep_to_deadlines(client: pinecone.Index) -> None:
    """The client for data takes no setting for its retries, which know of no deadline and wait up to 90 s."""
    from pinecone._internal.constants import DATA_PLANE_API_VERSION
    from pinecone._internal.http_client import HTTPClient

    config = replace(client._config, retry_config=_no_retries(), timeout=_LONGEST_LISTING_S)
    client._http.close()
    client._http = HTTPClient(config, DATA_PLANE_API_VERSION)
