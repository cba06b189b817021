"""Requests to one model of one provider: paced, tried again, metered, and cut off from a dead provider."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec
import stamina

from embedhouse.domain.errors import ProviderUnavailable
from embedhouse.domain.models import ProviderSettings, Spent
from embedhouse.domain.spaces import Lane, Role
from embedhouse.models.remote.answers import Answer
from embedhouse.models.remote.api import EmbeddingApi
from embedhouse.models.remote.breaker import Breaker
from embedhouse.models.remote.failures import CallFailed
from embedhouse.models.remote.pacing import Pace, Turn
from embedhouse.models.remote.retries import Retries
from embedhouse.ports import Meter

__all__ = ["Connection", "Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Texts for one request, and about how many tokens they are."""

    texts: Sequence[str]
    role: Role
    lane: Lane
    tokens: int
    dimensions: int | None


class Connection:
    """Shared by all who use that model there, so that they keep its limits together. Used on one event loop.

    `name` is the provider's in the settings; `model` as the user names it.
    """

    def __init__(self, name: str, model: str, settings: ProviderSettings, api: EmbeddingApi, meter: Meter) -> None:
        self.name = name
        self.model = model
        self.settings = settings
        self._api = api
        self._meter = meter
        self._breaker = Breaker()
        self._pace = Pace(settings)

    @property
    def most_tokens_at_once(self) -> float:
        """A request of more tokens would never be let through; infinite as far as is known."""
        return self._pace.most_tokens_at_once

    async def ask(self, request: Request, within_s: float) -> Answer:
        """The answer, after retries where they can help.

        Errors: ProviderUnavailable (also where too many calls failed before this one), ProviderRateLimited,
        ProviderRefused, ProviderUnauthorized, UnknownModel, ProviderError, BudgetExceeded.
        """
        retries = Retries(min(self.settings.total_timeout_s, within_s))
        try:
            async for attempt in stamina.retry_context(on=retries, attempts=None, timeout=None):
                with attempt:
                    return await self._try(request, retries, is_retry=attempt.num > 1)
        except CallFailed as failure:
            raise failure.as_error(self.name, self.settings.kind, self.model, retries.waited_s) from None
        raise AssertionError("a retry context ends with a result or an error")

    def allow(self, lane: Lane, tokens: int) -> None:
        """Before several requests of so many tokens together: what is paid for must not be lost because the last of
        them is over a budget. Errors: BudgetExceeded."""
        self._meter.allow(provider=self.name, model=self.model, lane=lane, tokens=tokens)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _try(self, request: Request, retries: Retries, *, is_retry: bool) -> Answer:
        async with self._pace.turn(request.tokens, request.lane) as turn:
            self._meter.allow(provider=self.name, model=self.model, lane=request.lane, tokens=request.tokens)
            refusal = self._breaker.refusal(time.monotonic())
            if refusal is not None:
                raise ProviderUnavailable(provider=self.name, reason=refusal)
            retries.begin()
            began = time.monotonic()
            answer: Answer | None = None
            try:
                answer = await self._send(request, turn, retries)
                return answer
            finally:
                self._record(request, answer, time.monotonic() - began, is_retry=is_retry)

    async def _send(self, request: Request, turn: Turn, retries: Retries) -> Answer:
        try:
            answer = await self._answer(request)
        except CallFailed as failure:
            if failure.unavailable:
                # Once it is open nobody tries again, whoever waits included.
                failure.final |= self._breaker.failed(failure.reason, time.monotonic())
            else:
                self._breaker.answered()
            if failure.rate_limited:
                turn.refused(failure.headers, retries.wait_after(failure))
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.answered()
        turn.answered(answer.headers, answer.tokens)
        return answer

    async def _answer(self, request: Request) -> Answer:
        """The SDK's time limits are between two bytes; this one is of the whole."""
        timeout_s = self.settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._api.embed(request.texts, request.role, request.dimensions)
        except TimeoutError:
            raise CallFailed(f"it did not answer within {timeout_s:g} s") from None

    def _record(self, request: Request, answer: Answer | None, seconds: float, *, is_retry: bool) -> None:
        tokens = 0
        if answer is not None:
            tokens = request.tokens if answer.tokens is None else answer.tokens
        self._meter.record(
            Spent(
                provider=self.name,
                model=self.model,
                lane=request.lane,
                items=len(request.texts) if answer is not None else 0,
                tokens=tokens,
                requests=1,
                retries=int(is_retry),
                seconds=seconds,
            )
        )
