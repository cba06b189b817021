"""One way from an exception to a response, for Embedhouse's own shape and for OpenAI's under `/v1`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

from embedhouse.api.bodies import ErrorBody, ErrorDetail
from embedhouse.domain import errors as e
from embedhouse.domain.error_status import status_of

__all__ = ["EXCEPTION_HANDLERS", "Answer", "answer_to", "error_detail", "failures"]

_log = structlog.get_logger("embedhouse.api")
_INTERNAL = "Something went wrong inside Embedhouse. The server's log has the details."
_RETRY_AFTER_S = "1"
_HTTP_CODES = {400: "invalid_input", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_MEANINGS = {
    400: "The request is not valid; nothing was changed.",
    401: "The API key is missing or wrong.",
    403: "A web page of another host asks, or another machine where only this one may.",
    404: "There is no such collection, document or model.",
    409: "It exists already, or its vectors are of another space.",
    413: "The body, batch or text is over its limit.",
    422: "The model or a part of the house cannot do this.",
    429: "Too many requests are under way, or a budget is used up; `Retry-After` says when to try again.",
    500: "A fault of the server; its log has the details.",
    501: "An optional package is not installed; the message names it.",
    503: "The house is opening or closing, or a model or store cannot be used.",
    504: "The time limit passed.",
    507: "The disk is full; what was acknowledged is safe.",
}
_ALWAYS = (400, 401, 403, 413, 422, 429, 500, 501, 503, 504, 507)


class Answer(NamedTuple):
    """An error as it goes over the wire."""

    status: int
    body: bytes
    headers: dict[str, str]


def answer_to(error: Exception, *, method: str, path: str) -> Answer:
    """Status, JSON body and headers for an exception; what nobody expected is logged, never shown."""
    status, detail, headers = _describe(error, method, path)
    body: object = ErrorBody(error=detail)
    if path.startswith("/v1/"):
        body = _as_openai(status, detail)
    return Answer(status, _encode(body), headers)


def error_detail(error: Exception) -> ErrorDetail:
    """The error as it stands at the end of a stream of JSON lines."""
    if isinstance(error, e.EmbedhouseError):
        return ErrorDetail(code=error.code, message=str(error), fields=error.fields)
    _log.error("a job failed", exc_info=error)
    return ErrorDetail(code="internal", message=_INTERNAL)


def failures(*also: int) -> dict[int, ResponseSpec]:
    """The errors that a route declares in the OpenAPI document: those of every route, and `also`."""
    return {
        status: ResponseSpec(ErrorBody, generate_examples=False, description=_MEANINGS[status])
        for status in sorted({*_ALWAYS, *also})
    }


def _describe(error: Exception, method: str, path: str) -> tuple[int, ErrorDetail, dict[str, str]]:
    if isinstance(error, e.EmbedhouseError):
        detail = ErrorDetail(code=error.code, message=str(error), fields=error.fields)
        return status_of(error).http, detail, _headers(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return error.status_code, _of_framework(error, method, path), dict(error.headers or {})
    _log.error("a request failed", method=method, path=path, exc_info=error)
    return 500, ErrorDetail(code="internal", message=_INTERNAL), {}


def _headers(error: e.EmbedhouseError) -> dict[str, str]:
    if isinstance(error, e.Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, e.BudgetExceeded):
        return {"Retry-After": _seconds_until(str(error.fields.get("resets_at", "")))}
    if isinstance(error, e.Overloaded | e.NotReady):
        return {"Retry-After": _RETRY_AFTER_S}
    return {}


def _seconds_until(moment: str) -> str:
    try:
        seconds = datetime.fromisoformat(moment).timestamp() - time.time()
    except ValueError:
        return _RETRY_AFTER_S
    return str(max(1, math.ceil(seconds)))


def _of_framework(error: HTTPException, method: str, path: str) -> ErrorDetail:
    code = _HTTP_CODES.get(error.status_code, "invalid_input")
    if error.status_code == 404:
        return ErrorDetail(code=code, message=f"There is no route {path}. The page at / lists all routes.")
    if error.status_code == 405:
        return ErrorDetail(code=code, message=f"{path} does not answer {method}. The page at / lists all routes.")
    if error.status_code == 413:
        return ErrorDetail(
            code=code, message="The body is over the limit (max_body_bytes). Send smaller batches, or raise it."
        )
    if isinstance(error.extra, list) and error.extra:
        return ErrorDetail(
            code=code, message="; ".join(map(_problem, error.extra)), fields={"problems": error.extra}
        )
    return ErrorDetail(code=code, message=error.detail)


def _problem(problem: Any) -> str:
    if not isinstance(problem, Mapping):
        return str(problem)
    key, message = problem.get("key"), str(problem.get("message", "not valid"))
    if key == "data":
        return "The body is missing. Send JSON." if message == "'data'" or "got `null`" in message else message
    if message == f"'{key}'":
        return f"{key} is missing"
    return f"{key}: {message}" if key else message


def _as_openai(status: int, detail: ErrorDetail) -> dict[str, object]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    code = {"unknown_model": "model_not_found", "unauthorized": "invalid_api_key"}.get(detail.code, detail.code)
    return {"error": {"message": detail.message, "type": kind, "param": None, "code": code}}


def _encode(body: object) -> bytes:
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except UnicodeEncodeError:
        # The caller's own lone surrogates stand in the message; what is sent must be UTF-8.
        return msgspec.json.encode(_without_surrogates(msgspec.to_builtins(body, enc_hook=str)))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value


def _respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    answer = answer_to(error, method=request.method, path=request.scope["path"])
    return Response(answer.body, status_code=answer.status, headers=answer.headers, media_type=MediaType.JSON)


EXCEPTION_HANDLERS: Any = {e.EmbedhouseError: _respond, HTTPException: _respond, Exception: _respond}
