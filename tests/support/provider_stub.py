"""A server of the tests' own that speaks OpenAI's, Azure's and Cohere's embedding APIs, with faults on demand.

    with ProviderStub() as stub:
        stub.faults.extend(["500", "cut"])      # of the next two requests
        client = openai.OpenAI(base_url=f"{stub.url}/v1", api_key=stub.key)

It runs on an event loop in a thread, on a free port of 127.0.0.1. A vector depends on model, input type and text.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "embed-english-v3.0": 1024,
    "embed-v4.0": 1536,
    "small": 16,
    "other": 24,
}
FAULTS = frozenset(
    {"400", "401", "404", "429", "429-retry-after", "429-date", "429-quota", "500", "503"}
    | {"cut", "drop", "hang", "slow", "json", "form"}
    | {"fewer", "more", "permuted", "twice", "dimensions", "ragged", "nan", "infinity", "zero"}
)
_SLOW_BYTE_S = 0.05


@dataclass
class Seen:
    """A request as it came in, and what became of it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    status: int = 0


@dataclass
class Bucket:
    """A limit that refills little by little, as OpenAI's do."""

    per_s: float
    capacity: float
    level: float = -1.0
    at: float = field(default_factory=time.monotonic)

    def take(self, now: float) -> bool:
        before = self.capacity if self.level < 0 else self.level
        self.level = min(self.capacity, before + (now - self.at) * self.per_s)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True

    def state(self, now: float) -> tuple[int, int, float]:
        return int(self.capacity), int(self.level), (self.capacity - self.level) / self.per_s


@dataclass
class Window:
    """A limit that begins anew all at once."""

    count: int
    seconds: float
    began: float = 0.0
    used: int = 0

    def take(self, now: float) -> bool:
        if now - self.began >= self.seconds:
            self.began, self.used = now, 0
        if self.used >= self.count:
            return False
        self.used += 1
        return True

    def state(self, now: float) -> tuple[int, int, float]:
        return self.count, self.count - self.used, max(0.0, self.began + self.seconds - now)


