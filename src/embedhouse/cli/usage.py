"""`embedhouse usage`: what embeddings took and cost, and what is left of the budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell
from embedhouse.domain.spending import UsageBy

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.domain.spending import BudgetUse, UsageReport, UsageTotals

_COLUMNS = ("tokens", "items", "cached", "requests", "retries", "seconds", "USD")
_NOBODY = {"caller": "(no key)", "collection": "(none)"}

By = Annotated[UsageBy, typer.Option("--by", help="What to group by.")]
Since = Annotated[str | None, typer.Option("--since", metavar="DATE", help="First day of UTC, as 2026-01-31.")]
Until = Annotated[str | None, typer.Option("--until", metavar="DATE", help="Last day of UTC.")]
OfCollection = Annotated[str | None, typer.Option("--collection", metavar="C", help="Of this collection.")]
OfProvider = Annotated[
    str | None, typer.Option("--provider", metavar="P", help="Of this provider; `local` is this machine.")
]
OfCaller = Annotated[str | None, typer.Option("--caller", metavar="NAME", help="Of this API key.")]


@command
def usage(
    shell: Shell,
    by: By = "day",
    since: Since = None,
    until: Until = None,
    collection: OfCollection = None,
    provider: OfProvider = None,
    caller: OfCaller = None,
) -> None:
    """Show what embeddings took and cost, and how much of each budget is used.

    `items` are texts that a model computed; `cached` came from the vector cache at no cost. Where the price of a
    model is not known it says so: set it as prices."PROVIDER:MODEL" in config.toml.
    """
    with shell.house() as house:
        report = house.usage.report(
            by, since=since, until=until, collection=collection, provider=provider, caller=caller
        )
    shell.show(report, lambda console: _render(console, report))


def _render(console: Console, report: UsageReport) -> None:
    from embedhouse.cli import render

    rows = [(row.group or _NOBODY.get(report.by, ""), *_cells(row)) for row in report.rows]
    render.table(
        console, [report.by, *_COLUMNS], [*rows, ("total", *_cells(report.total))], right=" ".join(_COLUMNS)
    )
    if report.budgets:
        render_budgets(console, report.budgets)


def _cells(row: UsageTotals) -> tuple[object, ...]:
    cached = f"{row.cached_items:,} ({row.cached_share:.0%})"
    return (row.tokens, row.items, cached, row.requests, row.retries, f"{row.seconds:,.1f}", _money(row))


def _money(row: UsageTotals) -> str:
    if row.usd is None:
        return "unknown price"
    return f"{row.usd:,.4f}" + (" + unknown price" if row.unpriced_tokens else "")


def render_budgets(console: Console, budgets: list[BudgetUse]) -> None:
    """How much of each budget is used, and when it begins anew."""
    from embedhouse.cli import render

    rows = [(use.budget, f"{use.spent_usd:,.4f}", f"{use.share:.0%}", use.resets_at) for use in budgets]
    render.table(console, ["budget", "spent", "used", "begins anew"], rows, right="spent used")
