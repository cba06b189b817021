"""Reading a request: its JSON, its documents, its limits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.params import QueryParameter
from litestar.types import HTTPScope

from embedhouse.api.bodies import IncomingDocument
from embedhouse.domain.documents import Document, check_length
from embedhouse.domain.errors import EmbedhouseError, InvalidFilter, InvalidInput, InvalidText, TooLarge
from embedhouse.domain.reports import Failure
from embedhouse.settings import Settings

__all__ = [
    "TAKES_ANY_TEXT",
    "ApiRequest",
    "InNamespace",
    "InNamespaces",
    "check_count",
    "check_texts",
    "decode_document",
    "document_id",
    "model_name",
    "parse_filter",
    "route_without_id",
]

InNamespace = Annotated[
    str | None,
    QueryParameter(description="Whose id it is: without it the key's only namespace, or `default`."),
]
InNamespaces = Annotated[
    list[str] | None,
    QueryParameter(name="namespace", description="Repeat it for several; without it all that the caller may see."),
]
TAKES_ANY_TEXT = "takes_any_text"
"""Marks routes that report a lone surrogate as the failure of one document, not of the whole body."""

_FAMILIES = ("documents", "vectors")
_MODELS = "/v1/models/"
_PLACEHOLDER = "id"


class ApiRequest(Request[Any, Any, State]):
    """A request whose JSON errors say where they are."""

    async def json(self) -> Any:
        """The body as JSON. Errors: InvalidInput with line and column; InvalidText for lone surrogates."""
        body = await self.body()
        if not body.strip():
            raise InvalidInput(reason="The body is missing. Send JSON")
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._decode_slowly(body)

    def _decode_slowly(self, body: bytes) -> Any:
        try:
            value = json.loads(body, parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise InvalidInput(reason=f"The body is not UTF-8: byte {error.start} is not valid.") from None
        except ValueError as error:
            raise InvalidInput(reason=f"The body is not JSON: {error}.") from None
        except RecursionError:
            raise InvalidInput(reason="The body is not usable: it is nested too deeply.") from None
        # The standard library reads what msgspec refuses only where a lone surrogate is escaped.
        if not self.route_handler.opt.get(TAKES_ANY_TEXT):
            raise InvalidText(where="in the body", reason="it has a lone surrogate")
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def document_id(request: Request[Any, Any, Any]) -> str:
    """The id in `/collections/{name}/documents/{id}`: all that follows the family, percent-decoded once."""
    return unquote(_raw_path(request.scope).split("/", 4)[4])


def model_name(request: Request[Any, Any, Any]) -> str:
    """The name in `/v1/models/{id}`; its slash may be percent-encoded or not."""
    return unquote(_raw_path(request.scope).removeprefix(_MODELS))


def route_without_id(scope: HTTPScope) -> None:
    """Let the router see the route without its id: it would merge and drop slashes that belong to it."""
    raw_path = _raw_path(scope)
    segments = raw_path.split("/", 4)
    if len(segments) == 5 and segments[1] == "collections" and segments[3] in _FAMILIES and segments[4]:
        scope["path"] = f"/collections/{unquote(segments[2])}/{segments[3]}/{_PLACEHOLDER}"
    elif raw_path.startswith(_MODELS) and raw_path != _MODELS:
        scope["path"] = f"{_MODELS}{_PLACEHOLDER}"


def _raw_path(scope: HTTPScope) -> str:
    return scope["raw_path"].decode("ascii", "replace").split("?", 1)[0]


def decode_document(kind: type[Any], value: Any) -> IncomingDocument:
    """A document, or the failure that stands for it in the report."""
    identity = value.get("id") if isinstance(value, dict) else None
    shown = identity if isinstance(identity, str) else ""
    try:
        document = msgspec.convert(value, Document)
        _check_unicode(value, shown)
    except msgspec.ValidationError as error:
        return IncomingDocument(None, Failure(id=shown, code=InvalidInput.code, message=f"{error}."))
    except EmbedhouseError as error:
        return IncomingDocument(
            None, Failure(id=_printable(shown), code=error.code, message=_printable(str(error)))
        )
    return IncomingDocument(document, None)


def _check_unicode(value: object, shown: str) -> None:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidText(where=f"of document {_printable(shown)!r}", reason="it has a lone surrogate") from None


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """A filter given as JSON in the query string. Errors: InvalidFilter."""
    if text is None or not text.strip():
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidFilter(path="$", reason=f"it is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InvalidFilter(path="$", reason="it must be a JSON object")
    return value


def check_texts(texts: Iterable[str], settings: Settings) -> list[str]:
    """The texts, if they are within the limits. Errors: InvalidInput for none, TooLarge."""
    checked = list(texts)
    if not checked:
        raise InvalidInput(reason="There is no text. Send at least one.")
    check_count(len(checked), settings, what="The batch of texts")
    for place, text in enumerate(checked):
        check_length(text, settings.max_text_bytes, f"Text {place}")
    return checked


def check_count(count: int, settings: Settings, *, what: str) -> None:
    """Errors: TooLarge for more than `max_batch`."""
    if count > settings.max_batch:
        raise TooLarge(what=what, size=count, limit=settings.max_batch, remedy="Send several smaller batches.")