class ProviderStub:
    """Faults of the next requests stand in `faults`; `always` is the fault of every other one."""

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        limit: Bucket | Window | None = None,
        tells_limits: bool = True,
        retry_after_s: float = 0.2,
        max_tokens: int = 8191,
    ) -> None:
        self.key = "sk-stub-0123456789-secret"
        self.faults: deque[str] = deque()
        self.always = ""
        self.seen: list[Seen] = []
        self.latency_s = latency_s
        self.limit = limit
        self.tells_limits = tells_limits
        self.retry_after_s = retry_after_s
        self.max_tokens = max_tokens
        self.scale = 1.0
        self.model_version = ""
        """Another value: the provider changed its model under the same name."""
        self.cohere_forms = {"float", "base64"}
        self.client_gone = threading.Event()
        self.in_flight = self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider-stub")
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def statuses(self) -> list[int]:
        return [each.status for each in self.seen]

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def stop(self) -> None:
        """Be a dead server: nobody listens on the port any more."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection ends."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        seen = Seen(head[0].split(" ")[1], headers, body, time.monotonic())
        self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(seen, reader, writer)
        finally:
            self.in_flight -= 1

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        allowed = self.limit is None or self.limit.take(seen.at)
        told = self._limit_headers(seen.at)
        fault = self.faults.popleft() if self.faults else self.always
        assert not fault or fault in FAULTS, fault
        if fault == "drop":
            return False
        if fault == "hang":
            if await reader.read(1) == b"":
                self.client_gone.set()
            return False
        await asyncio.sleep(self.latency_s)
        if not allowed:
            return await _send(writer, seen, 429, _error("Rate limit reached"), told)
        status, content, extra = self._content(seen, fault)
        if fault == "cut":
            return await _send_half(writer, content)
        if fault == "slow":
            return await self._send_slowly(writer, content)
        return await _send(writer, seen, status, content, told | extra)

    def _limit_headers(self, now: float) -> dict[str, str]:
        if self.limit is None or not self.tells_limits:
            return {}
        limit, remaining, reset_s = self.limit.state(now)
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{round(reset_s * 1000)}ms",
        }

    def _content(self, seen: Seen, fault: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        if fault[:3].isdigit():
            return self._refusal(fault)
        if not self._knows_key(seen.headers):
            # As some servers do: the key that was sent stands in the message.
            sent = seen.headers.get("authorization", "") + seen.headers.get("api-key", "")
            return 401, _error(f"Incorrect API key provided: {sent}", "invalid_api_key"), {}
        if fault == "json":
            return 200, b'{"data": [{"index": 0, "embedd', {}
        if fault == "form":
            return 200, b'{"detail": "welcome"}', {}
        model = _model(seen)
        if model not in DIMENSIONS:
            return 404, _error(f"The model `{model}` does not exist", "model_not_found"), {}
        return self._embeddings(seen, model, fault)

    def _refusal(self, fault: str) -> tuple[int, bytes, dict[str, str]]:
        status = int(fault[:3])
        headers = {}
        if fault == "429-retry-after":
            headers = {"Retry-After": f"{self.retry_after_s:g}"}
        if fault == "429-date":
            then = time.time() + 2
            headers = {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(then))}
        code = "insufficient_quota" if fault == "429-quota" else str(status)
        return status, _error(f"fault {fault}", code), headers

    def _knows_key(self, headers: dict[str, str]) -> bool:
        return self.key in (headers.get("api-key"), headers.get("authorization", "").removeprefix("Bearer "))

    def _embeddings(self, seen: Seen, model: str, fault: str) -> tuple[int, bytes, dict[str, str]]:
        body = seen.body
        cohere = seen.path.startswith("/v2")
        if cohere and not set(body["embedding_types"]) <= self.cohere_forms:
            return 400, _error("embedding_types has a value that is not known"), {}
        texts: list[str] = body["texts"] if cohere else body["input"]
        counts = [max(1, len(text.split())) for text in texts]
        if max(counts, default=0) > self.max_tokens:
            return 400, _error(f"maximum context length is {self.max_tokens} tokens"), {}
        asked = body.get("output_dimension" if cohere else "dimensions")
        dimensions = asked or DIMENSIONS[model]
        kind = f"{model}{self.model_version}{body.get('input_type', '')}"
        vectors = [vector_of(kind, text, dimensions) * self.scale for text in texts]
        rows = list(enumerate(_spoiled(vectors, fault)))
        if fault == "permuted":
            rows.reverse()
        if fault == "twice":
            rows = [(0, vector) for _, vector in rows]
        write = _cohere_body if cohere else _openai_body
        return 200, write(rows, sum(counts), body), {}

    async def _send_slowly(self, writer: asyncio.StreamWriter, content: bytes) -> bool:
        writer.write(_head(200, len(content), {}))
        for place in range(len(content)):
            writer.write(content[place : place + 1])
            try:
                await writer.drain()
            except ConnectionError:
                self.client_gone.set()
                raise
            await asyncio.sleep(_SLOW_BYTE_S)
        return True


def vector_of(kind: str, text: str, dimensions: int) -> np.ndarray:
    """(dimensions,) float32, L2-normalised; the first numbers of a longer one, as of models that can be cut."""
    seed = int.from_bytes(hashlib.sha256(f"{kind}\0{text}".encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _spoiled(vectors: list[np.ndarray], fault: str) -> list[np.ndarray]:
    if fault == "fewer":
        return vectors[:-1]
    if fault == "more":
        return [*vectors, vectors[0]]
    if fault == "dimensions":
        return [vector[:-1] for vector in vectors]
    last = {"ragged": vectors[-1][:-1], "zero": vectors[-1] * 0}.get(fault, vectors[-1]).copy()
    if fault in ("nan", "infinity"):
        last[0] = float(fault)
    return [*vectors[:-1], last]


def _openai_body(rows: list[tuple[int, np.ndarray]], tokens: int, body: dict[str, Any]) -> bytes:
    if body.get("encoding_format") == "base64":
        encoded: list[Any] = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for _, vector in rows]
    else:
        encoded = [vector.tolist() for _, vector in rows]
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for (index, _), vector in zip(rows, encoded, strict=True)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": body["model"], "usage": usage}).encode()


def _cohere_body(rows: list[tuple[int, np.ndarray]], tokens: int, body: dict[str, Any]) -> bytes:
    answer = {
        "id": "1",
        "embeddings": {
            form: [_cohere_form(form, vector) for _, vector in rows] for form in body["embedding_types"]
        },
        "texts": body["texts"],
        "response_type": "embeddings_by_type",
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
    }
    return json.dumps(answer).encode()


def _cohere_form(form: str, vector: np.ndarray) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()


def _model(seen: Seen) -> str:
    """Azure's deployments are called like their model, with `my-` in front."""
    path = seen.path.split("?")[0].split("/")
    if "deployments" in path:
        return path[path.index("deployments") + 1].removeprefix("my-")
    return str(seen.body.get("model", ""))


def _error(message: str, code: str = "stub") -> bytes:
    """In OpenAI's form and in Cohere's."""
    return json.dumps({"error": {"message": message, "type": "stub", "code": code}, "message": message}).encode()


def _head(status: int, length: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Stub", "Content-Type: application/json", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _send(
    writer: asyncio.StreamWriter, seen: Seen, status: int, content: bytes, headers: dict[str, str]
) -> bool:
    seen.status = status
    writer.write(_head(status, len(content), headers) + content)
    await writer.drain()
    return True


async def _send_half(writer: asyncio.StreamWriter, content: bytes) -> bool:
    writer.write(_head(200, len(content), {}) + content[: len(content) // 2])
    await writer.drain()
    return False
