"""Documents: put in, read, listed, changed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from embedhouse.api.bodies import (
    Deleted,
    DeleteDocuments,
    IncomingDocument,
    PatchDocument,
    UpsertDocuments,
    VectorBody,
)
from embedhouse.api.errors import failures
from embedhouse.api.requests import (
    TAKES_ANY_TEXT,
    ApiRequest,
    InNamespace,
    InNamespaces,
    check_count,
    document_id,
    parse_filter,
)
from embedhouse.api.served import bulk, interactive, served_house
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import InvalidInput, UnknownDocument
from embedhouse.domain.reports import DocumentPage, DocumentView, Failure, WriteReport

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Documents"]
_ONE = "/collections/{name:str}/documents/{id:str}"


@post(
    "/collections/{name:str}/documents",
    summary="Put documents in",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
    opt={TAKES_ANY_TEXT: True},
)
async def upsert_documents(
    request: ApiRequest, name: FromPath[str], data: JSONBody[UpsertDocuments]
) -> WriteReport:
    """Adds new documents and replaces those of the same id. What cannot go in is listed in `failures` with its
    reason; the rest goes in."""
    check_count(len(data.documents), served_house(request).settings, what="The batch of documents")
    documents, refused = _sort_out(data.documents)
    if not documents and refused:
        return WriteReport(failures=refused)
    report = await bulk(
        request,
        lambda house, deadline: house.documents.upsert(
            name, documents, wait=data.wait, namespace=data.namespace, deadline=deadline
        ),
    )
    return msgspec.structs.replace(report, failures=[*refused, *report.failures])


def _sort_out(incoming: list[IncomingDocument]) -> tuple[list[Document], list[Failure]]:
    documents = [one.document for one in incoming if one.document is not None]
    return documents, [one.failure for one in incoming if one.failure is not None]


@get("/collections/{name:str}/documents", summary="List documents", tags=_TAGS, responses=failures(404))
async def list_documents(
    request: ApiRequest,
    name: FromPath[str],
    limit: Annotated[int, QueryParameter(description="Documents a page.")] = 100,
    after: Annotated[str, QueryParameter(description="`next` of the page before.")] = "",
    filter: Annotated[str | None, QueryParameter(description="Metadata filter: JSON in the Mongo form.")] = None,
    text: Annotated[bool, QueryParameter(description="With each document's text.")] = False,
    namespaces: InNamespaces = None,
) -> DocumentPage:
    """A page of documents by namespace and id."""
    condition = parse_filter(filter)
    return await interactive(
        request,
        lambda house, deadline: house.documents.list(
            name,
            filter=condition,
            limit=limit,
            after=after,
            with_text=text,
            namespaces=namespaces,
            deadline=deadline,
        ),
    )


@get(_ONE, summary="Read a document", tags=_TAGS, responses=failures(404))
async def get_document(request: ApiRequest, name: FromPath[str], namespace: InNamespace = None) -> DocumentView:
    """The document with its text. Percent-encode the id: slashes and quotes may stand in it."""
    wanted = document_id(request)
    return await interactive(
        request,
        lambda house, deadline: house.documents.get(name, wanted, namespace=namespace, deadline=deadline),
    )


@patch(_ONE, summary="Change a document's metadata", tags=_TAGS, responses=failures(404))
async def patch_document(
    request: ApiRequest, name: FromPath[str], data: JSONBody[PatchDocument], namespace: InNamespace = None
) -> DocumentView:
    """Merges metadata (null deletes a key) or replaces it. Nothing is embedded again. Answers without the text."""
    wanted = document_id(request)

    def work(house: House, deadline: Deadline) -> DocumentView:
        house.documents.update_metadata(
            name, wanted, data.metadata, replace=data.replace, namespace=namespace, deadline=deadline
        )
        found = house.documents.get(name, wanted, namespace=namespace, deadline=deadline)
        return msgspec.structs.replace(found, text="")

    return await bulk(request, work)


@delete(_ONE, summary="Delete a document", tags=_TAGS, status_code=200, responses=failures(404))
async def delete_document(request: ApiRequest, name: FromPath[str], namespace: InNamespace = None) -> Deleted:
    """One document by id."""
    wanted = document_id(request)
    count = await bulk(
        request,
        lambda house, deadline: house.documents.delete(name, ids=[wanted], namespace=namespace, deadline=deadline),
    )
    if not count:
        raise UnknownDocument(collection=name, id=wanted)
    return Deleted(deleted=count)


@post(
    "/collections/{name:str}/delete-documents",
    summary="Delete documents by id or filter",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def delete_documents(request: ApiRequest, name: FromPath[str], data: JSONBody[DeleteDocuments]) -> Deleted:
    """Deletes what matches; an id that is not there is no error. `ids` or `filter` must be given."""
    if data.ids is None and data.filter is None:
        raise InvalidInput(
            reason="Neither `ids` nor `filter` is given. To delete everything, delete the collection."
        )
    count = await bulk(
        request,
        lambda house, deadline: house.documents.delete(
            name, ids=data.ids, filter=data.filter, namespace=data.namespace, deadline=deadline
        ),
    )
    return Deleted(deleted=count)


@get("/collections/{name:str}/vectors/{id:str}", summary="A document's vector", tags=_TAGS, responses=failures(404))
async def get_vector(
    request: ApiRequest,
    name: FromPath[str],
    kind: Annotated[
        Literal["mean", "centroid"],
        QueryParameter(description="Of all chunks, or of the largest cluster of chunks."),
    ] = "mean",
    namespace: InNamespace = None,
) -> VectorBody:
    """One vector for the whole document, L2-normalised."""
    wanted = document_id(request)

    def work(house: House, deadline: Deadline) -> VectorBody:
        vector = house.documents.vector(name, wanted, kind=kind, namespace=namespace, deadline=deadline)
        return VectorBody(vector=list(vector), space=house.collections.get(name, deadline=deadline).space)

    return await interactive(request, work)


ROUTES = [
    upsert_documents,
    list_documents,
    get_document,
    patch_document,
    delete_document,
    delete_documents,
    get_vector,
]
