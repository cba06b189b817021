"""The ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.datastructures import State

from embedhouse.api.bodies import IncomingDocument
from embedhouse.api.bound_keys import refuse_bound_keys
from embedhouse.api.errors import EXCEPTION_HANDLERS
from embedhouse.api.gate import Gate, check_listening
from embedhouse.api.reference import API_ROUTES, ROUTES
from embedhouse.api.requests import ApiRequest, decode_document
from embedhouse.api.served import ServedHouse
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["create_app", "create_app_for"]


def create_app(house: House, settings: Settings) -> Litestar:
    """The application of a house that is open. The application closes it when it shuts down.

    Errors: InvalidSetting for a host beyond loopback without an API key.
    """
    check_listening(settings, lambda: house.keys.any)
    return create_app_for(ServedHouse(lambda: house, settings))


def create_app_for(
    served: ServedHouse,
    *,
    on_open: Callable[[], None] | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
) -> Litestar:
    """The application of a house that opens while the server answers `/health` already. Its caller has checked
    where it listens."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        opening = asyncio.create_task(_open(served, on_open, on_failure))
        try:
            yield
        finally:
            served.begin_closing()
            await _finish(opening)
            await served.close()

    app = Litestar(
        [*API_ROUTES, *ROUTES],
        guards=[refuse_bound_keys],
        lifespan=[lifespan],
        state=State({"served": served}, deep_copy=False),
        request_class=ApiRequest,
        request_max_body_size=served.settings.max_body_bytes,
        exception_handlers=EXCEPTION_HANDLERS,
        type_decoders=[(lambda kind: kind is IncomingDocument, decode_document)],
        openapi_config=None,
        logging_config=None,
    )
    app.asgi_handler = Gate(app.asgi_handler, served)
    return app


async def _open(
    served: ServedHouse,
    on_open: Callable[[], None] | None,
    on_failure: Callable[[BaseException], None] | None,
) -> None:
    try:
        await served.open()
        if on_open is not None:
            on_open()
    except Exception as error:
        if on_failure is None:
            raise
        on_failure(error)
        return
    await served.warm_up()


async def _finish(opening: asyncio.Task[None]) -> None:
    # The thread that opens or loads cannot be stopped: `close` waits for it. Only its waiting ends here.
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening
