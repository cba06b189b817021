"""A collection read from end to end, in every place that a ledger can be in."""

from __future__ import annotations

import pytest
from fake_house import SPACE
from sqlalchemy import insert

from embedhouse.domain.collections import ChunkingSettings, Generation, LexicalSettings
from embedhouse.ledger import collections, exporting
from embedhouse.ledger import tables as t
from embedhouse.ledger.database import Database

IDS = [f"{letter}{number}" for letter in "aZé~ " for number in range(20)]


def _filled(database: Database, name: str) -> tuple[int, int]:
    """A collection of two namespaces, each with all of IDS, a chunk more with each; and its generation."""
    with database.write() as ledger:
        collection_id = collections.add_collection(ledger, name)
        generation = Generation(
            id=0,
            collection_id=collection_id,
            state="live",
            model="m",
            precision="f32",
            space=SPACE,
            chunking=ChunkingSettings(),
            lexical=LexicalSettings(),
        )
        generation_id = collections.add_generation(ledger, generation)
        for namespace in ("default", "Tenant"):
            for number, document_id in enumerate(IDS):
                _add_document(ledger, collection_id, generation_id, (namespace, document_id), number % 4)
    return collection_id, generation_id


def _add_document(
    ledger: object, collection_id: int, generation_id: int, place: tuple[str, str], chunks: int
) -> None:
    namespace, document_id = place
    row = {"collection_id": collection_id, "namespace": namespace, "id": document_id, "title": "", "text": "t"}
    row |= {"source": "", "metadata": "{}", "content_hash": b"h", "updated_at": 1.5}
    added = ledger.execute(insert(t.document).values(row).returning(t.document.c.pk))  # type: ignore[attr-defined]
    pk = int(added.scalar_one())
    for ordinal in reversed(range(chunks)):
        chunk = {"generation_id": generation_id, "document_pk": pk, "ordinal": ordinal, "start": 0, "end": 1}
        chunk |= {"text": "t", "headings": "[]", "context": "", "hash": b"h"}
        ledger.execute(insert(t.chunk).values(chunk))  # type: ignore[attr-defined]


@pytest.mark.parametrize("namespaces", [None, ["Tenant"], ["default", "Tenant"], ["nobody"], []])
def test_pages_hold_each_document_of_the_namespaces_once(database: Database, namespaces: list[str] | None) -> None:
    collection_id, _ = _filled(database, "notes")
    _filled(database, "others")
    wanted = [(one, each) for one in ("Tenant", "default") for each in sorted(IDS, key=str.encode)]
    wanted = [place for place in wanted if namespaces is None or place[0] in namespaces]
    with database.read() as ledger:
        pages = list(exporting.pages_of_documents(ledger, collection_id, namespaces))
        count = exporting.count_documents(ledger, collection_id, namespaces)
    found = [(row.namespace, row.id) for page in pages for row in page]
    assert found == wanted
    assert count == len(wanted)
    assert max(map(len, pages), default=0) <= 32


def test_placed_chunks_are_each_documents_own_in_order(database: Database) -> None:
    collection_id, generation_id = _filled(database, "notes")
    with database.read() as ledger:
        for page in exporting.pages_of_documents(ledger, collection_id, None):
            found = exporting.placed_chunks(ledger, generation_id, [row.pk for row in page])
            for row in page:
                ordinals = [chunk.ordinal for chunk in found[row.pk]]
                assert ordinals == list(range(IDS.index(row.id) % 4))
                assert all(chunk.document_pk == row.pk for chunk in found[row.pk])
            assert exporting.placed_chunks(ledger, generation_id + 1, [page[0].pk]) == {page[0].pk: []}
