"""`embedhouse collection`: make, list, show, delete, compact and move collections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection, DocumentPrompt, ModelName, PrecisionName, QueryPrompt, prompts
from embedhouse.cli.shell import Shell
from embedhouse.cli.upgrade import LexicalStoreName, StoreName, render_promotion

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.reports import CollectionInfo

app = typer.Typer(
    help="Make, list, show, delete, compact and move collections.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
@command
def create(
    shell: Shell,
    name: Collection,
    model: ModelName = None,
    precision: PrecisionName = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", metavar="N", help="Cut vectors to N numbers.")
    ] = None,
    document_prompt: DocumentPrompt = None,
    query_prompt: QueryPrompt = None,
    store: StoreName = None,
    lexical_store: LexicalStoreName = None,
) -> None:
    """Make an empty collection."""
    own = prompts(document_prompt, query_prompt)
    with shell.house() as house:
        info = house.collections.create(
            name,
            model=model,
            precision=precision,
            dimensions=dimensions,
            prompts=own,
            store=store,
            lexical_store=lexical_store,
        )
    shell.show(info, lambda console: _render(console, info))


@app.command("list")
@command
def list_(shell: Shell) -> None:
    """List all collections."""
    from embedhouse.cli import render

    with shell.house() as house:
        found = house.collections.list()
    rows = [(c.name, c.documents, c.chunks, c.model, c.precision) for c in found]
    columns = ["collection", "documents", "chunks", "model", "precision"]
    shell.show(
        {"collections": found}, lambda console: render.table(console, columns, rows, right="documents chunks")
    )


@app.command()
@command
def show(shell: Shell, name: Collection) -> None:
    """Show one collection: its model, space, prompts, chunking and counts."""
    with shell.house() as house:
        info = house.collections.get(name)
    shell.show(info, lambda console: _render(console, info))


@app.command()
@command
def delete(shell: Shell, name: Collection) -> None:
    """Delete a collection with everything in it."""
    with shell.house() as house:
        house.collections.delete(name)
    shell.show({"deleted": name}, lambda console: console.print(f"Collection {name} is gone."))


@app.command()
@command
def compact(shell: Shell, name: Collection) -> None:
    """Build the index anew beside the old one and swap: smaller and faster after many changes."""
    with shell.house() as house, shell.progress() as progress:
        house.collections.compact(name, progress=progress)
        info = house.collections.get(name)
    shell.show(info, lambda console: console.print(f"Collection {name} is compact: {info.chunks:,} chunks."))


@app.command()
@command
def move(
    shell: Shell,
    name: Collection,
    to: Annotated[str, typer.Option("--to", metavar="STORE", help="A store's name in the settings, or its URL.")],
    lexical_to: Annotated[
        str | None, typer.Option("--lexical-to", metavar="STORE", help="Where words are searched, if elsewhere.")
    ] = None,
) -> None:
    """Move the index to another store without a model call: built beside, verified, flipped."""
    with shell.house() as house, shell.progress() as progress:
        found = house.upgrades.move(name, to, lexical_to=lexical_to, progress=progress)
    shell.show(found, lambda console: render_promotion(console, found))


def _render(console: Console, info: CollectionInfo) -> None:
    from embedhouse.cli import render

    chunking = info.chunking
    context = "with" if chunking.with_context else "without"
    render.pairs(
        console,
        {
            "collection": info.name,
            "model": f"{info.model} ({info.precision}, {info.dimensions} dimensions)",
            "space": info.space,
            **{f"{role} prompt": repr(prompt) for role, prompt in info.prompts.items()},
            "documents": info.documents,
            "chunks": f"{info.chunks:,} ({info.pending_chunks:,} pending, {info.dead_letters:,} dead)",
            "chunking": f"{chunking.chunker}, up to {chunking.max_tokens} tokens, {context} context",
            "words": f"BM25, {info.lexical.analyzer}, k1 {info.lexical.k1:g}, b {info.lexical.b:g}",
            "store": " + ".join(filter(None, (info.store, info.lexical_store))),
            "state": info.state,
            "created": info.created_at,
        },
    )
