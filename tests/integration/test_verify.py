"""`verify` finds every kind of damage, and `--repair` mends exactly that."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, open_fake_house
from sqlalchemy import delete, insert, select, update

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.house import House
from embedhouse.ledger import tables as t
from embedhouse.ports import IndexEntry
from embedhouse.sources.bindings import FolderSourceSettings

DOCUMENTS = [Document(id=f"d{n}", text=f"Text number {n}.") for n in range(40)]
NEVER = Deadline.never()


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def house(tmp_path: Path, embedder: HashEmbedder) -> House:
    with open_fake_house(tmp_path / "home", embedder) as opened:
        opened.collections.create("notes")
        opened.documents.upsert("notes", DOCUMENTS)
        opened.search("notes", "the first search looks whether the index is whole")
        embedder.calls.clear()
        yield opened


def _keys(house: House) -> list[int]:
    with house._shelf.get("notes").live.slot.borrow() as index:
        return list(index.keys())


def _damage(house: House, kind: str) -> None:
    opened = house._shelf.get("notes").live
    keys = _keys(house)
    with opened.slot.borrow() as index:
        if kind == "missing":
            index.write(deletes=keys[:3], deadline=NEVER)
        elif kind == "orphaned":
            vector = np.ones(SPACE.dimensions, np.float32)
            entry = IndexEntry(key=999_999, document_id="x", vector=vector, text="ghost", metadata={})
            index.write(upserts=[entry], deadline=NEVER)
        elif kind == "damaged":
            vector = np.eye(SPACE.dimensions, dtype=np.float32)[3]
            entry = IndexEntry(key=keys[0], document_id="d0", vector=vector, text="Text number 0.", metadata={})
            index.write(upserts=[entry], deadline=NEVER)
    with house._parts.database.write() as ledger:
        if kind == "stale":
            ledger.execute(update(t.document).where(t.document.c.id == "d5").values(text="Another text by now."))
        elif kind == "duplicated":
            row = dict(ledger.execute(select(t.chunk).where(t.chunk.c.key == keys[4])).one()._mapping)
            del row["key"]
            ledger.execute(insert(t.chunk).values(row))


def test_verify_of_a_sound_house_is_clean(house: House) -> None:
    report = house.verify("notes")
    assert (report.clean, report.documents, report.chunks, report.counts) == (True, 40, 40, {})
    assert report.unchecked_chunks == 0


@pytest.mark.parametrize("kind", ["missing", "orphaned", "damaged", "stale", "duplicated"])
def test_repair_mends_what_verify_found_and_nothing_else(house: House, embedder: HashEmbedder, kind: str) -> None:
    _damage(house, kind)
    report = house.verify("notes")
    assert not report.clean
    assert report.counts[kind] >= 1  # type: ignore[index]
    assert any(finding.kind == kind for finding in report.findings)
    repaired = house.verify("notes", repair=True)
    assert repaired.clean, repaired.findings
    assert 1 <= repaired.repaired <= 4
    assert house.verify("notes").clean
    assert house.status().clean
    # Only a text that nobody embedded before is embedded.
    assert len(embedder.calls) == (1 if kind == "stale" else 0)
    assert house.search("notes", "number 7", mode="lexical").hits[0].document_id == "d7"


def test_verify_after_the_index_folder_is_deleted_costs_no_model_call(
    tmp_path: Path, embedder: HashEmbedder
) -> None:
    with open_fake_house(tmp_path, embedder) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
    shutil.rmtree(tmp_path / "indexes")
    embedder.calls.clear()
    with open_fake_house(tmp_path, embedder) as house:
        assert house.verify("notes", repair=True).clean
        assert embedder.calls == []
        assert len(_keys(house)) == 40


def test_repair_keeps_the_mean_of_the_vectors(house: House) -> None:
    from embedhouse.ledger import collections

    generation_id = house._shelf.get("notes").live.generation.id

    def mean() -> np.ndarray:
        with house._parts.database.read() as ledger:
            found = collections.mean_vector(ledger, generation_id)
        assert found is not None
        return found

    before = mean()
    for kind in ("missing", "orphaned", "damaged", "duplicated"):
        _damage(house, kind)
        assert house.verify("notes", repair=True).clean
    assert np.allclose(mean(), before, atol=1e-3)


def test_verify_without_a_cache_says_how_much_it_could_not_check(tmp_path: Path) -> None:
    with open_fake_house(tmp_path, cache="none") as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        report = house.verify("notes")
        assert (report.clean, report.unchecked_chunks) == (True, 40)


def test_verify_compares_sources_and_repair_brings_them_into_step(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a", "b", "c", "d", "e"):
        (folder / f"{name}.txt").write_text(f"The text of {name}.")
    with open_fake_house(tmp_path / "home") as house:
        house.sources.bind("notes", FolderSourceSettings(path=str(folder)))
        house.sync("notes")
        assert house.verify("notes").clean
        (folder / "a.txt").write_text("Another text.")
        (folder / "new.txt").write_text("A new text.")
        (folder / "b.txt").unlink()
        (found,) = house.verify("notes").sources
        assert (len(found.missing), len(found.stale), len(found.orphaned)) == (1, 1, 1)
        assert house.verify("notes", repair=True).clean
        with house._parts.database.write() as ledger:  # somebody's hand in the ledger
            pk = ledger.execute(select(t.document.c.pk).limit(1)).scalar_one()
            ledger.execute(delete(t.document).where(t.document.c.pk == pk))
        assert not house.verify("notes").clean
        assert house.verify("notes", repair=True).clean


def test_dead_letters_are_listed_retried_and_dropped(tmp_path: Path) -> None:
    refusing = _Refusing()
    with open_fake_house(tmp_path, refusing) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", [*DOCUMENTS[:3], Document(id="bad", text="A refused text.")])
        (letter,) = house.dead_letters.list("notes")
        assert (letter.document_id, letter.code) == ("bad", "invalid_text")
        assert house.verify("notes").dead_letters == 1
        assert house.dead_letters.retry("notes", [letter.id]) == 1
        assert [each.id for each in house.dead_letters.list("notes")] == [letter.id]
        refusing.refuses = False
        assert house.dead_letters.retry("notes") == 1
        assert house.dead_letters.list("notes") == []
        assert house.search("notes", "refused", mode="lexical").hits[0].document_id == "bad"
        refusing.refuses = True
        house.documents.upsert("notes", [Document(id="worse", text="Another refused text.")])
        assert not house.status().clean
        assert house.dead_letters.drop("notes") == 1
        assert house.status().clean
        assert house.verify("notes").clean
        with pytest.raises(NotFound):
            house.dead_letters.drop("notes", ["chunk:424242"])
        with pytest.raises(InvalidInput):
            house.dead_letters.retry("notes", ["folder:1"])


class _Refusing(HashEmbedder):
    """Refuses texts that say so, while it does."""

    refuses = True

    def embed(self, texts, *, role, lane="bulk", deadline):  # type: ignore[no-untyped-def]
        from embedhouse.domain.errors import InvalidText

        if self.refuses and any("refused" in text for text in texts) and role == "document":
            raise InvalidText(where="of a chunk", reason="it is refused")
        return super().embed(texts, role=role, lane=lane, deadline=deadline)
