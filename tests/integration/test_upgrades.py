"""Generations of a real house on a hash embedder: built beside, shadowed, promoted, rolled back, dropped."""

import threading
import time
from pathlib import Path

import msgspec
import pytest
from fake_house import HashEmbedder, open_fake_house

from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import Conflict, InvalidInput
from embedhouse.house import House

DOCUMENTS = [Document(id=f"d{n}", text=f"Text number {n} tells of topic{n % 7}.") for n in range(120)]
OTHER_WORDS = LexicalSettings(k1=0.9, b=0.4)
OTHER_CHUNKS = ChunkingSettings(chunker="sentence", max_tokens=32)


def _filled(house: House) -> House:
    house.collections.create("notes")
    house.documents.upsert("notes", DOCUMENTS)
    return house


def _states(house: House) -> list[str]:
    return [each.state for each in house.upgrades.status("notes").generations]


def _ids(house: House, text: str) -> list[str]:
    return [hit.document_id for hit in house.search("notes", text, k=5).hits]


def test_upgrade_is_built_promoted_and_rolled_back(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        _filled(house)
        before = house.search("notes", "topic3").generation
        embedder.calls.clear()
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        assert embedder.calls == []
        assert _states(house) == ["live", "shadow"]
        promoted = house.upgrades.promote("notes")
        assert (promoted.standby, house.search("notes", "topic3").generation) == (before, promoted.live)
        assert house.collections.get("notes").lexical == OTHER_WORDS
        assert house.upgrades.rollback("notes").live == before
        assert house.search("notes", "topic3").generation == before
        house.upgrades.drop("notes")
        assert _states(house) == ["live"]
        assert house.status().clean
    assert len(list((tmp_path / "indexes").iterdir())) == 1


def test_upgrade_of_chunking_cuts_anew_and_finds_the_same_documents(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        wanted = _ids(house, "number 17")
        house.upgrades.start("notes", chunking=OTHER_CHUNKS)
        house.upgrades.promote("notes", without_shadow=True)
        assert _ids(house, "number 17")[0] == wanted[0] == "d17"
        assert house.collections.get("notes").chunking.chunker == "sentence"


def test_writes_go_to_every_generation(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        house.documents.delete("notes", ids=["d5"])
        house.documents.update_metadata("notes", "d6", {"year": 2020})
        house.upgrades.promote("notes")
        assert _ids(house, "zebra")[0] == "new"
        assert "d5" not in _ids(house, "number 5")
        assert [hit.document_id for hit in house.search("notes", "text", filter={"year": 2020}).hits] == ["d6"]
        house.documents.upsert("notes", [Document(id="newer", text="A giraffe arrives.")])
        _wait_for(lambda: all(not each.pending_chunks for each in house.upgrades.status("notes").generations))
        house.upgrades.rollback("notes")
        assert _ids(house, "giraffe")[0] == "newer"


def test_plan_counts_without_a_model_call(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        _filled(house)
        embedder.calls.clear()
        plan = house.upgrades.plan("notes", chunking=OTHER_CHUNKS)
        assert (plan.documents, plan.chunks, plan.same_space) == (120, 120, False)
        assert house.upgrades.plan("notes", lexical=OTHER_WORDS).tokens == 0
        assert embedder.calls == []
        with pytest.raises(Conflict, match="is that already"):
            house.upgrades.plan("notes")
        assert _states(house) == ["live"]


def test_build_is_paused_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        held = threading.Event()

        def hold(progress: object) -> None:
            house.upgrades.pause("notes")
            held.set()

        house.upgrades.start("notes", lexical=OTHER_WORDS, progress=hold)
        assert held.is_set()
        assert _states(house) == ["live", "building"]
        with pytest.raises(Conflict, match="not complete"):
            house.upgrades.promote("notes")
        with pytest.raises(Conflict, match="under way"):
            house.upgrades.start("notes", chunking=OTHER_CHUNKS)
    with open_fake_house(tmp_path) as house:
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        house.upgrades.resume("notes")
        assert _states(house) == ["live", "shadow"]
        house.upgrades.promote("notes")
        assert _ids(house, "zebra")[0] == "new"
        assert house.collections.get("notes").documents == 121


def test_build_cuts_what_writers_have_not_cut_in_every_namespace(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.documents.upsert("notes", [Document(id="d1", text="A heron waits.")], namespace="other")
        house.upgrades.start("notes", chunking=OTHER_CHUNKS, progress=lambda _: _paused(house))
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        house.upgrades.resume("notes")
        # Refused unless the index holds exactly the ledger's chunks.
        house.upgrades.promote("notes", without_shadow=True)
        assert house.collections.get("notes").chunks == 122
        assert _ids(house, "zebra")[0] == "new"
        found = house.search("notes", "heron", namespaces=["other"]).hits
        assert [(hit.namespace, hit.document_id) for hit in found] == [("other", "d1")]


def _paused(house: House) -> None:
    if _states(house) == ["live", "building"]:
        house.upgrades.pause("notes")


def test_build_goes_on_by_itself_where_the_house_was_closed(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS, busy_share=0.01, wait=False)
    with open_fake_house(tmp_path) as house:
        house.index_waiting()
        _wait_for(lambda: _states(house) == ["live", "shadow"])
        house.upgrades.promote("notes")
        assert len(_ids(house, "topic3")) == 5


def test_cancel_frees_what_was_built(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        assert house.upgrades.cancel("notes").generations[0].state == "live"
        assert _states(house) == ["live"]
        with pytest.raises(Conflict, match="being built or a shadow"):
            house.upgrades.cancel("notes")
    assert len(list((tmp_path / "indexes").iterdir())) == 1


def test_search_through_promotions_never_fails_or_mixes(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        first = house.search("notes", "x").generation
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        second = house.upgrades.status("notes").generations[1].id
        failures: list[str] = []
        answered: dict[int, int] = {}
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                result = house.search("notes", "number 17", k=3)
                answered[result.generation] = answered.get(result.generation, 0) + 1
                if not result.hits or result.hits[0].document_id != "d17":
                    failures.append(str(result))

        threads = [threading.Thread(target=search) for _ in range(3)]
        for thread in threads:
            thread.start()
        house.upgrades.promote("notes")
        for _ in range(5):
            time.sleep(0.05)
            house.upgrades.rollback("notes")
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert set(answered) == {first, second}


def test_shadow_records_queries_and_reports_them(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", chunking=OTHER_CHUNKS)
        with pytest.raises(Conflict, match="Nothing is known"):
            house.upgrades.promote("notes")
        house.upgrades.shadow("notes", 1.0)
        for number in range(30):
            house.search("notes", f"number {number}")
            time.sleep(0.01)
        _wait_for(lambda: house.upgrades.report("notes").queries >= 10)
        report = house.upgrades.report("notes")
        assert report.overlap_at_10 is not None
        assert report.live is not None
        assert 0 < report.overlap_at_10 <= 1
        promoted = house.upgrades.promote("notes", require=["overlap@10 >= 0.1"])
        assert promoted.gates[0].startswith("overlap@10 >= 0.1: ")


def test_promote_holds_judged_gates_on_their_interval(tmp_path: Path) -> None:
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text("".join(f'{{"_id": "q{n}", "text": "number {n}"}}\n' for n in range(20)))
    qrels.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(20)))
    judged = {"queries": queries, "qrels": qrels}
    with open_fake_house(tmp_path / "home") as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        with pytest.raises(Conflict, match="needs judged queries"):
            house.upgrades.promote("notes", require=["nDCG@10 >= live - 0.005"])
        with pytest.raises(Conflict, match=r"'RR@10 >= live \+ 0.5' does not hold"):
            house.upgrades.promote("notes", require=["RR@10 >= live + 0.5"], **judged)
        with pytest.raises(InvalidInput, match="is not a gate"):
            house.upgrades.promote("notes", require=["quality is fine"])
        promoted = house.upgrades.promote("notes", require=["nDCG@10 >= live - 0.05", "RR@10 >= 0.1"], **judged)
        assert len(promoted.gates) == 2


def test_promote_refuses_an_index_that_lost_chunks(tmp_path: Path) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        shadow = house._shelf.get("notes").shadow
        assert shadow is not None
        with shadow.opened.slot.borrow() as index:
            index.write(deletes=list(index.keys())[:3], deadline=_never())
        with pytest.raises(Conflict, match="3 chunks are missing"):
            house.upgrades.promote("notes")


def test_rollback_is_refused_while_the_standby_lags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        with pytest.raises(Conflict, match="no standby"):
            house.upgrades.rollback("notes")
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        house.upgrades.promote("notes")
        monkeypatch.setattr(house._shelf.background, "submit", lambda *_: None)
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
        with pytest.raises(Conflict, match="lags by 1"):
            house.upgrades.rollback("notes")
        assert _ids(house, "zebra")[0] == "new"


def test_split_gives_each_caller_the_same_generation(tmp_path: Path) -> None:
    from embedhouse.domain.models import attributed

    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        live, shadow = (each.id for each in house.upgrades.status("notes").generations)
        house.upgrades.split("notes", 0.5)
        seen: dict[str, set[int]] = {}
        for _ in range(2):
            for number in range(40):
                with attributed(caller=f"caller{number}"):
                    seen.setdefault(str(number), set()).add(house.search("notes", "x", k=1).generation)
        assert all(len(generations) == 1 for generations in seen.values())
        assert 8 < sum(generations == {shadow} for generations in seen.values()) < 32
        assert house.search("notes", "x", k=1).generation == live


def test_move_without_a_cache_takes_vectors_from_the_old_index(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder, cache="none") as house:
        _filled(house)
        embedder.calls.clear()
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        house.upgrades.promote("notes")
        assert [call for call in embedder.calls if call.startswith("Text")] == []
        assert _ids(house, "number 17")[0] == "d17"


def test_upgrade_options_are_those_of_the_fields() -> None:
    from embedhouse.domain.collections import CollectionFields, CollectionOptions

    assert set(CollectionFields.__annotations__) == set(msgspec.structs.asdict(CollectionOptions()))


def _never() -> object:
    from embedhouse.domain.deadline import Deadline

    return Deadline.never()


def _wait_for(is_so: object, timeout_s: float = 30.0) -> None:
    assert callable(is_so)
    give_up = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_standby_gets_what_it_missed_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_fake_house(tmp_path) as house:
        _filled(house)
        house.upgrades.start("notes", lexical=OTHER_WORDS)
        house.upgrades.promote("notes")
        monkeypatch.setattr(house._shelf.background, "submit", lambda *_: None)
        house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
    with open_fake_house(tmp_path) as house:
        house.index_waiting()
        _wait_for(lambda: all(not each.pending_chunks for each in house.upgrades.status("notes").generations))
        house.upgrades.rollback("notes")
        assert _ids(house, "zebra")[0] == "new"
