"""Models on this machine's CPU, through OpenVINO. torch is never needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import openvino as ov

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.errors import CapabilityMissing, InvalidSetting, ModelError, ModelUnsupported
from embedhouse.domain.spaces import Lane as LaneName
from embedhouse.domain.spaces import Precision, Role, Space
from embedhouse.models.batches import Batch, plan_batches
from embedhouse.models.graph import SENTENCE, TOKENS, build_graph, only_output, shortened
from embedhouse.models.lanes import Job, Lane
from embedhouse.models.recipe import Recipe, read_recipe
from embedhouse.models.tokens import LocalTokenizer, open_tokenizer
from embedhouse.models.weights import files_sha256

__all__ = ["LocalEmbedder", "LocalModelSettings", "PrecisionName", "cpu_precisions", "open_local_model"]

PrecisionName = Literal["auto", "f32", "bf16", "int8"]

_LaneKind = Literal["interactive", "bulk", "tokens"]
_KERNELS_OF_A_SHAPE = 10
_KEPT_KERNELS = 100 * _KERNELS_OF_A_SHAPE
_ROLES: tuple[Role, ...] = ("document", "query")


class LocalModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to run a model folder.

    precision: "auto" is bf16 where the CPU has it, else f32. quantised_file: the OpenVINO IR (.xml) that int8
    runs from, made by `quantise`. dimensions: None for all of them. prompts: (role, text) pairs in place of the
    model's own. source_sha256: hash of the model's weights where it is known; it is computed otherwise.
    streams: None is one a core. batch_tokens: padded tokens in one batch of one stream.
    prefer_graph_file: run the model's ONNX or OpenVINO file even where it could be built from safetensors.
    interactive_queue, bulk_queue: calls that may wait; one more gets Overloaded.
    """

    name: str
    revision: str = ""
    precision: PrecisionName = "auto"
    dimensions: int | None = None
    prompts: tuple[tuple[Role, str], ...] | None = None
    quantised_file: Path | None = None
    source_sha256: str | None = None
    streams: int | None = None
    threads_per_stream: int = 1
    batch_tokens: int = 1024
    prefer_graph_file: bool = False
    interactive_queue: int = 256
    bulk_queue: int = 256


