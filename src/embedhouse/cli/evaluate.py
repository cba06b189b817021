"""`embedhouse eval`: how good are the answers, by judged relevance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import (
    DenseWeight,
    FusionKind,
    LexicalWeight,
    ModeChoice,
    Namespaces,
    RrfK,
    fusion_settings,
)
from embedhouse.cli.shell import Shell
from embedhouse.domain.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.hits import FusionSettings, Mode
    from embedhouse.evaluation.scoring import Evaluation


@command
def evaluate(
    shell: Shell,
    qrels: Annotated[Path, typer.Option("--qrels", metavar="FILE", help="Judgements: BEIR's TSV, or TREC's.")],
    collection: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="The collection to search.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", metavar="FILE", help='JSON lines {"_id": ..., "text": ...}.')
    ] = None,
    measures: Annotated[
        str, typer.Option("--measures", metavar="LIST", help="Measures, as ir-measures writes them.")
    ] = "nDCG@10,RR@10,R@100",
    mode: ModeChoice = "hybrid",
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", help="Hits a query. [default: what the measures need]")
    ] = None,
    fusion: FusionKind = "convex",
    dense_weight: DenseWeight = None,
    lexical_weight: LexicalWeight = None,
    rrf_k: RrfK = 60,
    run_out: Annotated[
        Path | None, typer.Option("--run-out", metavar="FILE", help="Write the hits as a TREC run.")
    ] = None,
    run_in: Annotated[
        Path | None, typer.Option("--run-in", metavar="FILE", help="Measure this TREC run; nothing is searched.")
    ] = None,
    per_query: Annotated[bool, typer.Option("--per-query", help="Give each query's measures too.")] = False,
    namespace: Namespaces = None,
) -> None:
    """Measure search quality on judged queries, or that of any run."""
    how = fusion_settings(fusion, dense_weight, lexical_weight, rrf_k)
    if run_in is not None:
        found = _of_run(run_in, qrels, measures)
    elif collection is None or queries is None:
        raise InvalidInput(reason="Name a COLLECTION and its --queries, or a --run-in to measure.")
    else:
        found = _of_search(
            shell,
            collection,
            queries,
            qrels,
            measures=measures,
            mode=mode,
            k=k,
            fusion=how,
            run_out=run_out,
            namespaces=namespace,
        )
    shell.show(_record(found, per_query), lambda console: _render(console, found, per_query))


def _of_run(run: Path, qrels: Path, measures: str) -> Evaluation:
    from embedhouse.evaluation.judgements import read_qrels, read_run
    from embedhouse.evaluation.measures import parse_measures
    from embedhouse.evaluation.scoring import evaluate as score

    return score(read_qrels(qrels), read_run(run), parse_measures(measures))


def _of_search(
    shell: Shell,
    collection: str,
    queries: Path,
    qrels: Path,
    *,
    measures: str,
    mode: Mode,
    k: int | None,
    fusion: FusionSettings,
    run_out: Path | None,
    namespaces: list[str] | None,
) -> Evaluation:
    with shell.house() as house, shell.progress() as progress:
        return house.evaluate(
            collection,
            queries,
            qrels,
            measures=measures,
            mode=mode,
            k=k,
            fusion=fusion,
            run_out=run_out,
            namespaces=namespaces,
            progress=progress,
        )


def _record(found: Evaluation, per_query: bool) -> dict[str, object]:
    record: dict[str, object] = {
        "measures": found.measures,
        "queries": found.n_queries,
        "queries_without_hits": found.n_without_hits,
        "queries_not_judged": found.n_not_judged,
    }
    return record | {"per_query": found.per_query} if per_query else record


def _render(console: Console, found: Evaluation, per_query: bool) -> None:
    from embedhouse.cli import render

    names = list(found.measures)
    if per_query:
        rows = [[query, *[f"{values[name]:.4f}" for name in names]] for query, values in found.per_query.items()]
        render.table(console, ["query", *names], rows, right=" ".join(names))
    render.pairs(console, {name: f"{value:.4f}" for name, value in found.measures.items()})
    remark = f"{found.n_queries:,} judged queries, {found.n_without_hits:,} of them found nothing"
    console.print(remark, style="dim")
