"""`embedhouse index`: files and folders into a collection."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection, DocumentPrompt, ModelName, PrecisionName, QueryPrompt, prompts
from embedhouse.cli.shell import Shell
from embedhouse.domain.collections import ChunkerName, ChunkingSettings, CollectionOptions
from embedhouse.domain.error_status import status_of
from embedhouse.domain.errors import UnreadableSource
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.reports import Failure, IndexPlan, IndexReport
    from embedhouse.settings import Settings

_CHUNKING = ("chunker", "chunk_tokens", "chunk_overlap_tokens", "with_context")
_FAILURES_SHOWN = 10


Dimensions = Annotated[
    int | None, typer.Option("--dimensions", metavar="N", help="Cut vectors to N numbers and normalise again.")
]
Include = Annotated[
    list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these files, as in .gitignore.")
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these files, as in .gitignore.")
]
NoIgnoreFiles = Annotated[
    bool, typer.Option("--no-ignore-files", help="Read what .gitignore and .embedhouseignore leave out, too.")
]
IdField = Annotated[
    str | None, typer.Option("--id-field", metavar="NAME", help="The id's field in rows (JSONL, CSV, Parquet).")
]
TitleField = Annotated[str | None, typer.Option("--title-field", metavar="NAME", help="The title's field in rows.")]
TextField = Annotated[str | None, typer.Option("--text-field", metavar="NAME", help="The text's field in rows.")]
Chunker = Annotated[
    ChunkerName | None, typer.Option("--chunker", help="How documents are cut. [default: markdown]")
]
ChunkTokens = Annotated[
    int | None, typer.Option("--chunk-tokens", metavar="N", help="Tokens a chunk at most. [default: 200]")
]
ChunkOverlapTokens = Annotated[
    int | None,
    typer.Option("--chunk-overlap-tokens", metavar="N", help="Tokens shared by windows. [default: 0]"),
]
WithContext = Annotated[
    bool | None,
    typer.Option("--with-context/--without-context", help="Embed title and headings with each chunk."),
]
Prune = Annotated[bool, typer.Option("--prune", help="Delete documents of these paths whose files are gone.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be done, what it costs and how long it takes, and do nothing."),
]
IntoNamespace = Annotated[
    str, typer.Option("--namespace", metavar="N", help="Put all documents into this namespace.")
]
Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")]


@partial(command, sets=_CHUNKING)
def index(
    shell: Shell,
    collection: Collection,
    paths: Paths,
    model: ModelName = None,
    precision: PrecisionName = None,
    dimensions: Dimensions = None,
    document_prompt: DocumentPrompt = None,
    query_prompt: QueryPrompt = None,
    include: Include = None,
    exclude: Exclude = None,
    no_ignore_files: NoIgnoreFiles = False,
    id_field: IdField = None,
    title_field: TitleField = None,
    text_field: TextField = None,
    chunker: Chunker = None,
    chunk_tokens: ChunkTokens = None,
    chunk_overlap_tokens: ChunkOverlapTokens = None,
    with_context: WithContext = None,
    prune: Prune = False,
    dry_run: DryRun = False,
    namespace: IntoNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Read files and folders into a collection, and make it if need be.

    Text, Markdown, HTML, PDF, DOCX, CSV, JSONL and Parquet. What did not change costs nothing; what cannot be
    read is named and never stops the rest; the exit status is 5 where nothing at all could be read. Ctrl-C keeps
    what was done, and the next run goes on.
    """
    from embedhouse.sources import ReadSettings

    cut = chunker or chunk_tokens or chunk_overlap_tokens is not None or with_context is not None
    options = CollectionOptions(
        model=model,
        precision=precision,
        dimensions=dimensions,
        prompts=prompts(document_prompt, query_prompt),
        chunking=_chunking(shell.settings) if cut else None,
    )
    read = ReadSettings(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        ignore_files=not no_ignore_files,
        id_field=id_field,
        title_field=title_field,
        text_field=text_field,
        max_text_bytes=shell.settings.max_text_bytes,
    )
    with shell.house() as house, shell.progress() as progress:
        if dry_run:
            plan = house.plan_index(
                collection,
                paths,
                read=read,
                create=options,
                prune=prune,
                namespace=namespace,
                progress=progress,
            )
            shell.show(plan, lambda console: _render_plan(console, plan))
            note_failures(shell, plan.failures)
            return
        report = house.index(
            collection, paths, read=read, create=options, prune=prune, namespace=namespace, progress=progress
        )
    shell.show(report, lambda console: render_report(console, report))
    note_failures(shell, report.write.failures)
    if report.write.failures and not report.documents:
        raise typer.Exit(status_of(UnreadableSource).exit)


def note_failures(shell: Shell, failures: list[Failure]) -> None:
    """Name what did not go in, on stderr: the first few."""
    for failure in failures[:_FAILURES_SHOWN]:
        where = failure.source or failure.id
        # Most messages name their source themselves.
        shell.note(f"not indexed: {'' if where in failure.message else f'{where}: '}{failure.message}")
    if len(failures) > _FAILURES_SHOWN:
        shell.note(f"... and {len(failures) - _FAILURES_SHOWN} more: --json names them all")


def _chunking(settings: Settings) -> ChunkingSettings:
    return ChunkingSettings(
        chunker=settings.chunker,
        max_tokens=settings.chunk_tokens,
        overlap_tokens=settings.chunk_overlap_tokens,
        with_context=settings.with_context,
    )


def render_report(console: Console, report: IndexReport) -> None:
    """What changed, for people."""
    wrote = report.write
    changes = {
        "added": wrote.added,
        "updated": wrote.updated,
        "unchanged": wrote.unchanged,
        "deleted": wrote.deleted,
        "failed": len(wrote.failures),
    }
    console.print(f"{report.collection}: {_counted(changes) or 'nothing to do'}")
    console.print(
        f"{report.documents:,} documents, {report.chunks:,} chunks; {wrote.tokens:,} tokens embedded, "
        f"{wrote.cached_chunks:,} chunks from the cache; {report.seconds:.1f} s",
        style="dim",
    )
    _render_skipped(console, report.skipped)


def _render_plan(console: Console, plan: IndexPlan) -> None:
    from embedhouse.cli import render

    documents = {
        "new": plan.new,
        "changed": plan.changed,
        "with new metadata alone": plan.retagged,
        "unchanged": plan.unchanged,
        "to be deleted": plan.deleted,
        "not readable": len(plan.failures),
    }
    chunks = {
        "new": plan.new_chunks,
        "kept of changed documents": plan.kept_chunks,
        "gone": plan.gone_chunks,
        "waiting from before": plan.waiting_chunks,
    }
    render.pairs(
        console,
        {
            "collection": plan.collection,
            "model": f"{plan.provider}:{plan.model}",
            "documents": _counted(documents) or "none",
            "chunks": _counted(chunks) or "none",
            "to embed": f"{plan.uncached_chunks:,} chunks that are not in the cache, {plan.tokens:,} tokens",
            "cost": "unknown price" if plan.usd is None else f"{plan.usd:,.4f} USD",
            "time": _time(plan.seconds),
        },
    )
    _render_skipped(console, plan.skipped)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown: too little was embedded with this model so far"
    minutes = seconds / 60
    if minutes < 1:
        return f"about {seconds:.0f} s"
    return f"about {minutes:.0f} min" if minutes < 120 else f"about {minutes / 60:.1f} h"


def _render_skipped(console: Console, skipped: dict[str, int]) -> None:
    if skipped:
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))
        console.print(f"left out: {left_out}", style="dim")
