"""`embedhouse documents`: look at, change and delete single documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection, FilterJson, Namespace, Namespaces
from embedhouse.cli.shell import Shell, parse_filter, parse_metadata
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.reports import DocumentPage, DocumentView

app = typer.Typer(help="Look at, change and delete documents.", no_args_is_help=True, rich_markup_mode=None)

DocumentId = Annotated[str, typer.Argument(metavar="ID", help="The document's id.")]


@app.command()
@command
def get(shell: Shell, collection: Collection, id: DocumentId, namespace: Namespace = None) -> None:
    """Show one document with its text."""
    with shell.house() as house:
        view = house.documents.get(collection, id, namespace=namespace)
    shell.show(view, lambda console: _render(console, view))


@app.command("list")
@command
def list_(
    shell: Shell,
    collection: Collection,
    filter_json: FilterJson = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="How many.")] = 100,
    after: Annotated[str, typer.Option("--after", metavar="ID", help="Begin after this id.")] = "",
    text: Annotated[bool, typer.Option("--text", help="Give the texts too (with --json).")] = False,
    namespace: Namespaces = None,
) -> None:
    """List documents in the order of their namespaces and ids."""
    with shell.house() as house:
        page = house.documents.list(
            collection,
            filter=parse_filter(filter_json),
            limit=limit,
            after=after,
            with_text=text,
            namespaces=namespace,
        )
    shell.show(page, lambda console: _render_page(console, page))


@app.command()
@command
def delete(
    shell: Shell,
    collection: Collection,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of documents.")] = None,
    filter_json: FilterJson = None,
    namespace: Namespace = None,
) -> None:
    """Delete documents by id, or all that a filter matches."""
    if bool(ids) == (filter_json is not None):
        raise InvalidInput(reason="Name the documents to delete by their ids, or by --filter: one of the two.")
    with shell.house() as house:
        count = house.documents.delete(
            collection, ids=ids or None, filter=parse_filter(filter_json), namespace=namespace
        )
    shell.show({"deleted": count}, lambda console: console.print(f"{count:,} documents deleted."))


@app.command()
@command
def update(
    shell: Shell,
    collection: Collection,
    id: DocumentId,
    metadata: Annotated[
        str, typer.Argument(metavar="JSON", help='Metadata, as {"year": 2024}. null deletes a key.')
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Drop all other metadata.")] = False,
    namespace: Namespace = None,
) -> None:
    """Change a document's metadata. Nothing is embedded again."""
    with shell.house() as house:
        new = parse_metadata(metadata)
        house.documents.update_metadata(collection, id, new, replace=replace, namespace=namespace)
        view = house.documents.get(collection, id, namespace=namespace)
    shell.show(view, lambda console: _render(console, view))


@app.command()
@command
def similar(
    shell: Shell,
    collection: Collection,
    id: DocumentId,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many.")] = 10,
    filter_json: FilterJson = None,
    namespace: Namespaces = None,
) -> None:
    """Find documents like one that is there."""
    with shell.house() as house:
        result = house.search.more_like(collection, id, k=k, filter=parse_filter(filter_json), namespaces=namespace)
    from embedhouse.cli import render

    shell.show(result, lambda console: render.search_result(console, result))


@app.command()
@command
def recommend(
    shell: Shell,
    collection: Collection,
    liked: Annotated[list[str], typer.Option("--liked", metavar="ID", help="A document to be near to.")],
    disliked: Annotated[
        list[str] | None, typer.Option("--disliked", metavar="ID", help="A document to be far from.")
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many.")] = 10,
    filter_json: FilterJson = None,
    namespace: Namespaces = None,
) -> None:
    """Find documents near those you liked and far from those you did not."""
    with shell.house() as house:
        result = house.search.recommend(
            collection,
            liked=liked,
            disliked=disliked or [],
            k=k,
            filter=parse_filter(filter_json),
            namespaces=namespace,
        )
    from embedhouse.cli import render

    shell.show(result, lambda console: render.search_result(console, result))


@app.command()
@command
def duplicates(
    shell: Shell,
    collection: Collection,
    threshold: Annotated[float, typer.Option("--threshold", metavar="X", help="Least cosine of a pair.")] = 0.95,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="How many pairs at most.")] = 1000,
    namespace: Namespaces = None,
) -> None:
    """Find pairs of documents that say nearly the same."""
    from embedhouse.cli import render

    with shell.house() as house:
        found = house.search.near_duplicates(collection, threshold=threshold, limit=limit, namespaces=namespace)
    rows = [
        (_named(pair.a_namespace, pair.a), _named(pair.b_namespace, pair.b), f"{pair.score:.4f}") for pair in found
    ]
    shell.show({"pairs": found}, lambda console: render.table(console, ["a", "b", "cosine"], rows, right="cosine"))


def _named(namespace: str, id: str) -> str:
    return id if namespace == DEFAULT_NAMESPACE else f"{namespace}: {id}"


def _render(console: Console, view: DocumentView) -> None:
    import json

    from embedhouse.cli import render

    shown = {
        "id": _named(view.namespace, view.id),
        "title": view.title,
        "source": view.source,
        "chunks": view.chunks,
    }
    shown |= {"updated": view.updated_at, "metadata": json.dumps(view.metadata, ensure_ascii=False)}
    render.pairs(console, shown)
    if view.text:
        console.print()
        console.print(view.text)


def _render_page(console: Console, page: DocumentPage) -> None:
    from embedhouse.cli import render

    rows = [(_named(view.namespace, view.id), view.title, view.chunks, view.updated_at) for view in page.documents]
    render.table(console, ["id", "title", "chunks", "updated"], rows, right="chunks")
    if page.next is not None:
        # What goes on in another namespace than the default one has a control character in it.
        quoted = repr(page.next) if page.next.isprintable() else f"${page.next!r}"
        console.print(f"More: --after {quoted}", style="dim")
