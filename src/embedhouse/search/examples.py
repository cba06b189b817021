"""Documents as examples: their vectors from the index, without a model call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import UnknownDocument
from embedhouse.ports import Index
from embedhouse.search.parts import ChunkReader, SearchParts
from embedhouse.search.scoring import unit

__all__ = ["document_vectors", "example_vectors"]


def document_vectors(document_ids: Sequence[str], chunks: ChunkReader, index: Index) -> dict[str, Vectors]:
    """Each document's vector, (dimensions,) float32, L2-normalised: the mean of its chunks' vectors. Documents
    without an indexed chunk are absent."""
    keys = chunks.document_keys(document_ids)
    stored = index.vectors([key for own in keys.values() for key in own])
    rows = {name: [stored[key] for key in own if key in stored] for name, own in keys.items()}
    return {name: unit(unit(np.stack(own)).mean(axis=0)) for name, own in rows.items() if own}


def example_vectors(document_ids: Sequence[str], parts: SearchParts) -> Vectors:
    """(n_documents, dimensions) float32, in the order asked. Errors: UnknownDocument."""
    known = document_vectors(document_ids, parts.chunks, parts.index)
    for document_id in document_ids:
        if document_id not in known:
            raise UnknownDocument(collection=parts.collection, id=document_id)
    return np.stack([known[document_id] for document_id in document_ids])
