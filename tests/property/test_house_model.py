"""A house beside a plain dictionary: random upserts, deletes, metadata changes, syncs, upgrades, promotions,
rollbacks and crashes. After each step the house says what the dictionary says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from fake_house import open_fake_house
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import Conflict
from embedhouse.house import House
from embedhouse.ledger.changes import EVERYTHING
from embedhouse.sources.bindings import FolderSourceSettings

NAME = "kept"
IDS = st.sampled_from([f"d{n}" for n in range(6)])
WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta", "omega"])
YEARS = st.integers(2000, 2003)


class HouseModel(RuleBasedStateMachine):
    """`documents`: id -> (text, metadata) as it must be; `files`: name -> text of the bound folder."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="embedhouse-model-"))
        self.folder = self.root / "texts"
        self.folder.mkdir()
        self.documents: dict[str, tuple[str, dict[str, object]]] = {}
        self.files: dict[str, str] = {}
        self.synced: dict[str, str] = {}
        self.states = ["live"]
        self.home = self.root / "home"
        self.crashes = 0
        self.house = self._open()

    def _open(self) -> House:
        return open_fake_house(self.home)

    @initialize()
    def make(self) -> None:
        self.house.collections.create(NAME)
        self.house.sources.bind(NAME, FolderSourceSettings(path=str(self.folder)))

    def teardown(self) -> None:
        try:
            self.house.sync(NAME, allow_mass_delete=True)
            assert self.house.verify(NAME, repair=True).clean
        finally:
            self.house.close()
            shutil.rmtree(self.root)

    @rule(document_id=IDS, word=WORDS, year=YEARS)
    def upsert(self, document_id: str, word: str, year: int) -> None:
        text = f"{word.title()} is the word of {document_id}. " * 3
        self.house.documents.upsert(NAME, [Document(id=document_id, text=text, metadata={"year": year})])
        self.documents[document_id] = (text, {"year": year})

    @rule(ids=st.lists(IDS, unique=True, max_size=3))
    def delete(self, ids: list[str]) -> None:
        assert self.house.documents.delete(NAME, ids=ids) == len(set(ids) & self.documents.keys())
        for each in ids:
            self.documents.pop(each, None)

    @rule(document_id=IDS, year=YEARS)
    def change_metadata(self, document_id: str, year: int) -> None:
        if document_id in self.documents:
            self.house.documents.update_metadata(NAME, document_id, {"year": year}, replace=True)
            self.documents[document_id] = (self.documents[document_id][0], {"year": year})

    @rule(name=st.sampled_from("abc"), word=WORDS)
    def write_file(self, name: str, word: str) -> None:
        (self.folder / f"{name}.txt").write_text(f"{word.title()} stands in file {name}.")
        self.files[name] = f"{word.title()} stands in file {name}."

    @rule(name=st.sampled_from("abc"))
    def delete_file(self, name: str) -> None:
        (self.folder / f"{name}.txt").unlink(missing_ok=True)
        self.files.pop(name, None)

    @rule()
    def sync(self) -> None:
        assert self.house.sync(NAME, allow_mass_delete=True).in_step
        self.synced = dict(self.files)

    @precondition(lambda self: not {"shadow", "building"} & set(self.states))
    @rule(tokens=st.integers(16, 100), k1=st.floats(0.5, 2.0))
    def upgrade(self, tokens: int, k1: float) -> None:
        chunking, lexical = ChunkingSettings(max_tokens=tokens), LexicalSettings(k1=round(k1, 2))
        info = self.house.collections.get(NAME)
        if (info.chunking, info.lexical) != (chunking, lexical):
            self.house.upgrades.start(NAME, chunking=chunking, lexical=lexical)
            self.states.append("shadow")

    @rule()
    def promote(self) -> None:
        if "shadow" in self.states and "standby" not in self.states:
            self.house.upgrades.promote(NAME, without_shadow=True)
            self.states = ["live", "standby"]
        else:
            with pytest.raises(Conflict):
                self.house.upgrades.promote(NAME, without_shadow=True)

    @rule()
    def roll_back(self) -> None:
        if "standby" in self.states:
            opened = self.house._shelf.get(NAME)
            opened.finish_others(EVERYTHING, Deadline.never())  # what it missed is there then
            self.house.upgrades.rollback(NAME)
        else:
            with pytest.raises(Conflict):
                self.house.upgrades.rollback(NAME)

    @rule()
    def drop_or_cancel(self) -> None:
        for state, end in (("standby", self.house.upgrades.drop), ("shadow", self.house.upgrades.cancel)):
            if state in self.states:
                end(NAME)
                self.states.remove(state)

    @rule(damage=st.booleans())
    def crash(self, damage: bool) -> None:
        """The disk as a killed process leaves it: copied while the house is open. The indexes may be gone too."""
        self.crashes += 1
        left = self.root / f"home{self.crashes}"
        shutil.copytree(self.home, left)
        self.house.close()
        shutil.rmtree(self.home)
        self.home = left
        if damage:
            shutil.rmtree(self.home / "indexes")
        self.house = self._open()
        self.house.index_waiting()

    @invariant()
    def house_is_what_the_dictionary_is(self) -> None:
        page = self.house.documents.list(NAME, limit=1000, with_text=True).documents
        own = {each.id: (each.text, each.metadata) for each in page if each.id in self.documents}
        assert own == self.documents
        others = sorted(each.text.strip() for each in page if each.id not in self.documents)
        assert others == sorted(self.synced.values())

    @invariant()
    def searches_answer_as_the_dictionary_does(self) -> None:
        for word in ("alpha", "omega"):
            hits = self.house.search(NAME, word, mode="lexical", k=50, documents=True).hits
            expected = {each for each, (text, _) in self.documents.items() if word.title() in text}
            assert {hit.document_id for hit in hits if hit.document_id.startswith("d")} >= expected
            texts = [text for text, _ in self.documents.values()] + list(self.synced.values())
            assert len(hits) == sum(word.title() in text for text in texts)
        filtered = self.house.search(NAME, "word", mode="dense", k=50, filter={"year": {"$gte": 2002}}).hits
        expected = {each for each, (_, metadata) in self.documents.items() if metadata["year"] >= 2002}  # type: ignore[operator]
        assert {hit.document_id for hit in filtered} == expected


HouseModel.TestCase.settings = settings(
    max_examples=8, stateful_step_count=18, deadline=None, suppress_health_check=list(HealthCheck)
)
test_house_model = pytest.mark.timeout(300)(HouseModel.TestCase)
