"""What the next generation would be, and what building it would take."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from embedhouse.chunking.context import fit_to_window
from embedhouse.domain.collections import CollectionOptions, Generation
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import embedded_text
from embedhouse.domain.errors import Conflict
from embedhouse.domain.models import ModelChoice, prompt_pairs
from embedhouse.domain.reports import Progress
from embedhouse.indexing.compare import cut_document
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.open_generation import OpenGeneration, readable_tokens
from embedhouse.indexing.parts import Parts
from embedhouse.indexing.plan import Unembedded
from embedhouse.ledger import builds

__all__ = ["Counted", "count_work", "draft_generation", "is_copy"]

_DOCUMENTS_PER_BATCH = 256


class Counted(msgspec.Struct, kw_only=True):
    """Documents and chunks of a draft, and what of them the model would have to read."""

    documents: int = 0
    chunks: int = 0
    characters: int = 0
    uncached_chunks: int = 0
    tokens: int = 0


def draft_generation(parts: Parts, opened: OpenCollection, options: CollectionOptions) -> Generation:
    """The generation that the options describe, like the live one in what they leave open. Makes nothing. Errors:
    Conflict where it would be the same; those of the model and the settings."""
    live = opened.live.generation
    choice = _choice(live, options)
    embedder = parts.open_embedder(choice)
    chunking = fit_to_window(options.chunking or live.chunking, readable_tokens(embedder))
    lexical_store = options.lexical_store
    if lexical_store is None:  # moved as a whole, it is not left in two places
        lexical_store = "" if options.store else live.lexical_store
    draft = msgspec.structs.replace(
        live,
        id=0,
        state="building",
        model=choice.model,
        precision=choice.precision,
        space=embedder.space,
        chunking=chunking,
        lexical=options.lexical or live.lexical,
        store=options.store or live.store,
        lexical_store=lexical_store,
        index_name="",
    )
    if _same(draft, live):
        raise Conflict(
            reason=f"Collection {opened.collection.name!r} is that already: name another model, precision, "
            "prompts, chunking, lexical settings or store."
        )
    return draft


def is_copy(draft: Generation, live: Generation) -> bool:
    """Whether its chunks and vectors are those of the live generation, so that no model is needed."""
    return draft.space.fingerprint == live.space.fingerprint and draft.chunking == live.chunking


def count_work(
    parts: Parts,
    opened: OpenCollection,
    draft: Generation,
    progress: Callable[[Progress], None],
    deadline: Deadline,
) -> Counted:
    """Cut every document as the draft would, and count what the cache does not have. Calls no model."""
    cutter = OpenGeneration(parts, opened.collection, draft)
    unembedded = Unembedded(cutter.embedder, parts.cache)
    counted, after = Counted(), 0
    while True:
        deadline.check("planning")
        with parts.database.read() as ledger:
            batch = builds.documents_to_cut(ledger, opened.collection.id, after, _DOCUMENTS_PER_BATCH)
        if not batch:
            break
        cut = [chunk for each in batch for chunk in cut_document(cutter, each.document)]
        unembedded.add({chunk.hash: embedded_text(chunk.context, chunk.text) for chunk in cut})
        counted.documents += len(batch)
        counted.chunks += len(cut)
        counted.characters += sum(len(chunk.text) for chunk in cut)
        after = batch[-1].pk
        progress(Progress(stage="plan", done=counted.documents, total=None, unit="documents"))
    counted.uncached_chunks, counted.tokens = unembedded.count, unembedded.tokens
    return counted


def _choice(live: Generation, options: CollectionOptions) -> ModelChoice:
    other_model = options.model is not None and options.model != live.model
    space = live.space
    prompts = space.prompts if options.prompts is None and not other_model else None
    if options.prompts is not None:
        prompts = prompt_pairs(options.prompts)
    return ModelChoice(
        model=options.model or live.model,
        precision=options.precision or live.precision,
        dimensions=options.dimensions or (None if other_model else space.dimensions),
        prompts=prompts,
    )


def _same(draft: Generation, live: Generation) -> bool:
    places = (draft.lexical, draft.store, draft.lexical_store)
    return is_copy(draft, live) and places == (live.lexical, live.store, live.lexical_store)
