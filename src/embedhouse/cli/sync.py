"""`embedhouse sync`: bring a collection into step with its sources."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.syncing import SourceSync, SyncReport

__all__ = ["exit_status", "show_changes", "sync"]

_FAILURES_SHOWN = 10

Source = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME", help="Only this source; may be given again.")
]
AllowMassDelete = Annotated[
    bool,
    typer.Option("--allow-mass-delete", help="Delete even where most of a source's documents are gone from it."),
]
Full = Annotated[bool, typer.Option("--full", help="Read SQL sources whole, not only what changed since.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C, as sources change.")]
Every = Annotated[
    float, typer.Option("--every", metavar="SECONDS", min=0.1, help="With --watch: how often SQL sources are read.")
]


@command
def sync(
    shell: Shell,
    collection: Collection,
    source: Source = None,
    allow_mass_delete: AllowMassDelete = False,
    full: Full = False,
    watch: WatchOption = False,
    every: Every = 60.0,
) -> None:
    """Bring a collection into step with the sources that it is bound to.

    What differs goes in, what is gone goes out; what did not change costs nothing. The exit status is 0 only where
    the collection holds all that its sources hold: 5 where something could not be read, 4 where too much is gone
    (see --allow-mass-delete), 6 and 8 where the model or a store failed. Run it again: it goes on.
    """
    from embedhouse.cli.remote import RemoteHouse

    with shell.house() as house, shell.progress() as progress:
        options = {"sources": source, "allow_mass_delete": allow_mass_delete, "progress": progress}
        if not watch:
            report = house.sync(collection, full=full, **options)  # type: ignore[arg-type]
        elif isinstance(house, RemoteHouse):
            report = house.watch(collection, every_s=every, **options)  # type: ignore[arg-type]
        else:
            house.watch(collection, every_s=every, on_report=partial(show_changes, shell), **options)  # type: ignore[arg-type]
            return
    _show(shell, report)
    if (status := exit_status(report)) != 0:
        raise typer.Exit(status)


def exit_status(report: SyncReport) -> int:
    """0 where the collection is in step; else that of the first source that is not, by what went wrong."""
    from embedhouse.cli.wire import error_from_wire
    from embedhouse.domain.error_status import status_of
    from embedhouse.domain.errors import Overloaded, UnreadableSource

    for each in report.sources:
        if each.error is not None:
            return status_of(error_from_wire(each.error.code, each.error.message, {})).exit
    if any(each.outcome != "ok" for each in report.sources):
        return status_of(UnreadableSource).exit
    return status_of(Overloaded).exit if report.pending_chunks else 0


def show_changes(shell: Shell, report: SyncReport) -> None:
    """One run of a watch, if it did anything."""
    if any(each.outcome != "ok" or each.added or each.updated or each.deleted for each in report.sources):
        _show(shell, report)


def _show(shell: Shell, report: SyncReport) -> None:
    shell.show(report, lambda console: _render(console, report))
    for each in report.sources:
        if each.error is not None:
            shell.note(f"{each.source}: {each.error.message}")
        for failure in each.failures[:_FAILURES_SHOWN]:
            where = failure.source or failure.id
            shell.note(f"not in: {'' if where in failure.message else f'{where}: '}{failure.message}")
        if len(each.failures) > _FAILURES_SHOWN:
            shell.note(f"... and {len(each.failures) - _FAILURES_SHOWN} more: --json names them all")


def _render(console: Console, report: SyncReport) -> None:
    for each in report.sources:
        console.print(f"{each.source}: {_counted(each)}", style=None if each.outcome == "ok" else "yellow")
    console.print(
        f"{report.collection}: {report.documents:,} documents, {report.chunks:,} chunks; {report.tokens:,} tokens "
        f"embedded, {report.cached_chunks:,} chunks from the cache; {report.seconds:.1f} s",
        style="dim",
    )


def _counted(done: SourceSync) -> str:
    counts = {
        "added": done.added,
        "updated": done.updated,
        "unchanged": done.unchanged,
        "deleted": done.deleted,
        "renamed": done.renamed,
        "late or repeated": done.ignored,
        "failed": len(done.failures),
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return (told or "nothing to do") + ("; stopped" if done.error is not None else "")
