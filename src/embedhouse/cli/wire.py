"""One HTTP connection to a running server: typed answers, and errors of the same classes as in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from embedhouse.domain import errors
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.reports import Progress

__all__ = ["Wire", "error_from_wire", "path"]

T = TypeVar("T")
_CONNECT_TIMEOUT_S = 5.0


class _ErrorBody(msgspec.Struct):
    code: str = "internal"
    message: str = ""
    fields: dict[str, Any] = {}


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


_NOTHING = msgspec.Raw()


class _Event(msgspec.Struct):
    progress: Progress | None = None
    report: msgspec.Raw = _NOTHING
    error: _ErrorBody | None = None


def path(*segments: str) -> str:
    """A path of percent-encoded segments: ids with slashes and quotes survive."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


class Wire:
    """JSON over HTTP. Thread-safe."""

    def __init__(self, url: str, *, api_key: str, timeout_s: float) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
        # trust_env off: a proxy set for the outside must not see what goes to this machine's own server.
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)
        self.url = url

    def call(
        self, method: str, route: str, kind: type[T], *, body: object = None, query: Mapping[str, Any] | None = None
    ) -> T:
        """One request; its answer as `kind`. Errors: those of the house, and EmbedhouseError if nobody answers."""
        response = self._send(method, route, body, query)
        self._raise_for(response.status_code, response.content)
        return msgspec.json.decode(response.content or b"null", type=kind)

    def follow(self, route: str, body: object, kind: type[T], progress: Callable[[Progress], None] | None) -> T:
        """A long call: its progress as it goes, then its report as `kind`."""
        for line in self._stream(route, body):
            event = msgspec.json.decode(line, type=_Event)
            if event.progress is not None and progress is not None:
                progress(event.progress)
            if event.error is not None:
                raise error_from_wire(event.error.code, event.error.message, event.error.fields)
            if event.report:
                return msgspec.json.decode(event.report, type=kind)
        raise EmbedhouseError(reason=f"The server at {self.url} stopped half-way. Run the same command again.")

    def _stream(self, route: str, body: object) -> Iterator[bytes]:
        content = _encoded(body)
        timeout = httpx.Timeout(None, connect=_CONNECT_TIMEOUT_S)
        try:
            with self._client.stream("POST", route, content=content, headers=_JSON, timeout=timeout) as response:
                if response.is_error:
                    self._raise_for(response.status_code, response.read())
                for line in response.iter_lines():
                    if line:
                        yield line.encode()
        except httpx.HTTPError as error:
            raise self._no_answer(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _send(self, method: str, route: str, body: object, query: Mapping[str, Any] | None) -> httpx.Response:
        content = None if body is None else _encoded(body)
        params = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            return self._client.request(method, route, content=content, params=params, headers=_JSON)
        except httpx.HTTPError as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: httpx.HTTPError) -> EmbedhouseError:
        reason = f"The server at {self.url} holds this house but does not answer ({error or type(error).__name__})."
        return EmbedhouseError(reason=f"{reason} Wait for it, or stop it and run the command again.")

    def _raise_for(self, status: int, content: bytes) -> None:
        if status < 400:
            return
        try:
            body = msgspec.json.decode(content, type=_ErrorAnswer).error
        except msgspec.DecodeError:
            raise EmbedhouseError(reason=f"The server at {self.url} answered with status {status}.") from None
        raise error_from_wire(body.code, body.message, body.fields)


_JSON = {"Content-Type": "application/json"}


def _encoded(body: object) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise errors.InvalidText(where="sent", reason=f"lone surrogate at character {error.start}") from None


def error_from_wire(code: str, message: str, fields: Mapping[str, Any]) -> EmbedhouseError:
    """The error that the server raised: its class by code, its fields, and its message word for word."""
    kinds: list[type[EmbedhouseError]] = [kind for _, kind in inspect.getmembers(errors, _is_error_class)]
    kind = next((kind for kind in kinds if kind.code == code), EmbedhouseError)
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    error.fields = dict(fields)
    return error


def _is_error_class(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, EmbedhouseError)
