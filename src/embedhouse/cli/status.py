"""`embedhouse status`: the whole house on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.reports import HouseStatus


@command
def status(shell: Shell) -> None:
    """Show what the house holds, and whether all of it is in its place."""
    with shell.house() as house:
        report = house.status()
    shell.show(report, lambda console: _render(console, report))


def _render(console: Console, report: HouseStatus) -> None:
    from embedhouse.cli import render

    state = "clean" if report.clean else "not clean: something is pending, dead or damaged"
    render.pairs(
        console,
        {
            "home": report.home,
            "state": state,
            "server": report.server or "none is running",
            "cached vectors": report.cached_vectors,
            "version": report.version,
        },
    )
    rows = [(c.name, c.documents, c.chunks, c.pending_chunks, c.dead_letters, c.model) for c in report.collections]
    columns = ["collection", "documents", "chunks", "pending", "dead", "model"]
    render.table(console, columns, rows, right="documents chunks pending dead")
