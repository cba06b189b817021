"""`embedhouse verify` and `embedhouse dead-letters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.verification import DeadLetterInfo, VerifyReport

__all__ = ["dead_letters", "verify"]

_NOT_CLEAN = 1
_SHOWN = 50


@command
def verify(
    shell: Shell,
    collection: Collection,
    repair: Annotated[bool, typer.Option("--repair", help="Mend exactly what was found.")] = False,
) -> None:
    """Compare sources, ledger, vector cache and index, document by document. Exit status 1: not clean."""
    with shell.house() as house, shell.progress() as progress:
        report = house.verify(collection, repair=repair, progress=progress)
    shell.show(report, lambda console: _render(console, report))
    if not report.clean:
        raise typer.Exit(_NOT_CLEAN)


@command
def dead_letters(
    shell: Shell,
    collection: Collection,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="As listed; without them all.", show_default=False)
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Index them again.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Forget them: their texts are not searched.")] = False,
) -> None:
    """List what failed for good, with its reason; retry it, or drop it."""
    if retry and drop:
        raise typer.BadParameter("Either --retry or --drop.")
    with shell.house() as house:
        if retry or drop:
            count = (house.dead_letters.retry if retry else house.dead_letters.drop)(collection, ids or None)
            what = "retried" if retry else "dropped"
            shell.show({what: count}, lambda console: console.print(f"{count} {what}."))
            return
        found = [each for each in house.dead_letters.list(collection) if not ids or each.id in ids]
    shell.show({"dead_letters": found}, lambda console: _render_letters(console, found))


def _render(console: Console, report: VerifyReport) -> None:
    from embedhouse.cli import render

    checked = f"{report.documents:,} documents, {report.chunks:,} chunks compared in {report.seconds:.1f} s"
    console.print(f"{report.collection} is {'clean' if report.clean else 'not clean'}: {checked}.")
    if report.repaired:
        console.print(f"{report.repaired:,} repaired.")
    if report.unchecked_chunks:
        console.print(f"{report.unchecked_chunks:,} vectors are not in the cache: only their presence was checked.")
    if report.dead_letters:
        console.print(f"{report.dead_letters:,} dead letters: `embedhouse dead-letters {report.collection}`.")
    for source in report.sources:
        if not source.is_clean:
            parts = [
                f"{len(ids):,} {name}"
                for name, ids in (
                    ("missing", source.missing),
                    ("stale", source.stale),
                    ("orphaned", source.orphaned),
                )
                if ids
            ]
            console.print(f"source {source.source}: {', '.join(filter(None, [*parts, source.error]))}")
    if report.counts:
        console.print(", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in report.counts.items()))
        rows = [
            (each.kind.replace("_", " "), each.document_id, each.chunk_key or "", each.detail)
            for each in report.findings[:_SHOWN]
        ]
        render.table(console, ["finding", "document", "chunk", "what"], rows, right="chunk")
        if sum(report.counts.values()) > _SHOWN:
            console.print(f"The first {_SHOWN} are shown; --json lists more.", style="dim")
        console.print(f"`embedhouse verify {report.collection} --repair` mends it.", style="dim")


def _render_letters(console: Console, found: list[DeadLetterInfo]) -> None:
    from embedhouse.cli import render

    if not found:
        console.print("There are none.")
        return
    rows = [(each.id, each.document_id, each.where, each.message) for each in found]
    render.table(console, ["id", "document", "where", "reason"], rows)
