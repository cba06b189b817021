"""`embedhouse status`: the whole house on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.reports import CacheStatus, HouseStatus


@command
def status(shell: Shell) -> None:
    """Show what the house holds, and whether all of it is in its place."""
    with shell.house() as house:
        report = house.status()
    shell.show(report, lambda console: _render(console, report))


def _cache(cache: CacheStatus) -> str:
    """Sizes, then what was counted since the process started, as far as it is worth a word."""
    if cache.backend == "none":
        return "none"
    size = "does not answer" if cache.vectors is None else f"{cache.vectors:,} vectors"
    if cache.bytes is not None:
        size += f", {cache.bytes / 1e6:,.1f} MB"
    counts = {
        "found": cache.hits,
        "not found": cache.misses,
        "shared": cache.shared,
        "foreign": cache.foreign_entries,
        "damaged": cache.damaged_entries,
        "files set aside": cache.files_set_aside,
        "evicted": cache.evicted,
        "failures": cache.failures,
    }
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    return f"{cache.backend}: {size}" + (f" ({', '.join(told)})" if told else "")


def _render(console: Console, report: HouseStatus) -> None:
    from embedhouse.cli import render
    from embedhouse.cli.usage import render_budgets

    state = "clean" if report.clean else "not clean: something is pending, dead or damaged"
    render.pairs(
        console,
        {
            "home": report.home,
            "state": state,
            "server": report.server or "none is running",
            "vector cache": _cache(report.cache),
            "version": report.version,
        },
    )
    rows = [(c.name, c.documents, c.chunks, c.pending_chunks, c.dead_letters, c.model) for c in report.collections]
    columns = ["collection", "documents", "chunks", "pending", "dead", "model"]
    render.table(console, columns, rows, right="documents chunks pending dead")
    for space in report.spaces:
        if space.frozen:
            console.print(f"frozen: {space.model}, because {space.reason}", style="yellow")
    if report.budgets:
        render_budgets(console, report.budgets)
