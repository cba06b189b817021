"""A real server of a real house, on a free port, in a thread of the test's process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from embedhouse.api.server import HouseServer
from embedhouse.house import House
from embedhouse.settings import load_settings
from embedhouse.wiring import open_house

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


@contextlib.contextmanager
def serving(home: Path, model: Path, open: Callable[..., House] = open_house, **settings: object) -> Iterator[str]:
    """The URL of the server; it has stopped and closed its house at the end."""
    given = load_settings({"home": home, "model": str(model), "offline": True, "port": 0, **settings}, {})
    ready = threading.Event()
    server = HouseServer(open, given, on_ready=lambda _: ready.set())
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        assert ready.wait(START_TIMEOUT_S)
        yield server.url
    finally:
        server.should_exit = True
        thread.join(STOP_TIMEOUT_S)
        assert not thread.is_alive()
