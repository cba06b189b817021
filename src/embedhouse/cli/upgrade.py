"""`embedhouse upgrade`: another model, other chunks or another store, in steps that can be taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection, DocumentPrompt, ModelName, PrecisionName, QueryPrompt, prompts
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.upgrades import (
        GenerationStatus,
        Promotion,
        ShadowReport,
        UpgradePlan,
        UpgradeStatus,
    )

app = typer.Typer(
    help="Change a collection's model, chunking or store beside the live index, and take it back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Dimensions = Annotated[int | None, typer.Option("--dimensions", metavar="N", help="Cut vectors to N numbers.")]
ChunkTokens = Annotated[
    int | None, typer.Option("--chunk-tokens", metavar="N", help="Tokens that a chunk has at most.")
]
ChunkerName = Annotated[
    str | None, typer.Option("--chunker", metavar="NAME", help="sentence, paragraph, markdown or window.")
]
AnalyzerName = Annotated[
    str | None, typer.Option("--analyzer", metavar="NAME", help="How words are told apart.", show_default=False)
]
StoreName = Annotated[str | None, typer.Option("--store", metavar="STORE", help="A store's name, or its URL.")]
LexicalStoreName = Annotated[
    str | None, typer.Option("--lexical-store", metavar="STORE", help="Where words are searched, if elsewhere.")
]
BusyShare = Annotated[
    float, typer.Option("--busy-share", metavar="S", help="Share of the time that the model may work for it.")
]
Share = Annotated[float, typer.Option("--share", metavar="S", help="From 0 to 1.", min=0.0, max=1.0)]
Queries = Annotated[
    Path | None, typer.Option("--queries", metavar="FILE", help="Judged queries, as JSON lines.", exists=True)
]
Qrels = Annotated[Path | None, typer.Option("--qrels", metavar="FILE", help="Their judgements.", exists=True)]


@app.command()
@command
def plan(
    shell: Shell,
    collection: Collection,
    model: ModelName = None,
    precision: PrecisionName = None,
    dimensions: Dimensions = None,
    document_prompt: DocumentPrompt = None,
    query_prompt: QueryPrompt = None,
    chunker: ChunkerName = None,
    chunk_tokens: ChunkTokens = None,
    analyzer: AnalyzerName = None,
    store: StoreName = None,
    lexical_store: LexicalStoreName = None,
) -> None:
    """Say what an upgrade would take: chunks, tokens, cost, time, disk. No model is called."""
    with shell.house() as house, shell.progress() as progress:
        options = _options(
            house.collections.get(collection),
            {"model": model, "precision": precision, "dimensions": dimensions},
            prompts(document_prompt, query_prompt),
            (chunker, chunk_tokens, analyzer),
            {"store": store, "lexical_store": lexical_store},
        )
        found = house.upgrades.plan(collection, progress=progress, **options)
    shell.show(found, lambda console: _render_plan(console, found))


@app.command()
@command
def start(
    shell: Shell,
    collection: Collection,
    model: ModelName = None,
    precision: PrecisionName = None,
    dimensions: Dimensions = None,
    document_prompt: DocumentPrompt = None,
    query_prompt: QueryPrompt = None,
    chunker: ChunkerName = None,
    chunk_tokens: ChunkTokens = None,
    analyzer: AnalyzerName = None,
    store: StoreName = None,
    lexical_store: LexicalStoreName = None,
    busy_share: BusyShare = 1.0,
    detach: Annotated[bool, typer.Option("--detach", help="Let the running server build, and return.")] = False,
) -> None:
    """Build the next generation beside the live one. Interrupted, `upgrade resume` goes on."""
    with shell.house() as house, shell.progress() as progress:
        options = _options(
            house.collections.get(collection),
            {"model": model, "precision": precision, "dimensions": dimensions},
            prompts(document_prompt, query_prompt),
            (chunker, chunk_tokens, analyzer),
            {"store": store, "lexical_store": lexical_store},
        )
        found = house.upgrades.start(
            collection, busy_share=busy_share, wait=not detach, progress=progress, **options
        )
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def resume(shell: Shell, collection: Collection) -> None:
    """Go on with a build that was paused or stopped."""
    with shell.house() as house, shell.progress() as progress:
        found = house.upgrades.resume(collection, progress=progress)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def pause(shell: Shell, collection: Collection) -> None:
    """Stop building after the batch under way; nothing is lost."""
    with shell.house() as house:
        found = house.upgrades.pause(collection)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def cancel(shell: Shell, collection: Collection) -> None:
    """Give up the generation that is built or shadowed, and free its disk."""
    with shell.house() as house:
        found = house.upgrades.cancel(collection)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def status(shell: Shell, collection: Collection) -> None:
    """Show every generation: state, progress, rate, time left, lag."""
    with shell.house() as house:
        found = house.upgrades.status(collection)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def shadow(shell: Shell, collection: Collection, share: Share = 0.1) -> None:
    """Run a share of the live queries on the new generation too, and record how it answers."""
    with shell.house() as house:
        found = house.upgrades.shadow(collection, share)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def split(shell: Shell, collection: Collection, share: Share = 0.5) -> None:
    """Let the new generation answer a share of the callers, each always the same way."""
    with shell.house() as house:
        found = house.upgrades.split(collection, share)
    shell.show(found, lambda console: _render_status(console, found))


@app.command()
@command
def report(shell: Shell, collection: Collection, queries: Queries = None, qrels: Qrels = None) -> None:
    """Compare the shadow with the live generation, on live queries and on judged ones."""
    with shell.house() as house, shell.progress() as progress:
        found = house.upgrades.report(collection, queries=queries, qrels=qrels, progress=progress)
    shell.show(found, lambda console: _render_report(console, found))


@app.command()
@command
def promote(
    shell: Shell,
    collection: Collection,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="GATE", help="As 'nDCG@10 >= live - 0.005'; may be given several times."),
    ] = None,
    queries: Queries = None,
    qrels: Qrels = None,
    without_shadow: Annotated[
        bool, typer.Option("--without-shadow", help="Although nothing is known of how it answers.")
    ] = False,
) -> None:
    """Make the new generation live, if it is complete, verified, and every gate holds."""
    with shell.house() as house, shell.progress() as progress:
        found = house.upgrades.promote(
            collection,
            require=require or (),
            queries=queries,
            qrels=qrels,
            without_shadow=without_shadow,
            progress=progress,
        )
    shell.show(found, lambda console: render_promotion(console, found))


@app.command()
@command
def rollback(shell: Shell, collection: Collection) -> None:
    """Make the old generation live again, at once."""
    with shell.house() as house:
        found = house.upgrades.rollback(collection)
    shell.show(found, lambda console: render_promotion(console, found))


@app.command()
@command
def drop(shell: Shell, collection: Collection) -> None:
    """End the standby and free its disk. There is no way back then."""
    with shell.house() as house:
        found = house.upgrades.drop(collection)
    shell.show(found, lambda console: _render_status(console, found))


def _options(
    info: Any,
    model: dict[str, Any],
    own_prompts: Any,
    cut: tuple[str | None, int | None, str | None],
    stores: dict[str, str | None],
) -> dict[str, Any]:
    """The options that were given; chunking and words like the collection's in what was not."""
    import msgspec

    chunker, chunk_tokens, analyzer = cut
    given: dict[str, Any] = {**model, **stores, "prompts": own_prompts}
    changes = {"chunker": chunker, "max_tokens": chunk_tokens}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        given["chunking"] = msgspec.convert(msgspec.structs.asdict(info.chunking) | changes, type(info.chunking))
    if analyzer is not None:
        given["lexical"] = msgspec.structs.replace(info.lexical, analyzer=analyzer)
    return {name: value for name, value in given.items() if value is not None}


