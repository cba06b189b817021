"""A backup of a running house, and the house that is made of it."""

import threading
import zipfile
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from postgres_server import fresh_database

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import Conflict, UnreadableSource
from embedhouse.house import House
from embedhouse.settings import load_settings
from embedhouse.wiring import restoring
from embedhouse.wiring.restoring import restore

DOCUMENTS = [Document(id=f"d{n}", text=f"Text number {n} tells of topic{n % 7}.") for n in range(80)]


@pytest.fixture(autouse=True)
def restored_houses_are_fake(monkeypatch: pytest.MonkeyPatch) -> list[HashEmbedder]:
    """The house that `restore` opens embeds by hashes too; what it embeds is noted."""
    embedders: list[HashEmbedder] = []

    def open_house(settings):  # type: ignore[no-untyped-def]
        embedders.append(HashEmbedder())
        return open_fake_house(
            settings.home, embedders[-1], cache=settings.cache, ledger_url=settings.ledger_url or None
        )

    monkeypatch.setattr(restoring, "open_house", open_house)
    return embedders


def _settings(home: Path, **given: object):  # type: ignore[no-untyped-def]
    return load_settings({"home": home, **given}, {})


def _answers(house: House) -> list[list[tuple[str, float]]]:
    return [
        [(hit.document_id, round(hit.score, 5)) for hit in house.search("notes", query, k=5).hits]
        for query in ("topic3", "number 17", "tells of topic5")
    ]


@pytest.mark.parametrize("cache", ["sqlite", "none"])
def test_restored_house_answers_the_same_without_a_model_call(
    tmp_path: Path, cache: str, restored_houses_are_fake: list[HashEmbedder]
) -> None:
    archive = tmp_path / "backups" / "house.zip"
    with open_fake_house(tmp_path / "one", cache=cache) as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        expected = _answers(house)
        report = house.backup(archive)
        assert (report.documents, report.chunks, report.without_vector) == (80, 80, 0)
        with pytest.raises(Conflict, match="is there already"):
            house.backup(archive)
    done = restore(archive, _settings(tmp_path / "two"))
    assert (done.documents, done.chunks, done.pending_chunks) == (80, 80, 0)
    assert restored_houses_are_fake[0].calls == []
    with open_fake_house(tmp_path / "two") as house:
        found = _answers(house)
        assert [[each for each, _ in hits] for hits in found] == [[each for each, _ in hits] for hits in expected]
        if cache == "sqlite":  # else the vectors are as exact as the index kept them
            assert found == expected
        assert house.verify("notes").clean
    assert sorted(path.name for path in archive.parent.iterdir()) == ["house.zip"]


def test_backup_under_writes_is_of_one_moment(tmp_path: Path) -> None:
    stop = threading.Event()
    with open_fake_house(tmp_path / "one") as house:
        house.collections.create("notes")

        def write() -> None:
            number = 0
            while not stop.is_set():
                pair = [Document(id=f"{side}{number}", text=f"Pair {number}, side {side}.") for side in "ab"]
                house.documents.upsert("notes", pair, wait="accepted" if number % 2 else "indexed")
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(3):
                house.backup(tmp_path / f"{number}.zip")
        finally:
            stop.set()
            writer.join()
    for number in range(3):
        restore(tmp_path / f"{number}.zip", _settings(tmp_path / f"home{number}"))
        with open_fake_house(tmp_path / f"home{number}") as house:
            ids = {each.id for each in house.documents.list("notes", limit=1000).documents}
            assert {f"b{each[1:]}" for each in ids if each[0] == "a"} == {each for each in ids if each[0] == "b"}
            house.index_waiting()
            assert house.verify("notes", repair=True).clean


def test_restore_refuses_what_is_damaged_and_makes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "house.zip"
    with open_fake_house(tmp_path / "one") as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        house.backup(archive)
    whole = archive.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "short": whole[:-200],
        "empty": b"",
        "text": b"This is no archive. " * 100,
    }
    for name, content in damaged.items():
        file = tmp_path / f"{name}.zip"
        file.write_bytes(content)
        with pytest.raises(UnreadableSource, match="damaged"):
            restore(file, _settings(tmp_path / name))
        assert not (tmp_path / name / "ledger.db").exists()
    with pytest.raises(UnreadableSource, match="no such file"):
        restore(tmp_path / "nowhere.zip", _settings(tmp_path / "two"))
    with pytest.raises(Conflict, match="holds a house already"):
        restore(archive, _settings(tmp_path / "one"))


def test_restore_takes_nothing_else_out_of_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "house.zip"
    with open_fake_house(tmp_path / "one") as house:
        house.collections.create("notes")
        house.backup(archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../outside.txt", "x")
        opened.writestr("config.toml", 'host = "0.0.0.0"')
    restore(archive, _settings(tmp_path / "two"))
    assert not (tmp_path / "outside.txt").exists()
    assert not (tmp_path / "two" / "config.toml").exists()


def test_house_moves_from_a_file_to_postgresql_and_back(tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "one") as house:
        house.collections.create("notes")
        house.documents.upsert("notes", DOCUMENTS)
        expected = _answers(house)
        house.backup(tmp_path / "one.zip")
    with fresh_database() as url:
        restore(tmp_path / "one.zip", _settings(tmp_path / "two", ledger_url=url))
        with open_fake_house(tmp_path / "two", ledger_url=url) as house:
            assert _answers(house) == expected
            house.documents.upsert("notes", [Document(id="new", text="A zebra arrives.")])
            house.backup(tmp_path / "two.zip")
        with pytest.raises(Conflict, match="holds a house already"):
            restore(tmp_path / "two.zip", _settings(tmp_path / "three", ledger_url=url))
    restore(tmp_path / "two.zip", _settings(tmp_path / "four"))
    with open_fake_house(tmp_path / "four") as house:
        assert house.search("notes", "zebra", mode="lexical").hits[0].document_id == "new"
        assert house.collections.get("notes").documents == 81
