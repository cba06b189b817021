"""An index may refuse an entry for good: it is a dead letter, and the rest goes in."""

from pathlib import Path

import pytest
from fake_house import open_fake_house

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import TooLarge
from embedhouse.indexes.qdrant.edge import QdrantEdgeIndex


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indexes refuse texts with the word "huge"; the sizes of the writes that went in."""
    sizes: list[int] = []
    write = QdrantEdgeIndex.write

    def refuse(self, *, upserts=(), **others):  # type: ignore[no-untyped-def]
        if any("huge" in entry.text for entry in upserts):
            raise TooLarge(what="An entry", size=41_000, limit=40_960, remedy="Make it smaller.")
        sizes.append(len(upserts))
        write(self, upserts=upserts, **others)

    monkeypatch.setattr(QdrantEdgeIndex, "write", refuse)
    return sizes


def test_entry_over_the_limits_of_the_index_is_a_dead_letter(tmp_path: Path, refusing: list[int]) -> None:
    documents = [Document(id=f"d{n}", text=f"Text {n}{' is huge' if n in (3, 17) else ''}.") for n in range(20)]
    with open_fake_house(tmp_path) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", documents)
        letters = house.dead_letters.list("notes")
        assert [(each.document_id, each.code) for each in letters] == [("d3", "too_large"), ("d17", "too_large")]
        assert sum(refusing) == 18
        assert house.search("notes", "Text", mode="lexical", k=50).hits.__len__() == 18
        assert house.verify("notes").clean
        house.documents.upsert("notes", [Document(id="d3", text="Text 3 is small.")])
        assert [each.document_id for each in house.dead_letters.list("notes")] == ["d17"]
        house.documents.delete("notes", ids=["d17"])
        assert house.dead_letters.list("notes") == []
        assert house.status().clean