def _render_plan(console: Console, plan: UpgradePlan) -> None:
    from embedhouse.cli import render

    cost = "no known price" if plan.usd is None else f"{plan.usd:.4f} USD"
    time = (
        "not known: nothing was measured with this model yet" if plan.seconds is None else _duration(plan.seconds)
    )
    render.pairs(
        console,
        {
            "collection": plan.collection,
            "model": plan.model,
            "space": f"{plan.space[:12]}{' (as now)' if plan.same_space else ''}",
            "documents": plan.documents,
            "chunks": f"{plan.chunks:,} ({plan.uncached_chunks:,} not in the cache)",
            "tokens": plan.tokens,
            "cost": cost,
            "time": time,
            "disk": f"about {plan.disk_bytes / 1e6:,.0f} MB",
        },
    )


def _render_status(console: Console, status: UpgradeStatus) -> None:
    from embedhouse.cli import render

    columns = ["generation", "state", "model", "precision", "store", "chunks", "lag", "progress"]
    rows = [
        (
            each.id,
            each.state,
            each.model,
            each.precision,
            " + ".join(filter(None, (each.store, each.lexical_store))),
            each.chunks,
            each.pending_chunks,
            _progress(each),
        )
        for each in status.generations
    ]
    render.table(console, columns, rows, right="chunks lag")


