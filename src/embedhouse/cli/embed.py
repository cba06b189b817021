"""`embedhouse embed` and `embedhouse similarity`: texts to vectors, and vectors to cosines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import ModelName, PrecisionName, RoleChoice
from embedhouse.cli.shell import Shell, read_lines
from embedhouse.domain.reports import Embedded, Granularity, TokenVectors

if TYPE_CHECKING:
    from rich.console import Console

Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT|-", help="Texts; - reads one a line from stdin.")]


@command
def embed(
    shell: Shell,
    texts: Texts = None,
    role: RoleChoice = "document",
    granularity: Annotated[
        Granularity,
        typer.Option("--granularity", help="A vector a text, a vector a token, or weights of its words."),
    ] = "text",
    model: ModelName = None,
    precision: PrecisionName = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", metavar="N", help="Cut vectors to N numbers and normalise again.")
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="NAME", help="With the model and words of this collection."),
    ] = None,
) -> None:
    """Turn texts into vectors."""
    given = read_lines(texts)
    with shell.house() as house:
        answer = house.models.embed(
            given,
            role=role,
            granularity=granularity,
            model=model,
            precision=precision,
            dimensions=dimensions,
            collection=collection,
        )
    shell.show(answer, lambda console: _render(console, given, answer))


@command
def similarity(
    shell: Shell,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT|-", help="Two texts or more; - reads stdin.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="TEXT", help="Compare with these instead of with each other."),
    ] = None,
    role: RoleChoice = "document",
    model: ModelName = None,
    precision: PrecisionName = None,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="NAME", help="With the model of this collection.")
    ] = None,
) -> None:
    """Say how alike texts are, by the cosine of their vectors. Both sides have one role."""
    a = read_lines(texts)
    b = to or a
    with shell.house() as house:
        rows = house.models.similarity(a, b, role=role, model=model, precision=precision, collection=collection)
    record = {"similarities": rows, "texts": a, "to": b, "role": role}
    shell.show(record, lambda console: _render_similarities(console, a, b, rows))


def _render(console: Console, texts: list[str], answer: Embedded) -> None:
    from embedhouse.cli import render

    embeddings: Sequence[list[float] | TokenVectors | dict[str, float]] = answer.embeddings
    for text, embedding in zip(texts, embeddings, strict=True):
        console.print(_shortened(text), style="bold")
        if isinstance(embedding, TokenVectors):
            render.table(console, ["token", "from", "to", "vector"], _token_rows(embedding), right="from to")
        elif isinstance(embedding, dict):
            by_weight = sorted(embedding.items(), key=lambda item: (-item[1], item[0]))
            render.table(console, ["term", "weight"], by_weight, right="weight")
        else:
            console.print(f"  {_numbers(embedding)}")
    console.print(f"{answer.model}, {answer.dimensions} dimensions, {answer.usage.tokens} tokens", style="dim")


def _token_rows(found: TokenVectors) -> Iterator[tuple[str, int, int, str]]:
    for token, (start, end), vector in zip(found.tokens, found.offsets, found.vectors, strict=True):
        yield token, start, end, _numbers(vector)


def _render_similarities(console: Console, a: list[str], b: list[str], rows: list[list[float]]) -> None:
    from embedhouse.cli import render

    if b is a and len(a) == 2:
        console.print(f"{rows[0][1]:.4f}")
        return
    headings = ["", *[_shortened(text, 24) for text in b]]
    render.table(
        console, headings, [[_shortened(t, 40), *[f"{x:.4f}" for x in row]] for t, row in zip(a, rows, strict=True)]
    )


def _numbers(vector: list[float]) -> str:
    head = ", ".join(f"{number:.4f}" for number in vector[:5])
    return f"[{head}, … {len(vector)} numbers]"


def _shortened(text: str, width: int = 90) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"
