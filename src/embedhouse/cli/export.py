"""`embedhouse export` and `embedhouse import`: collections as Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.exports import ExportReport

__all__ = ["export", "import_"]


@command
def export(
    shell: Shell,
    collection: Collection,
    to: Annotated[
        Path,
        typer.Option(
            "--to",
            metavar="FOLDER_OR_FILE.parquet",
            help="A folder, which `embedhouse import` reads; or one file of chunks with their vectors.",
        ),
    ],
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", metavar="N", help="Only documents of this namespace.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that is there already.")
    ] = False,
) -> None:
    """Write documents, chunks and vectors to Parquet, with the space that the vectors are in.

    What is written is the collection at one moment; writes and searches go on meanwhile. Nothing is embedded: a
    chunk that was not embedded yet has no vector.
    """
    with shell.house() as house, shell.progress() as progress:
        report = house.export(collection, to, namespaces=namespace, overwrite=overwrite, progress=progress)
    shell.show(report, lambda console: _render(console, report))
    if report.without_vector:
        shell.note(f"{report.without_vector:,} chunks were not embedded yet: they are there without a vector")


@command
def import_(
    shell: Shell,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `embedhouse export` wrote.")],
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="NAME", help="Into this one. [default: as it was named]")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Where the model is here, if not where it was."),
    ] = None,
) -> None:
    """Read an export into a collection, and make it if need be. Vectors are not computed again.

    Vectors of another space than the collection's are refused, and so is a folder that is damaged. Ctrl-C keeps
    what was done, and the next run goes on.
    """
    from embedhouse.cli.index import note_failures, render_report

    with shell.house() as house, shell.progress() as progress:
        report = house.import_(folder, collection, model=model, progress=progress)
    shell.show(report, lambda console: render_report(console, report))
    note_failures(shell, report.write.failures)


def _render(console: Console, report: ExportReport) -> None:
    console.print(f"{report.collection}: {report.documents:,} documents, {report.chunks:,} chunks to {report.to}")
    size = f"{report.size_bytes / 1e6:,.1f} MB"
    console.print(f"{size}; space {report.space[:12]}; {report.seconds:.1f} s", style="dim")