def _progress(found: GenerationStatus) -> str:
    if found.stage is None:
        return ""
    if found.error:
        return f"stopped: {found.error}"
    parts = []
    if found.stage != "complete":
        left = "" if found.seconds_left is None else f", {_duration(found.seconds_left)} left"
        share = f"{found.documents:,} of {found.total:,} documents"
        parts.append(f"{found.stage}: {share}, {found.chunks_per_s:,.0f} chunks/s{left}")
    if found.shadow_share:
        parts.append(f"shadows {found.shadow_share:.0%} of queries")
    if found.shadow_queries:
        parts.append(f"{found.shadow_queries:,} compared")
    if found.traffic_share:
        parts.append(f"answers {found.traffic_share:.0%} of callers")
    return "; ".join(parts)


def _render_report(console: Console, report: ShadowReport) -> None:
    from embedhouse.cli import render

    values: dict[str, object] = {"queries on both": report.queries}
    if report.overlap_at_10 is not None:
        values["overlap@10"] = report.overlap_at_10
    if report.rank_correlation is not None:
        values["rank correlation"] = report.rank_correlation
    for name, latency in (("live", report.live), ("new", report.shadow)):
        if latency is not None:
            values[f"{name}, ms"] = f"p50 {latency.p50_ms:.1f}, p99 {latency.p99_ms:.1f}"
    render.pairs(console, values)
    if report.judged:
        rows = [
            (
                each.measure,
                f"{each.live:.4f}",
                f"{each.shadow:.4f}",
                f"{each.difference:+.4f} [{each.low:+.4f}, {each.high:+.4f}]",
                each.queries,
            )
            for each in report.judged
        ]
        render.table(console, ["measure", "live", "new", "difference, 95 %", "queries"], rows, right="queries")
    if report.most_changed:
        changed = [(each.query, f"{each.overlap:.0%}") for each in report.most_changed]
        render.table(console, ["queries that changed most", "overlap@10"], changed)


def render_promotion(console: Console, promotion: Promotion) -> None:
    """What is live now, and how to take it back."""
    console.print(
        f"Generation {promotion.live} of {promotion.collection} is live; {promotion.standby} stands by "
        f"(flipped in {promotion.flip_ms:.1f} ms)."
    )
    for gate in promotion.gates:
        console.print(f"  {gate}")
    console.print(
        f"`embedhouse upgrade rollback {promotion.collection}` goes back; `embedhouse upgrade drop "
        f"{promotion.collection}` ends the standby.",
        style="dim",
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
