"""An embedder whose model others serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings, Vectors
from embedhouse.domain.errors import (
    CapabilityMissing,
    EmbedhouseError,
    InvalidSetting,
    ProviderError,
    ProviderRefused,
    TooLarge,
)
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.models.remote.answers import Answer, apportioned, checked_vectors, normalised
from embedhouse.models.remote.batching import RequestLimits, split
from embedhouse.models.remote.connection import Connection, Request
from embedhouse.models.remote.loop import LoopThread
from embedhouse.models.remote.tokens import ProviderTokenizer

__all__ = ["RemoteEmbedder", "RemoteModel", "probe_dimensions"]

_PROBE = "dimensions"


class RemoteModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is decided of a model before its first request.

    whole_dimensions: of vectors when no number is asked for; None where that is not documented. refuses_long: the
    provider itself refuses a text over the window, and never cuts it.
    """

    space: Space
    tokenizer: ProviderTokenizer
    limits: RequestLimits
    whole_dimensions: int | None
    refuses_long: bool


class RemoteEmbedder:
    """Implements ports.Embedder over a connection. Thread-safe: requests run on the loop's thread, several at once,
    those of one call among each other too."""

    def __init__(self, model: RemoteModel, connection: Connection, loop: LoopThread) -> None:
        self._model = model
        self._connection = connection
        self._loop = loop
        self._whole_dimensions = model.whole_dimensions
        self._was_accepted = False

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._model.space

    @property
    def tokenizer(self) -> ProviderTokenizer:
        """Counts as the provider does, or estimates on the high side."""
        return self._model.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """Vectors (n_texts, dimensions) float32 in the caller's order.

        `token_counts` add up to what the provider billed; nothing is ever cut, so `dropped_counts` are 0.
        Errors: InvalidText and TooLarge (before anything is sent), DeadlineExceeded, Cancelled, BudgetExceeded,
        MissingExtra, ProviderError and those below it, UnknownModel.
        """
        for place, text in enumerate(texts):
            check_text(text, f"at place {place}")
        prompt = self.space.prompt(role)
        whole = [prompt + text for text in texts]
        counts = [count + self.tokenizer.special_count for count in self.tokenizer.count(whole)]
        self._check_window(counts)
        self._connection.allow(lane, sum(counts))
        work = self._embed(whole, counts, role, lane, deadline)
        vectors, tokens = self._loop.run(work, deadline, f"waiting for {self._connection.name}")
        return Embeddings(vectors=vectors, token_counts=tokens, dropped_counts=np.zeros(len(texts), np.int64))

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """Errors: CapabilityMissing, always: providers return one vector a text."""
        raise CapabilityMissing(
            part=f"Provider {self._connection.name}", capability="token vectors", remedy="Use a local model."
        )

    def close(self) -> None:
        """Nothing: the connection is shared, and is closed by whoever opened it."""

    def _check_window(self, counts: Sequence[int]) -> None:
        """An estimate over the window refuses only where the provider might cut the text in silence."""
        if self._model.refuses_long and not self.tokenizer.exact:
            return
        limit = self.space.max_tokens
        for place, count in enumerate(counts):
            if count > limit:
                about = "" if self.tokenizer.exact else "some "
                raise TooLarge(
                    what=f"The text at place {place}",
                    size=f"{about}{count} tokens",
                    limit=f"{limit} of {self.space.model}",
                    remedy="Cut it into chunks. What the model truly reads can be set: max_text_tokens of "
                    f"[providers.{self._connection.name}].",
                )

    async def _embed(
        self, texts: Sequence[str], counts: Sequence[int], role: Role, lane: Lane, deadline: Deadline
    ) -> tuple[Vectors, npt.NDArray[np.int64]]:
        vectors = np.empty((len(texts), self.space.dimensions), np.float32)
        tokens = np.zeros(len(texts), np.int64)
        asked = await self._asked_dimensions(role, lane, deadline) if texts else None

        async def ask(rows: range) -> None:
            own = [counts[row] for row in rows]
            request = Request(
                texts=[texts[row] for row in rows], role=role, lane=lane, tokens=sum(own), dimensions=asked
            )
            answer = await self._answer(request, deadline)
            found = checked_vectors(answer, len(rows), self.space.dimensions, self._connection.name)
            vectors[rows.start : rows.stop] = normalised(found)
            tokens[rows.start : rows.stop] = apportioned(own, answer.tokens)

        await _each(ask, split(counts, self._limits()), at_once=self._connection.settings.max_concurrency)
        return vectors, tokens

    async def _answer(self, request: Request, deadline: Deadline) -> Answer:
        """Errors: ProviderRefused where the texts are to blame, ProviderError where any text would be refused."""
        try:
            answer = await self._connection.ask(request, deadline.remaining_s)
        except ProviderRefused as refusal:
            if not self._was_accepted:
                await self._blame(request, refusal, deadline)
            raise
        self._was_accepted = True
        return answer

    async def _blame(self, refused: Request, refusal: ProviderRefused, deadline: Deadline) -> None:
        """Errors: ProviderError if one plain word is refused as well."""
        plain = msgspec.structs.replace(refused, texts=[_PROBE], tokens=1)
        try:
            await self._connection.ask(plain, deadline.remaining_s)
        except ProviderRefused:
            reason = f"it refuses any text: {refusal.fields['reason']}"
            raise ProviderError(provider=self._connection.name, reason=reason) from None
        self._was_accepted = True

    def _limits(self) -> RequestLimits:
        limits = self._model.limits
        most = min(float(limits.tokens), self._connection.most_tokens_at_once)
        return msgspec.structs.replace(limits, tokens=int(most))

    async def _asked_dimensions(self, role: Role, lane: Lane, deadline: Deadline) -> int | None:
        """The number to ask for; None where the model has as many by itself, since many servers refuse any number.

        Errors: InvalidSetting where it has fewer.
        """
        wanted = self.space.dimensions
        if self._whole_dimensions is None:
            self._whole_dimensions = await probe_dimensions(self._connection, role, lane, deadline)
        if wanted > self._whole_dimensions:
            reason = f"{self.space.model} has {self._whole_dimensions} dimensions at {self._connection.name}"
            raise InvalidSetting(name="dimensions", origin=str(wanted), reason=reason)
        return None if wanted == self._whole_dimensions else wanted


async def probe_dimensions(connection: Connection, role: Role, lane: Lane, deadline: Deadline) -> int:
    """How many dimensions the model's vectors have: one word is embedded to see."""
    request = Request(texts=[_PROBE], role=role, lane=lane, tokens=1, dimensions=None)
    answer = await connection.ask(request, deadline.remaining_s)
    return int(checked_vectors(answer, 1, None, connection.name).shape[1])


async def _each(ask: Callable[[range], Awaitable[None]], requests: Iterator[range], at_once: int) -> None:
    """Ask for all, so many at once; the first failure ends the others, and is the one that is raised."""

    async def work() -> None:
        for rows in requests:
            await ask(rows)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    ours = [error for error in failures.exceptions if isinstance(error, EmbedhouseError)]
    return ours[0] if ours else failures.exceptions[0]
