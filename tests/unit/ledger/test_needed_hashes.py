from pathlib import Path

import msgspec
import pytest
from fake_house import SPACE

from embedhouse.domain.collections import ChunkingSettings, Generation, GenerationState, LexicalSettings
from embedhouse.domain.documents import Document
from embedhouse.domain.spaces import Space
from embedhouse.ledger import chunks, collections, documents
from embedhouse.ledger.chunks import NewChunk
from embedhouse.ledger.database import Database


def _ledger(path: Path, state: GenerationState, space: Space = SPACE) -> Database:
    """One collection with one generation, of one document with two chunks: hashes b"0" and b"1"."""
    database = Database(path / "ledger.db")
    with database.write() as ledger:
        collection_id = collections.add_collection(ledger, "notes")
        generation_id = collections.add_generation(
            ledger,
            Generation(
                id=0,
                collection_id=collection_id,
                state=state,
                model="m",
                precision="f32",
                space=space,
                chunking=ChunkingSettings(),
                lexical=LexicalSettings(),
            ),
        )
        pks = documents.upsert_documents(ledger, collection_id, [Document(id="a", text="text")])
        made = [
            NewChunk(ordinal=n, start=0, end=1, text="t", headings=(), context="", hash=str(n).encode())
            for n in range(2)
        ]
        chunks.insert_chunks(ledger, generation_id, pks["default", "a"], made)
    return database


def _needed(database: Database, space: Space) -> set[bytes]:
    asked = [str(number).encode() for number in range(2000)]
    with database.read() as ledger:
        return chunks.needed_hashes(ledger, space.fingerprint, asked)


@pytest.mark.parametrize("state", collections.WRITTEN_STATES)
def test_needed_hashes_are_those_of_generations_that_are_written(tmp_path: Path, state: GenerationState) -> None:
    database = _ledger(tmp_path, state)
    assert _needed(database, SPACE) == {b"0", b"1"}
    database.close()


def test_retired_generation_needs_nothing(tmp_path: Path) -> None:
    database = _ledger(tmp_path, "retired")
    assert _needed(database, SPACE) == set()
    database.close()


def test_needed_hashes_are_of_the_space_and_of_what_stands_in_for_it(tmp_path: Path) -> None:
    database = _ledger(tmp_path, "live")
    assert _needed(database, msgspec.structs.replace(SPACE, precision="bf16")) == {b"0", b"1"}
    assert _needed(database, msgspec.structs.replace(SPACE, precision="int8")) == set()
    assert _needed(database, msgspec.structs.replace(SPACE, revision="2")) == set()
    database.close()


def test_quantised_space_has_no_stand_in(tmp_path: Path) -> None:
    quantised = msgspec.structs.replace(SPACE, precision="int8")
    database = _ledger(tmp_path, "live", quantised)
    assert _needed(database, quantised) == {b"0", b"1"}
    assert _needed(database, SPACE) == set()
    database.close()
