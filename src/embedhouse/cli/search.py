"""`embedhouse search`: ask a collection."""

from __future__ import annotations

from typing import Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import (
    Collection,
    DenseWeight,
    FilterJson,
    FusionKind,
    LexicalWeight,
    ModeChoice,
    Namespaces,
    RrfK,
    fusion_settings,
)
from embedhouse.cli.shell import Shell, parse_filter
from embedhouse.domain.hits import SearchQuery


@command
def search(
    shell: Shell,
    collection: Collection,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What you are looking for, in your own words.")],
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many hits, up to 1000.")] = 10,
    mode: ModeChoice = "hybrid",
    filter_json: FilterJson = None,
    documents: Annotated[
        bool, typer.Option("--documents", help="Whole documents, the best chunk of each.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show each side's score, rank and weight.")] = False,
    fusion: FusionKind = "convex",
    dense_weight: DenseWeight = None,
    lexical_weight: LexicalWeight = None,
    rrf_k: RrfK = 60,
    namespace: Namespaces = None,
) -> None:
    """Search a collection by meaning and by words."""
    asked = SearchQuery(
        text=query,
        k=k,
        mode=mode,
        filter=parse_filter(filter_json),
        documents=documents,
        explain=explain,
        fusion=fusion_settings(fusion, dense_weight, lexical_weight, rrf_k),
        namespaces=namespace,
    )
    with shell.house() as house:
        result = house.search(collection, asked)
    from embedhouse.cli import render

    shell.show(result, lambda console: render.search_result(console, result))