def cpu_precisions() -> frozenset[Precision]:
    """The precisions that this CPU computes in faster or as fast as in f32."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"f32", "bf16", "int8"} if "BF16" in capabilities else {"f32", "int8"})


def open_local_model(folder: Path, settings: LocalModelSettings) -> LocalEmbedder:
    """The model in a folder, ready to embed; it is compiled when it is first used.

    Errors: ModelUnsupported, ModelDamaged, InvalidSetting (dimensions).
    """
    recipe = read_recipe(folder, settings.name, prefer_graph_file=settings.prefer_graph_file)
    tokenizer = open_tokenizer(
        recipe.folder, model=settings.name, max_tokens=recipe.max_tokens, lower_case=recipe.lower_case
    )
    precision = _resolved_precision(settings)
    if precision == "int8":
        if settings.quantised_file is None:
            raise ModelUnsupported(model=settings.name, reason="int8 needs a quantised file, and none was given")
        graph = ov.Core().read_model(settings.quantised_file)
        weights_sha256 = files_sha256([settings.quantised_file.with_suffix(".bin")])
    else:
        graph = build_graph(recipe)
        weights_sha256 = settings.source_sha256 or files_sha256(recipe.files)
    return LocalEmbedder(settings, recipe, tokenizer, graph, _Resolved(precision, weights_sha256))


class _Resolved(msgspec.Struct, frozen=True):
    """What `auto` and the files came to."""

    precision: Precision
    weights_sha256: str


def _resolved_precision(settings: LocalModelSettings) -> Precision:
    available = cpu_precisions()
    if settings.precision == "auto":
        return "bf16" if "bf16" in available else "f32"
    if settings.precision not in available:
        reason = f"this CPU has no {settings.precision}; use f32 (its vectors can be searched beside bf16 ones)"
        raise ModelUnsupported(model=settings.name, reason=reason)
    return settings.precision


class LocalEmbedder:
    """An Embedder on the CPU. Queries run on a compiled model of their own. Thread-safe."""

    def __init__(
        self,
        settings: LocalModelSettings,
        recipe: Recipe,
        tokenizer: LocalTokenizer,
        graph: ov.Model,
        resolved: _Resolved,
    ) -> None:
        self._settings = settings
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._graph = graph
        self._streams = settings.streams or _cores()
        self._lanes: dict[_LaneKind, Lane] = {}
        self._compiling = threading.Lock()
        self._closed = False
        self._space = self._make_space(resolved)

    @property
    def space(self) -> Space:
        """What the vectors mean."""
        return self._space

    @property
    def tokenizer(self) -> LocalTokenizer:
        """Counts, offsets, and the raw tokenizer for chunkers."""
        return self._tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: LaneName = "bulk", deadline: Deadline) -> Embeddings:
        """Vectors (n_texts, dimensions) float32 in the caller's order.

        Errors: InvalidText (before anything is embedded), DeadlineExceeded, Cancelled, Overloaded.
        """
        _check_texts(texts)
        prompt = self._space.prompt(role)
        tokenised = self._tokenizer.tokenise([prompt + text for text in texts] if prompt else texts, deadline)
        vectors = np.empty((len(texts), self._space.dimensions), dtype=np.float32)

        def collect(batch: Batch, output: npt.NDArray[np.float32]) -> None:
            vectors[batch.rows] = output

        pool_from = 0 if self._recipe.pool_prompt else self._tokenizer.prompt_length(prompt)
        ids = [text.ids for text in tokenised]
        self._run(lane, Job(ids, self._plan(ids), collect, deadline, pool_from))
        return Embeddings(
            vectors=vectors,
            token_counts=np.fromiter(map(len, ids), dtype=np.int64, count=len(ids)),
            dropped_counts=np.fromiter((text.dropped for text in tokenised), dtype=np.int64, count=len(ids)),
        )

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """Each token's contextual vector (last hidden layer), prompt and special tokens left out.

        Errors: as `embed`; CapabilityMissing where the model's file gives no token vectors.
        """
        _check_texts(texts)
        prompt = self._space.prompt(role)
        spans = [self._tokenizer.tokenise_spans(text, prompt, deadline) for text in texts]
        found: list[npt.NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(texts)

        def collect(batch: Batch, output: npt.NDArray[np.float32]) -> None:
            for row, place in enumerate(batch.rows):
                own = spans[place]
                found[place] = output[row, own.first : own.first + len(own.tokens)].copy()

        ids = [own.ids for own in spans]
        self._run("tokens", Job(ids, self._plan(ids), collect, deadline))
        return [
            TokenEmbeddings(tokens=own.tokens, vectors=vectors, offsets=own.offsets, dropped_count=own.dropped)
            for own, vectors in zip(spans, found, strict=True)
        ]

    def close(self) -> None:
        """Finish the calls under way and free the model."""
        with self._compiling:
            self._closed = True
            lanes = list(self._lanes.values())
        for lane in lanes:
            lane.close()

    def _plan(self, ids: Sequence[npt.NDArray[np.int32]]) -> list[Batch]:
        return plan_batches(
            [len(own) for own in ids],
            budget=self._settings.batch_tokens,
            streams=self._streams,
            limit=self._tokenizer.max_tokens,
        )

    def _run(self, kind: _LaneKind, job: Job) -> None:
        if job.has_more:
            self._lane(kind).run(job)

    def _lane(self, kind: _LaneKind) -> Lane:
        with self._compiling:
            if self._closed:
                raise ModelError(reason=f"Model {self._settings.name} was closed. Open it again.")
            if kind not in self._lanes:
                self._lanes[kind] = self._open_lane(kind)
            return self._lanes[kind]

    def _open_lane(self, kind: _LaneKind) -> Lane:
        # A query is one short batch: a second stream would only take a core from it.
        streams = 1 if kind == "interactive" else self._streams
        threads = streams * self._settings.threads_per_stream
        compiled = ov.Core().compile_model(
            self._output_graph(TOKENS if kind == "tokens" else SENTENCE),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _hint(self._space.precision),
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads,
                # Pinned, the lanes would share a core while another is idle.
                "ENABLE_CPU_PINNING": False,
                # Each shape that was seen keeps some 0.4 MB of compiled code; the default keeps hundreds of them.
                "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_KERNELS,
            },
        )
        limit = self._settings.interactive_queue if kind == "interactive" else self._settings.bulk_queue
        return Lane(compiled, name=kind, streams=streams, queue_limit=limit)

    def _output_graph(self, output: str) -> ov.Model:
        graph = only_output(self._graph, output)
        if graph is None:
            raise CapabilityMissing(
                part=f"Model {self._settings.name}",
                capability="token vectors",
                remedy="Its graph file has only a sentence output; use one with safetensors.",
            )
        if output == SENTENCE and self._settings.dimensions is not None:
            return shortened(graph, self._settings.dimensions)
        return graph

    def _make_space(self, resolved: _Resolved) -> Space:
        full = self._graph.output(SENTENCE).get_partial_shape()[1].get_length()
        dimensions = full if self._settings.dimensions is None else self._settings.dimensions
        if not 0 < dimensions <= full:
            reason = f"the model {self._settings.name} has {full} dimensions"
            raise InvalidSetting(name="dimensions", origin=str(dimensions), reason=reason)
        own = tuple(self._recipe.prompts.items())
        prompts = dict(own if self._settings.prompts is None else self._settings.prompts)
        return Space(
            provider="local",
            model=self._settings.name,
            revision=self._settings.revision,
            weights_sha256=resolved.weights_sha256,
            dimensions=dimensions,
            pooling=self._recipe.pooling,
            normalised=self._recipe.normalise or self._settings.dimensions is not None,
            precision=resolved.precision,
            prompts=tuple((role, prompts[role]) for role in _ROLES if prompts.get(role)),
            max_tokens=self._recipe.max_tokens,
        )


def _hint(precision: str) -> str:
    """What is not quantised runs in bf16 where the CPU has it, unless f32 is asked for."""
    return "bf16" if precision != "f32" and "bf16" in cpu_precisions() else "f32"


def _check_texts(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts):
        check_text(text, f"at place {place}")


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
