"""`embedhouse migrate`: the ledger's schema, brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedhouse.cli.command import command
from embedhouse.cli.shell import Shell

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.wiring.migration import Migrated


@command
def migrate(shell: Shell) -> None:
    """Bring the ledger's schema up to date, and make the ledger if need be.

    Every process does so when it opens the house. Run it first where several are about to start with a new version.
    """
    from embedhouse.wiring.migration import migrate_ledger

    done = migrate_ledger(shell.settings)
    shell.show(done, lambda console: _render(console, done))


def _render(console: Console, done: Migrated) -> None:
    steps = "1 migration" if len(done.applied) == 1 else f"{len(done.applied)} migrations"
    applied = f"{steps} applied" if done.applied else "nothing to do"
    console.print(f"{done.ledger}: schema {done.schema}, {applied}", soft_wrap=True)
