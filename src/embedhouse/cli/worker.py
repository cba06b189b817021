"""`embedhouse worker`: index what any process of a shared ledger has accepted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.connection import server_url
from embedhouse.cli.shell import Shell
from embedhouse.domain.deadline import Deadline

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.house.working import Worked

_FOLLOW_EVERY_S = 60.0


@command
def worker(
    shell: Shell,
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing waits any more.")] = False,
    poll_s: Annotated[float, typer.Option("--poll-s", min=0.05, help="Seconds between looks when idle.")] = 1.0,
) -> None:
    """Index what is accepted and keep collections in step with their sources, until Ctrl-C.

    Beside servers and other workers on the same ledger (ledger_url) any number may run: they share the work. One
    that is stopped finishes its batch; what one that dies was doing is taken over by the others. Beside a
    server that has the house for itself, which indexes what it accepts, it brings the server's collections into
    step with their sources, every minute.
    """
    from embedhouse.cli.logs import configure_logging
    from embedhouse.wiring import open_house

    settings = shell.settings
    url = settings.server_url or (None if settings.ledger_url else server_url(settings.home))
    configure_logging(settings.log_level)
    if url is not None:
        _follow(shell, url, once)
        return
    with _until_stopped() as stop, open_house(settings) as house, shell.progress() as on_progress:
        if not once:
            shell.note(f"Indexing what is accepted {'on the shared ledger' if settings.ledger_url else 'here'}")
        done = house.work(once=once, poll_s=poll_s, progress=on_progress, deadline=stop)
    shell.show(done, lambda console: _render(console, done))


def _follow(shell: Shell, url: str, once: bool) -> None:
    from embedhouse.cli.following import Following
    from embedhouse.cli.remote import RemoteHouse
    from embedhouse.cli.sync import show_changes

    shell.note(f"Keeping the collections of {url} in step with their sources")
    with _until_stopped() as stop, RemoteHouse(url, shell.settings) as house, shell.progress() as on_progress:
        following = Following(house, partial(show_changes, shell), on_progress)
        following.run(stop, once=once, every_s=_FOLLOW_EVERY_S)


@contextmanager
def _until_stopped() -> Iterator[Deadline]:
    """A deadline that SIGTERM and SIGINT cancel; a second one ends the process as usual."""
    stop = Deadline.never()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    wanted = (signal.SIGINT, signal.SIGTERM)
    previous = {int(number): signal.getsignal(number) for number in wanted}

    def cancel(number: int, _frame: object) -> None:
        stop.cancel()
        signal.signal(number, previous[number])

    for number in wanted:
        signal.signal(number, cancel)
    try:
        yield stop
    finally:
        for number in wanted:
            signal.signal(number, previous[int(number)])


def _render(console: Console, done: Worked) -> None:
    console.print(f"{done.changes} changes applied, {done.embedded_chunks} chunks embedded ({done.tokens} tokens)")
