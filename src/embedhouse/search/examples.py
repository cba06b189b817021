"""Documents as examples: their vectors from the index, without a model call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import UnknownDocument
from embedhouse.domain.namespaces import Place
from embedhouse.ports import Index
from embedhouse.search.parts import ChunkReader, SearchParts
from embedhouse.search.scoring import unit

__all__ = ["document_vectors", "example_vectors"]


def document_vectors(places: Sequence[Place], chunks: ChunkReader, index: Index) -> dict[Place, Vectors]:
    """Each document's vector, (dimensions,) float32, L2-normalised: the mean of its chunks' vectors. Documents
    without an indexed chunk are absent."""
    keys = chunks.document_keys(places)
    namespaces = sorted({namespace for namespace, _ in places})
    stored = index.vectors([key for own in keys.values() for key in own], namespaces=namespaces)
    rows = {place: [stored[key] for key in own if key in stored] for place, own in keys.items()}
    return {place: unit(unit(np.stack(own)).mean(axis=0)) for place, own in rows.items() if own}


def example_vectors(places: Sequence[Place], parts: SearchParts) -> Vectors:
    """(n_documents, dimensions) float32, in the order asked. Errors: UnknownDocument."""
    known = document_vectors(places, parts.chunks, parts.index)
    for place in places:
        if place not in known:
            raise UnknownDocument(collection=parts.collection, id=place[1])
    return np.stack([known[place] for place in places])
