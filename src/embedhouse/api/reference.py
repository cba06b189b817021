"""The OpenAPI document, and the page's files."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, Response, get
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.params import FromPath
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

from embedhouse.api import (
    collections,
    documents,
    embedding,
    health,
    jobs,
    openai,
    searching,
    sources,
    spending,
    transfers,
    upgrades,
    verifying,
)
from embedhouse.api.bodies import IncomingDocument
from embedhouse.api.requests import ApiRequest
from embedhouse.domain.documents import Document

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Schema

__all__ = ["API_ROUTES", "ROUTES", "openapi_document"]

API_ROUTES = [
    *searching.ROUTES,
    *embedding.ROUTES,
    *documents.ROUTES,
    *collections.ROUTES,
    *jobs.ROUTES,
    *transfers.ROUTES,
    *upgrades.ROUTES,
    *verifying.ROUTES,
    *sources.ROUTES,
    *openai.ROUTES,
    *health.ROUTES,
    *spending.ROUTES,
]
_DESCRIPTION = (
    "Owns a team's embeddings: embeds texts, keeps documents and their index in step, and answers hybrid searches. "
    "Every error is `{error: {code, message, fields}}`; under `/v1` it has OpenAI's shape."
)
_TAGS = {
    "Search": "What answers questions.",
    "Embeddings": "Texts to vectors.",
    "Documents": "What is searched. An id in a path is percent-encoded.",
    "Collections": "Named sets of documents that are searched together.",
    "Upgrades": "Another model, other chunks or another store, beside the live index and back.",
    "Sources": "What collections are kept in step with.",
    "Verify": "Whether sources, ledger, cache and index agree, and what failed for good.",
    "Jobs": "Long work whose progress is streamed as JSON lines.",
    "OpenAI": "For OpenAI's clients.",
    "House": "The server itself.",
}
_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _IncomingDocumentSchema(OpenAPISchemaPlugin):
    """Documents the batch's items as what they are: documents."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is IncomingDocument

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(Document))  # type: ignore[return-value]


def _config() -> OpenAPIConfig:
    key = SecurityScheme(type="http", scheme="bearer", description="The server's API key, if it has one.")
    header = SecurityScheme(type="apiKey", security_scheme_in="header", name="X-Api-Key")
    return OpenAPIConfig(
        title="Embedhouse",
        version=version("embedhouse"),
        description=_DESCRIPTION,
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(security_schemes={"bearer": key, "key": header}),
        security=[{"bearer": []}, {"key": []}, {}],
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, method, path: handler.handler_name,
    )


@cache
def openapi_document() -> bytes:
    """The OpenAPI document as JSON. Made by an application of the same routes that serves nothing: the framework
    would otherwise serve pages that load from foreign hosts."""
    described = Litestar(
        API_ROUTES, openapi_config=_config(), plugins=[_IncomingDocumentSchema()], request_class=ApiRequest
    )
    return msgspec.json.encode(described.openapi_schema.to_schema(), enc_hook=str)


@get("/openapi.json", include_in_schema=False, sync_to_thread=True)
def openapi() -> Response[bytes]:
    """The OpenAPI document."""
    return Response(openapi_document(), media_type=MediaType.JSON)


@cache
def _page_files() -> dict[str, tuple[str, bytes]]:
    found = {}
    for entry in files("embedhouse.ui").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _MEDIA_TYPES:
            found[entry.name] = (_MEDIA_TYPES[suffix], entry.read_bytes())
    return found


def _page_file(name: str) -> Response[bytes]:
    if name not in _page_files():
        raise NotFoundException
    media_type, content = _page_files()[name]
    return Response(content, media_type=media_type, headers=_PAGE_HEADERS)


@get("/", include_in_schema=False, sync_to_thread=False)
def page() -> Response[bytes]:
    """The page to try the house."""
    return _page_file("index.html")


@get("/ui/{name:str}", include_in_schema=False, sync_to_thread=False)
def page_file(name: FromPath[str]) -> Response[bytes]:
    """The page's style, scripts and icon."""
    return _page_file(name)


ROUTES = [openapi, page, page_file]
