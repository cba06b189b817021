"""Runs the application under uvicorn."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from embedhouse.api.app import create_app_for
from embedhouse.api.gate import check_listening
from embedhouse.api.served import ServedHouse
from embedhouse.domain.errors import InvalidSetting
from embedhouse.settings import Settings
from embedhouse.wiring.keys import has_keys

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["HouseServer", "serve"]

_BACKLOG = 512
_GRACE_S = 5


def serve(
    open_house: Callable[[Settings], House],
    settings: Settings,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way, close the house and return.

    `/health` answers before the house is open. `on_ready` gets the server's URL once it is, in the event loop's
    thread. Port 0 takes a free port.
    Errors: InvalidSetting for a host or port that cannot be listened on, and whatever opening the house raises.
    """
    HouseServer(open_house, settings, on_ready=on_ready).run_until_stopped()


class HouseServer(uvicorn.Server):
    """One server of one house. `url` and `listening` are known at once; `should_exit = True` stops it."""

    def __init__(
        self,
        open_house: Callable[[Settings], House],
        settings: Settings,
        *,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        check_listening(settings, lambda: has_keys(settings))
        self._served = ServedHouse(lambda: open_house(settings), settings)
        self._on_ready = on_ready
        self._failure: BaseException | None = None
        self.listening = _listen(settings)
        self.url = _url(self.listening, settings.host)
        app = create_app_for(self._served, on_open=self._opened, on_failure=self._failed)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                lifespan="on",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=math.ceil(settings.request_timeout_s) + _GRACE_S,
            )
        )

    def run_until_stopped(self) -> None:
        """Serve, and raise what kept the house from opening."""
        try:
            self.run(sockets=[self.listening])
        finally:
            self.listening.close()
        if self._failure is not None:
            raise self._failure

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is new, end long jobs, and finish the rest."""
        self._served.begin_closing()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again at the end: a stop that was asked for is no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _opened(self) -> None:
        self._served.house.announce(self.url)
        if self._on_ready is not None:
            self._on_ready(self.url)

    def _failed(self, error: BaseException) -> None:
        self._failure = error
        self.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With the protocol named, asyncio switches Nagle's algorithm off: else an answer in two parts waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host.strip("[]"), settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
        raise InvalidSetting(name="port", origin=settings.origins.get("port", "default"), reason=reason) from None
    return listening


def _url(listening: socket.socket, host: str) -> str:
    port = listening.getsockname()[1]
    name = host.strip("[]")
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
