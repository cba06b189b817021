"""A small house in memory behind the real application: the routes are tested, not the search."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from litestar.testing import TestClient

from embedhouse.api.app import create_app
from embedhouse.api.server import HouseServer
from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.documents import Document, check_length, check_text
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import (
    CollectionExists,
    InvalidFilter,
    InvalidInput,
    NotFound,
    SpaceFrozen,
    TooLarge,
    UnknownCollection,
    UnknownDocument,
    UnknownModel,
)
from embedhouse.domain.hits import Explanation, Hit, SearchQuery, SearchResult, SideScore
from embedhouse.domain.models import attribution
from embedhouse.domain.reports import (
    CollectionInfo,
    DocumentPage,
    DocumentView,
    Embedded,
    EmbedUsage,
    Failure,
    HouseStatus,
    IndexPlan,
    IndexReport,
    ModelInfo,
    Progress,
    SimilarPair,
    SpaceInfo,
    TokenVectors,
    WriteReport,
)
from embedhouse.domain.spaces import Role
from embedhouse.domain.spending import ApiKeyInfo, UsageReport, UsageTotals
from embedhouse.settings import Settings

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS = 8
MAX_TEXT_BYTES = 2_000


def vector_of(text: str) -> list[float]:
    raw = np.frombuffer(hashlib.sha256(text.encode()).digest()[:DIMENSIONS], dtype=np.uint8).astype(np.float32)
    return [float(x) for x in raw / np.linalg.norm(raw)]


class FakeCollections:
    def __init__(self, house: FakeHouse) -> None:
        self._house = house

    def create(self, name: str, *, deadline: Any = None, **options: Any) -> CollectionInfo:
        if not name.isascii() or not name.replace("-", "").isalnum():
            raise InvalidInput(reason=f"{name!r} is no name")
        if name in self._house.store:
            raise CollectionExists(name=name)
        self._house.store[name] = {}
        self._house.prompts[name] = options.get("prompts") or {}
        return self.get(name)

    def ensure(self, name: str, **options: Any) -> CollectionInfo:
        return self.get(name) if name in self._house.store else self.create(name, **options)

    def get(self, name: str, *, deadline: Any = None) -> CollectionInfo:
        documents = self._house.documents_of(name)
        return CollectionInfo(
            name=name,
            model=MODEL,
            precision="f32",
            dimensions=DIMENSIONS,
            space="f" * 64,
            prompts=self._house.prompts.get(name, {}),
            documents=len(documents),
            chunks=len(documents),
            pending_chunks=0,
            dead_letters=0,
            state="live",
            chunking=ChunkingSettings(),
            lexical=LexicalSettings(),
            created_at="2026-01-01T00:00:00Z",
        )

    def list(self, *, deadline: Any = None) -> list[CollectionInfo]:
        return [self.get(name) for name in sorted(self._house.store)]

    def delete(self, name: str, *, deadline: Any = None) -> None:
        self._house.documents_of(name)
        del self._house.store[name]

    def compact(self, name: str, *, progress: Any = None, deadline: Any = None) -> None:
        self._house.documents_of(name)
        progress(Progress(stage="compact", done=1, total=1, unit="chunks"))


class FakeDocuments:
    def __init__(self, house: FakeHouse) -> None:
        self._house = house

    def upsert(
        self, name: str, documents: Any, *, wait: str = "indexed", namespace: Any = None, deadline: Any = None
    ) -> WriteReport:
        held = self._house.documents_of(name)
        failures, added = [], 0
        for document in documents:
            try:
                check_length(document.text, MAX_TEXT_BYTES, f"The text of document {document.id!r}")
                check_text(document.text, f"of document {document.id!r}")
            except InvalidInput as error:
                failures.append(Failure(id=document.id, code=error.code, message=str(error)))
                continue
            added += document.id not in held
            held[document.id] = document
        return WriteReport(added=added, updated=len(documents) - added - len(failures), failures=failures)

    def update_metadata(
        self, name: str, id: str, metadata: Any, *, replace: bool, namespace: Any = None, deadline: Any = None
    ) -> None:
        old = self._one(name, id)
        merged = dict(metadata) if replace else {**old.metadata, **metadata}
        kept = {key: value for key, value in merged.items() if value is not None}
        self._house.store[name][id] = msgspec.structs.replace(old, metadata=kept)

    def delete(
        self, name: str, *, ids: Any = None, filter: Any = None, namespace: Any = None, deadline: Any = None
    ) -> int:
        held = self._house.documents_of(name)
        gone = [key for key in held if (ids is None or key in ids) and matches(held[key], filter)]
        for key in gone:
            del held[key]
        return len(gone)

    def get(self, name: str, id: str, *, namespace: Any = None, deadline: Any = None) -> DocumentView:
        return view(self._one(name, id))

    def list(
        self,
        name: str,
        *,
        filter: Any = None,
        limit: int = 100,
        after: str = "",
        with_text: bool = False,
        namespaces: Any = None,
        deadline: Any = None,
    ) -> DocumentPage:
        if limit < 1:
            raise InvalidInput(reason="limit must be at least 1")
        found = sorted(
            key for key, one in self._house.documents_of(name).items() if key > after and matches(one, filter)
        )
        shown = [view(self._house.store[name][key], with_text) for key in found[:limit]]
        return DocumentPage(documents=shown, next=found[limit - 1] if len(found) > limit else None)

    def vector(
        self, name: str, id: str, *, kind: str = "mean", namespace: Any = None, deadline: Any = None
    ) -> list[float]:
        return vector_of(self._one(name, id).text)

    def _one(self, name: str, id: str) -> Document:
        if id not in self._house.documents_of(name):
            raise UnknownDocument(collection=name, id=id)
        return self._house.store[name][id]


def matches(document: Document, filter: Any) -> bool:
    for key, value in (filter or {}).items():
        if isinstance(value, dict):
            raise InvalidFilter(path=key, reason="this house knows equality only")
        if document.metadata.get(key) != value:
            return False
    return True


def view(document: Document, with_text: bool = True) -> DocumentView:
    return DocumentView(
        id=document.id,
        title=document.title,
        text=document.text if with_text else "",
        source=document.source,
        metadata=document.metadata,
        content_hash=document.content_hash.hex(),
        chunks=1,
        updated_at="2026-01-01T00:00:00Z",
    )


class FakeSearch:
    def __init__(self, house: FakeHouse) -> None:
        self._house = house

    def __call__(self, name: str, query: SearchQuery, *, deadline: Any = None) -> SearchResult:
        check_text(query.text, "of the query")
        if query.k < 1:
            raise InvalidInput(reason=f"k is {query.k}; ask for at least 1")
        if query.k > 1000:
            raise TooLarge(what="k", size=query.k, limit=1000, remedy="Ask for fewer.")
        self._house.pause(deadline)
        words = set(query.text.lower().split())
        scored = [
            (len(words & set(one.text.lower().split())), one)
            for one in self._house.documents_of(name).values()
            if matches(one, query.filter)
        ]
        hits = [
            hit(one, score, query.explain) for score, one in sorted(scored, key=lambda x: (-x[0], x[1].id)) if score
        ]
        timings = {"tokenise": 0.1, "embed": 1.5, "dense": 0.4, "lexical": 0.3, "fuse": 0.1, "read": 0.2}
        return SearchResult(hits=hits[: query.k], mode=query.mode, space="f" * 64, took_ms=2.6, timings_ms=timings)

    def more_like(self, name: str, id: str, **options: Any) -> SearchResult:
        self._house.documents.get(name, id)
        return SearchResult(hits=[], mode="dense", space="f" * 64, took_ms=0.1)

    def recommend(self, name: str, *, liked: Any, **options: Any) -> SearchResult:
        if not liked:
            raise InvalidInput(reason="nothing is liked")
        return SearchResult(hits=[], mode="dense", space="f" * 64, took_ms=0.1)

    def near_duplicates(
        self, name: str, *, threshold: float, limit: int, namespaces: Any = None, deadline: Any = None
    ) -> list[SimilarPair]:
        self._house.documents_of(name)
        return [SimilarPair(a="a", b="b", score=max(threshold, 0.99))][:limit] if limit > 0 else []


def hit(document: Document, score: float, explain: bool) -> Hit:
    side = SideScore(score=score, rank=1, normalised=1.0, weight=0.5)
    return Hit(
        document_id=document.id,
        chunk_id=f"{document.id}#0",
        score=score,
        text=document.text,
        title=document.title,
        metadata=document.metadata,
        end=len(document.text),
        highlights=[(0, 3)],
        explain=Explanation(fusion="convex", dense=side, lexical=side) if explain else None,
    )


class FakeModels:
    def __init__(self, house: FakeHouse) -> None:
        self._house = house

    def embed(self, texts: Any, *, granularity: str = "text", model: str | None = None, **options: Any) -> Embedded:
        self._check(texts, model)
        vectors: Any = [vector_of(text) for text in texts]
        if granularity == "token":
            vectors = [
                TokenVectors(tokens=[text], offsets=[(0, len(text))], vectors=[vector_of(text)]) for text in texts
            ]
        if granularity == "sparse":
            vectors = [dict.fromkeys(text.split(), 1.0) for text in texts]
        usage = EmbedUsage(texts=len(texts), tokens=sum(map(len, texts)), cached_texts=0)
        return Embedded(embeddings=vectors, model=MODEL, space="f" * 64, dimensions=DIMENSIONS, usage=usage)

    def embed_vectors(
        self, texts: Any, *, model: str | None = None, dimensions: int | None = None, **options: Any
    ) -> Embeddings:
        self._check(texts, model)
        if dimensions is not None and not 0 < dimensions <= DIMENSIONS:
            raise InvalidInput(reason=f"dimensions must be from 1 to {DIMENSIONS}")
        vectors = np.array([vector_of(text)[:dimensions] for text in texts], dtype=np.float32)
        counts = np.array([len(text.split()) for text in texts])
        return Embeddings(vectors=vectors, token_counts=counts, dropped_counts=counts * 0)

    def decode(self, token_ids: Any, *, model: str | None = None, deadline: Any = None) -> list[str]:
        return [" ".join(f"token{one}" for one in ids) for ids in token_ids]

    def space(self, *, model: str | None = None, **options: Any) -> Any:
        self._check([], model)
        return SimpleNamespace(fingerprint="f" * 64)

    def similarity(self, a: Any, b: Any, *, model: str | None = None, **options: Any) -> list[list[float]]:
        self._check([*a, *b], model)
        self._house.asked = options
        return [[float(np.dot(vector_of(x), vector_of(y))) for y in b] for x in a]

    def list(self, *, deadline: Any = None) -> list[ModelInfo]:
        return [
            ModelInfo(name=MODEL, revision="main", weights_sha256="5", folder="/m", source="hub", size_bytes=90)
        ]

    def _check(self, texts: Any, model: str | None) -> None:
        if model not in (None, MODEL):
            raise UnknownModel(name=model, reason="it is not here")
        for place, text in enumerate(texts):
            check_text(text, str(place))


class FakeKeys:
    """Named keys: key -> name; and name -> the namespaces that it is bound to."""

    def __init__(self) -> None:
        self.names: dict[bytes, str] = {}
        self.bound: dict[str, list[str]] = {}

    @property
    def any(self) -> bool:
        return bool(self.names)

    def holder_of(self, key: bytes) -> ApiKeyInfo | None:
        if key not in self.names:
            return None
        name = self.names[key]
        return ApiKeyInfo(name=name, hint="", created_at="", namespaces=self.bound.get(name))


class FakeSpaces:
    def keep_watch(self) -> None:
        """Nothing to watch."""

    def unfreeze(self, model: str, *, accept: bool, deadline: Any = None) -> list[SpaceInfo]:
        if model != MODEL:
            raise NotFound(what=f"A frozen space of model {model!r}")
        if not accept:
            raise SpaceFrozen(model=model, space="f" * 12, reason="its vectors differ")
        seen = "2026-01-01T00:00:00+00:00"
        known = {"space": "f" * 64, "model": model, "provider": "openai", "dimensions": DIMENSIONS}
        times = {"first_used_at": seen, "checked_at": seen}
        return [SpaceInfo(**known, **times, frozen=False, reason="", tolerance=0.001)]


class FakeUsage:
    def report(self, by: str = "day", **wanted: Any) -> UsageReport:
        if wanted["since"] == "yesterday":
            raise InvalidInput(reason="since is no day")
        whose = attribution()
        rows = [UsageTotals(group=f"{whose.caller}/{bool(whose.request_id)}", tokens=1)]
        return UsageReport(by=by, rows=rows, total=UsageTotals(tokens=1))  # type: ignore[arg-type]


class FakeHouse:
    """The facade, over dicts. `gate`, while clear, holds every search back until its deadline."""

    def __init__(self) -> None:
        self.store: dict[str, dict[str, Document]] = {}
        self.prompts: dict[str, dict[Role, str]] = {}
        self.collections = FakeCollections(self)
        self.documents = FakeDocuments(self)
        self.search = FakeSearch(self)
        self.models = FakeModels(self)
        self.keys = FakeKeys()
        self.usage = FakeUsage()
        self.spaces = FakeSpaces()
        self.asked: dict[str, Any] = {}
        self.closed = False
        self.url: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Semaphore(0)
        self.stopped_by: list[str] = []

    def documents_of(self, name: str) -> dict[str, Document]:
        if name not in self.store:
            raise UnknownCollection(name=name)
        return self.store[name]

    def pause(self, deadline: Any) -> None:
        self.waiting.release()
        while not self.gate.is_set():
            if deadline.over:
                self.stopped_by.append("cancelled" if deadline.cancelled else "deadline")
            deadline.check("searching")
            time.sleep(0.005)

    def index(
        self, name: str, paths: Any, *, prune: bool, progress: Any, deadline: Any, **options: Any
    ) -> IndexReport:
        if "/missing" in paths:
            raise InvalidInput(reason="/missing is not there")
        for done in range(3):
            progress(Progress(stage="embed", done=done, total=3, unit="chunks"))
            self.pause(deadline)
        if "/broken" in paths:
            raise ValueError("a secret from inside")
        report = WriteReport(added=3)
        return IndexReport(collection=name, write=report, documents=3, chunks=3, seconds=0.1, tokens_per_s=1.0)

    def plan_index(self, name: str, paths: Any, *, progress: Any, **options: Any) -> IndexPlan:
        progress(Progress(stage="plan", done=1, total=None, unit="documents"))
        if "/missing" in paths:
            raise InvalidInput(reason="/missing is not there")
        return IndexPlan(collection=name, provider="local", model=MODEL, new=3, tokens=9, usd=0.0)

    def index_waiting(self) -> None:
        pass

    def status(self) -> HouseStatus:
        return HouseStatus(
            home="/home", version="0", clean=True, collections=self.collections.list(), server=self.url
        )

    def announce(self, url: str) -> None:
        self.url = url

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def house() -> FakeHouse:
    return FakeHouse()


@pytest.fixture
def settings() -> Settings:
    return Settings(max_batch=5, max_body_bytes=100_000, max_text_bytes=MAX_TEXT_BYTES, request_timeout_s=5.0)


@pytest.fixture
def client(house: FakeHouse, settings: Settings) -> Iterator[TestClient[Any]]:
    with open_client(house, settings) as client:
        yield client


def open_client(house: FakeHouse, settings: Settings) -> TestClient[Any]:
    return TestClient(create_app(house, settings), base_url="http://127.0.0.1:7700")  # type: ignore[arg-type]


@pytest.fixture
def make_client() -> Any:
    return open_client


@pytest.fixture
def notes(client: TestClient[Any]) -> SimpleNamespace:
    client.post("/collections", json={"name": "notes"}).raise_for_status()
    documents = [
        {"id": "docs/river.md", "text": "the river bank is muddy", "metadata": {"kind": "nature", "year": 2020}},
        {"id": 'a "quoted" id', "text": "a bank deposit earns interest", "metadata": {"kind": "money"}},
        {"id": "/leading//slashes/", "text": "rivers flow to the sea", "title": "Sea"},
    ]
    client.post("/collections/notes/documents", json={"documents": documents}).raise_for_status()
    return SimpleNamespace(name="notes", ids=[one["id"] for one in documents])


@contextlib.contextmanager
def run_server(open_house: Any, settings: Settings) -> Iterator[HouseServer]:
    ready = threading.Event()
    server = HouseServer(open_house, msgspec.structs.replace(settings, port=0), on_ready=lambda _: ready.set())
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def server(house: FakeHouse, settings: Settings) -> Iterator[HouseServer]:
    with run_server(lambda _: house, settings) as server:
        yield server


@pytest.fixture
def start_server() -> Any:
    return run_server
