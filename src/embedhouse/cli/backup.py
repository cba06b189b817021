"""`embedhouse backup` and `embedhouse restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.backups import BackupReport, RestoreReport

__all__ = ["backup", "restore"]


@command
def backup(
    shell: Shell, to: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")]
) -> None:
    """Write ledger and vectors of the running house into one file with checksums."""
    with shell.house() as house, shell.progress() as progress:
        report = house.backup(to, progress=progress)
    shell.show(report, lambda console: _render_backup(console, report))


@command
def restore(
    shell: Shell,
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `embedhouse backup` wrote.")],
    same_house: Annotated[
        bool, typer.Option("--same-house", help="It takes the first one's place, with its indexes on servers.")
    ] = False,
) -> None:
    """Make a house of a backup in an empty --home, with its indexes. No model is called for what has its vector."""
    from embedhouse.wiring.restoring import restore as run

    with shell.progress() as progress:
        report = run(archive.expanduser(), shell.settings, same_house=same_house, progress=progress)
    shell.show(report, lambda console: _render_restore(console, report))


def _render_backup(console: Console, report: BackupReport) -> None:
    console.print(
        f"{report.file}: {report.size_bytes / 1e6:,.1f} MB, {report.collections} collections, "
        f"{report.documents:,} documents, {report.chunks:,} chunks; {report.seconds:.1f} s",
        soft_wrap=True,
    )
    if report.without_vector:
        console.print(f"{report.without_vector:,} chunks have no vector yet: they are embedded after a restore.")


def _render_restore(console: Console, report: RestoreReport) -> None:
    console.print(
        f"{report.home}: {report.collections} collections, {report.documents:,} documents, "
        f"{report.chunks:,} chunks; {report.seconds:.1f} s",
        soft_wrap=True,
    )
    if report.pending_chunks:
        console.print(f"{report.pending_chunks:,} chunks had no vector: they are embedded when the house is used.")
