"""A collection out to Parquet and back, over real ledgers, caches and indexes, and a model that is a hash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_house import DIMENSIONS, SPACE, HashEmbedder, open_fake_house, vector_of
from small_disk import small_disk

from embedhouse.cache.embedder import text_sha256
from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import (
    Cancelled,
    Conflict,
    DiskFull,
    Forbidden,
    InvalidInput,
    InvalidSetting,
    InvalidVector,
    NotFound,
    ReadOnly,
    SpaceMismatch,
    UnknownCollection,
    UnreadableSource,
)
from embedhouse.domain.models import attributed
from embedhouse.domain.reports import Progress
from embedhouse.exports.format import VERSION, Manifest, file_sha256
from embedhouse.house import House

QUERIES = ["river", "the house by the sea", "number 17", "Über den Fluss"]
FILES = ["chunks.parquet", "documents.parquet", "manifest.json"]


def _documents(count: int) -> list[Document]:
    """Long and short ones, with headings, metadata of every kind, and ids that are no file names."""
    long = "\n\n".join(
        f"# Part {n}\n\nThe river runs past the house, number {n}. " + "word " * 120 for n in range(4)
    )
    return [
        Document(
            id=f"docs/{number} \"ü'.md",
            title=f"Title {number}" if number % 3 else "",
            text=long.replace("river", f"river {number}") if number % 10 == 0 else f"A text, number {number}.",
            metadata={"year": 2000 + number, "tags": ["a", "ß"], "nested": {"x": None}, "ok": number % 2 == 0},
            source=f"/somewhere/{number}.md",
        )
        for number in range(count)
    ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house with 60 documents in "notes"."""
    with open_fake_house(tmp_path / "first") as opened:
        opened.collections.create("notes")
        opened.documents.upsert("notes", _documents(60))
        yield opened


@pytest.fixture
def exported(house: House, tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "notes"
    house.export("notes", folder)
    return folder


def _hits(house: House, collection: str) -> list[Any]:
    found = []
    for query in QUERIES:
        for given in (
            {"mode": "hybrid"},
            {"mode": "dense"},
            {"mode": "lexical", "filter": {"year": {"$gte": 2030}}},
        ):
            result = house.search(collection, query, k=15, **given)
            found.append([(hit.chunk_id, hit.text, hit.metadata, pytest.approx(hit.score)) for hit in result.hits])
    return found


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, which then agrees with the files again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    for name, file in manifest["files"].items():
        file |= {"sha256": file_sha256(folder / name), "size_bytes": (folder / name).stat().st_size}
    path.write_text(json.dumps(manifest))


def _replace_column(folder: Path, file: str, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    table = parquet.read_table(folder / file)
    place = table.schema.get_field_index(name)
    import pyarrow as pa

    column = pa.array(change(table.column(name).to_pylist()), table.schema.field(name).type)
    parquet.write_table(table.set_column(place, table.schema.field(name), column), folder / file)
    _rewrite(folder, lambda manifest: None)


def test_round_trip_answers_the_same_searches_without_the_model(
    house: House, exported: Path, tmp_path: Path
) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "second", embedder) as other:
        report = other.import_(exported)
        assert embedder.calls == []
        assert (report.collection, report.write.added, report.write.tokens) == ("notes", 60, 0)
        assert report.write.cached_chunks == report.chunks == house.collections.get("notes").chunks
        before, after = house.collections.get("notes"), other.collections.get("notes")
        assert msgspec.structs.replace(after, created_at=before.created_at) == before
        assert _hits(other, "notes") == _hits(house, "notes")
        for document in _documents(60):
            stored = other.documents.get("notes", document.id)
            assert (stored.text, stored.title, stored.metadata, stored.source) == (
                document.text,
                document.title,
                document.metadata,
                document.source,
            )


def test_imported_vectors_are_those_of_their_texts(exported: Path, tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "second") as other:
        other.import_(exported)
        text = "Title 17\nA text, number 17."
        cached = other._parts.cache.get(
            SPACE.fingerprint, "document", [text_sha256(SPACE, "document", text)], DIMENSIONS
        )
    assert cached.found.all()
    np.testing.assert_array_equal(cached.vectors[0], vector_of(text))
    assert cached.token_counts.tolist() == [6]


def test_import_into_another_name_and_again_changes_nothing(exported: Path, tmp_path: Path) -> None:
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "second", embedder) as other:
        other.import_(exported, "copies")
        report = other.import_(exported, "copies")
        assert [info.name for info in other.collections.list()] == ["copies"]
    assert (report.write.added, report.write.unchanged, report.write.tokens) == (0, 60, 0)
    assert embedder.calls == []


def test_export_shows_other_systems_plain_columns(house: House, exported: Path) -> None:
    documents = parquet.read_table(exported / "documents.parquet")
    chunks = parquet.read_table(exported / "chunks.parquet")
    assert sorted(path.name for path in exported.iterdir()) == FILES
    assert documents.num_rows == 60
    assert chunks.num_rows == house.collections.get("notes").chunks
    assert str(chunks.schema.field("vector").type) == f"fixed_size_list<element: float not null>[{DIMENSIONS}]"
    row = next(row for row in chunks.to_pylist() if row["text"] == "A text, number 17.")
    np.testing.assert_array_equal(np.asarray(row["vector"], np.float32), vector_of("Title 17\nA text, number 17."))
    assert row["hash"] == text_sha256(SPACE, "document", "Title 17\nA text, number 17.")
    assert (row["namespace"], row["ordinal"], row["start"], row["context"]) == ("default", 0, 0, "Title 17")
    header = json.loads(chunks.schema.metadata[b"embedhouse"])
    assert header["fingerprint"] == SPACE.fingerprint
    assert (header["space"]["model"], header["chunking"]["max_tokens"]) == ("hash", 200)


def test_export_to_one_file_holds_chunks_with_their_documents(house: House, tmp_path: Path) -> None:
    file = tmp_path / "flat.parquet"
    report = house.export("notes", file)
    table = parquet.read_table(file)
    assert report.rows == {"flat.parquet": table.num_rows}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["flat.parquet"]
    row = next(row for row in table.to_pylist() if row["text"] == "A text, number 17.")
    assert (row["title"], json.loads(row["metadata"])["year"]) == ("Title 17", 2017)
    with pytest.raises(UnreadableSource, match="one file, which has no documents"):
        house.import_(file)


def test_export_comes_from_the_index_where_the_cache_has_nothing(tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "first", cache="none") as house:
        house.collections.create("notes")
        house.documents.upsert("notes", _documents(60))
        report = house.export("notes", tmp_path / "out")
        wanted = _hits(house, "notes")
    assert report.without_vector == 0
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "second", embedder) as other:
        other.import_(tmp_path / "out")
        assert embedder.calls == []
        assert [[hit[0] for hit in hits] for hits in _hits(other, "notes")] == [
            [hit[0] for hit in hits] for hits in wanted
        ]


def test_chunk_that_waits_is_exported_without_vector_and_embedded_at_import(tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "first", HashEmbedder(seconds_per_batch=30)) as house:
        house.collections.create("notes")
        opened = house._shelf.get("notes")
        opened.writer.upsert(_documents(3)[1:])
        report = house.export("notes", tmp_path / "out")
    assert (report.documents, report.without_vector) == (2, 2)
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "second", embedder) as other:
        assert other.import_(tmp_path / "out").write.added == 2
        assert sorted(embedder.calls) == ["Title 1\nA text, number 1.", "Title 2\nA text, number 2."]


def test_export_is_the_collection_at_one_moment(house: House, tmp_path: Path) -> None:
    written = []

    def write_meanwhile(step: Progress) -> None:
        if not written:
            house.documents.upsert(
                "notes", [Document(id="zz", text="Too late."), Document(id="docs/5", text="New.")]
            )
            house.documents.delete("notes", ids=[_documents(60)[59].id])
            written.append(step)

    report = house.export("notes", tmp_path / "out", progress=write_meanwhile)
    assert written
    assert report.documents == 60
    ids = parquet.read_table(tmp_path / "out" / "documents.parquet").column("id").to_pylist()
    assert sorted(ids) == sorted(document.id for document in _documents(60))


def test_export_writes_row_groups_of_bounded_size(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedhouse.exports.tables._ROWS_PER_GROUP", 20)
    house.export("notes", tmp_path / "out")
    with parquet.ParquetFile(tmp_path / "out" / "chunks.parquet") as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    # A page of 32 documents is the least that is written at once.
    assert len(sizes) == 2
    assert sum(sizes) == house.collections.get("notes").chunks
    with open_fake_house(tmp_path / "second", embedder := HashEmbedder()) as other:
        other.import_(tmp_path / "out")
    assert embedder.calls == []


def test_export_of_an_empty_collection_comes_back_empty(tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "first") as house:
        house.collections.create("notes", chunking=ChunkingSettings(chunker="sentence", max_tokens=50))
        assert house.export("notes", tmp_path / "out").documents == 0
    with open_fake_house(tmp_path / "second") as other:
        assert other.import_(tmp_path / "out").documents == 0
        assert other.collections.get("notes").chunking.chunker == "sentence"


def test_export_never_replaces_what_is_there_unless_told(house: House, exported: Path, tmp_path: Path) -> None:
    (exported / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"documents\.parquet is there already.*--overwrite"):
        house.export("notes", exported)
    house.documents.delete("notes", ids=[_documents(60)[0].id])
    assert house.export("notes", exported, overwrite=True).documents == 59
    assert parquet.read_table(exported / "documents.parquet").num_rows == 59
    assert (exported / "notes.txt").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="is a file"):
        house.export("notes", tmp_path / "file")


def test_export_that_is_stopped_leaves_nothing(house: House, tmp_path: Path) -> None:
    deadline = Deadline.never()
    with pytest.raises(Cancelled):
        house.export("notes", tmp_path / "out", progress=lambda _: deadline.cancel(), deadline=deadline)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UnreadableSource, match=r"no manifest\.json.*not finished"):
        house.import_(tmp_path / "out")


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_export_onto_a_full_disk_says_so_and_leaves_nothing(house: House, tmp_path: Path, name: str) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        disk.fill(leave_bytes=8192)
        with pytest.raises(DiskFull, match="disk"):
            house.export("notes", disk.path / name)
        left = [path.name for path in disk.path.rglob("*") if path.is_file()]
        assert left == ["ballast"]
        disk.empty()
        disk.remount("ro")
        with pytest.raises(ReadOnly, match="cannot be written"):
            house.export("notes", disk.path / "other" / name)


def test_export_of_an_unknown_collection_makes_nothing(house: House, tmp_path: Path) -> None:
    with pytest.raises(UnknownCollection):
        house.export("nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_import_of_a_foreign_space_is_refused_before_anything_is_written(exported: Path, tmp_path: Path) -> None:
    foreign = HashEmbedder(msgspec.structs.replace(SPACE, revision="2"))
    with open_fake_house(tmp_path / "second", foreign) as other:
        with pytest.raises(SpaceMismatch, match="another space"):
            other.import_(exported)
        assert other.collections.list() == []
        other.collections.create("notes")
        with pytest.raises(SpaceMismatch, match="Collection 'notes' holds vectors of"):
            other.import_(exported)
        assert other.collections.get("notes").documents == 0
        assert other._parts.cache.info().vectors == 0


def test_import_takes_vectors_of_the_sibling_precision_as_they_are(
    exported: Path, house: House, tmp_path: Path
) -> None:
    sibling = HashEmbedder(msgspec.structs.replace(SPACE, precision="bf16"))
    with open_fake_house(tmp_path / "second", sibling) as other:
        report = other.import_(exported)
        assert (report.documents, report.write.tokens, sibling.calls) == (60, 0, [])
        assert other.collections.get("notes").precision == "bf16"
        assert _hits(other, "notes") == _hits(house, "notes")


def test_import_into_a_collection_that_is_cut_in_another_way_is_refused(exported: Path, tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "second") as other:
        other.collections.create("notes", chunking=ChunkingSettings(max_tokens=20))
        with pytest.raises(Conflict, match="other chunking settings"):
            other.import_(exported)


def test_import_without_a_cache_is_refused(exported: Path, tmp_path: Path) -> None:
    with (
        open_fake_house(tmp_path / "second", cache="none") as other,
        pytest.raises(InvalidSetting, match="goes through the vector cache"),
    ):
        other.import_(exported)


@pytest.mark.parametrize("name", ["documents.parquet", "chunks.parquet"])
def test_import_of_a_file_that_is_cut_off_names_it(exported: Path, tmp_path: Path, name: str) -> None:
    content = (exported / name).read_bytes()
    (exported / name).write_bytes(content[:-100])
    with open_fake_house(tmp_path / "second") as other:
        with pytest.raises(UnreadableSource, match=f"{name}: it is cut off"):
            other.import_(exported)
        (exported / name).write_bytes(content[:200] + b"x" + content[201:])
        with pytest.raises(UnreadableSource, match=f"{name}: it is damaged: its checksum"):
            other.import_(exported)
        (exported / name).unlink()
        with pytest.raises(UnreadableSource, match=f"{name}: it cannot be read"):
            other.import_(exported)
        assert other.collections.list() == []


def test_import_of_another_schema_version_says_so(exported: Path, tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "second") as other:
        _rewrite(exported, lambda manifest: manifest["header"].update(version=VERSION + 1, space="who knows"))
        with pytest.raises(
            UnreadableSource, match=f"schema version {VERSION + 1}, and this Embedhouse reads {VERSION}"
        ):
            other.import_(exported)
        _rewrite(exported, lambda manifest: manifest["header"].update(format="other"))
        with pytest.raises(UnreadableSource, match="not the manifest of an export"):
            other.import_(exported)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"header": 1}', b"\xff\xfe", b"{}"])
def test_import_of_a_damaged_manifest_is_refused(exported: Path, tmp_path: Path, content: bytes) -> None:
    (exported / "manifest.json").write_bytes(content)
    with (
        open_fake_house(tmp_path / "second") as other,
        pytest.raises(UnreadableSource, match=r"manifest\.json: it is"),
    ):
        other.import_(exported)


def test_import_of_a_manifest_whose_space_was_changed_is_refused(exported: Path, tmp_path: Path) -> None:
    _rewrite(exported, lambda manifest: manifest["header"]["space"].update(revision="2"))
    with open_fake_house(tmp_path / "second") as other, pytest.raises(UnreadableSource, match="do not agree"):
        other.import_(exported)


def test_import_of_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "second") as other:
        with pytest.raises(NotFound, match="nowhere"):
            other.import_(tmp_path / "nowhere")
        with pytest.raises(UnreadableSource, match=r"no manifest\.json"):
            other.import_(tmp_path)


def test_import_never_keeps_a_vector_under_another_text(exported: Path, tmp_path: Path) -> None:
    _replace_column(exported, "chunks.parquet", "text", lambda texts: [text.replace("17", "18") for text in texts])
    with open_fake_house(tmp_path / "second") as other:
        with pytest.raises(UnreadableSource, match="does not have the text that its vector was computed for"):
            other.import_(exported)
        assert other._parts.cache.info().vectors == 0


@pytest.mark.parametrize("bad", [float("nan"), 0.0, 3.0])
def test_import_refuses_vectors_that_no_model_gives(exported: Path, tmp_path: Path, bad: float) -> None:
    _replace_column(exported, "chunks.parquet", "vector", lambda rows: [[bad] * DIMENSIONS for _ in rows])
    with open_fake_house(tmp_path / "second") as other, pytest.raises(InvalidVector, match="of document"):
        other.import_(exported)


def test_import_refuses_files_with_other_columns(exported: Path, tmp_path: Path) -> None:
    table = parquet.read_table(exported / "chunks.parquet")
    parquet.write_table(table.drop_columns(["context"]), exported / "chunks.parquet")
    _rewrite(exported, lambda manifest: None)
    with open_fake_house(tmp_path / "second") as other, pytest.raises(UnreadableSource, match="columns"):
        other.import_(exported)


def test_import_that_is_stopped_goes_on(exported: Path, house: House, tmp_path: Path) -> None:
    embedder, deadline = HashEmbedder(), Deadline.never()

    def stop(step: Progress) -> None:
        if step.stage == "index":
            deadline.cancel()

    with open_fake_house(tmp_path / "second", embedder) as other:
        with pytest.raises(Cancelled):
            other.import_(exported, progress=stop, deadline=deadline)
        other.import_(exported)
        assert embedder.calls == []
        assert _hits(other, "notes") == _hits(house, "notes")


KILLED = """
import os, sys
from pathlib import Path
from fake_house import HashEmbedder, open_fake_house

def die(step):
    if step.stage == "index" and step.done:
        os._exit(9)

embedder = HashEmbedder()
with open_fake_house(Path(sys.argv[1]), embedder) as house:
    house.import_(sys.argv[2], progress=die)
"""


def test_import_that_is_killed_goes_on(exported: Path, house: House, tmp_path: Path) -> None:
    support = str(Path(__file__).resolve().parents[1] / "support")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "second"), str(exported)]
    environ = os.environ | {"PYTHONPATH": support}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    with open_fake_house(tmp_path / "second", embedder := HashEmbedder()) as other:
        other.import_(exported)
        assert embedder.calls == []
        assert _hits(other, "notes") == _hits(house, "notes")


def test_manifest_is_what_the_report_says(house: House, tmp_path: Path) -> None:
    report = house.export("notes", tmp_path / "out")
    manifest = msgspec.json.decode((tmp_path / "out" / "manifest.json").read_bytes(), type=Manifest)
    assert report.space == manifest.header.fingerprint == SPACE.fingerprint
    assert report.rows == {name: file.rows for name, file in manifest.files.items()}
    assert report.size_bytes == sum((tmp_path / "out" / name).stat().st_size for name in report.rows)


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[House]:
    """A house whose "notes" has the same ids and texts in three namespaces."""
    with open_fake_house(tmp_path / "first") as opened:
        opened.collections.create("notes")
        for namespace in ("default", "tenant-a", "tenant-b"):
            documents = [msgspec.structs.replace(each, namespace=namespace) for each in _documents(25)]
            opened.documents.upsert("notes", documents)
        yield opened


def test_round_trip_keeps_namespaces_apart(tenants: House, tmp_path: Path) -> None:
    tenants.export("notes", tmp_path / "out")
    embedder = HashEmbedder()
    with open_fake_house(tmp_path / "second", embedder) as other:
        assert other.import_(tmp_path / "out").documents == 75
        assert embedder.calls == []
        for namespaces in (["tenant-a"], ["tenant-b", "default"]):
            found = [house.search("notes", "river", k=50, namespaces=namespaces).hits for house in (tenants, other)]
            assert [hit.chunk_id for hit in found[1]] == [hit.chunk_id for hit in found[0]]
            assert {hit.namespace for hit in found[1]} == set(namespaces)


def test_export_of_namespaces_holds_those_alone(tenants: House, tmp_path: Path) -> None:
    tenants.export("notes", tmp_path / "out", namespaces=["tenant-a"])
    for file in ("documents.parquet", "chunks.parquet"):
        assert set(parquet.read_table(tmp_path / "out" / file).column("namespace").to_pylist()) == {"tenant-a"}
    with pytest.raises(InvalidInput, match="namespace"):
        tenants.export("notes", tmp_path / "other", namespaces=["not a name"])


def test_export_by_a_bound_caller_holds_its_namespaces_alone(tenants: House, tmp_path: Path) -> None:
    with attributed(caller="a", namespaces=["tenant-a"]):
        assert tenants.export("notes", tmp_path / "own").documents == 25
        assert tenants.export("notes", tmp_path / "flat.parquet").documents == 25
        with pytest.raises(Forbidden, match="bound to other namespaces"):
            tenants.export("notes", tmp_path / "other", namespaces=["tenant-b"])
    assert set(parquet.read_table(tmp_path / "own" / "chunks.parquet").column("namespace").to_pylist()) == {
        "tenant-a"
    }
    assert not (tmp_path / "other").exists()


def test_import_by_a_bound_caller_brings_nothing_into_other_namespaces(tenants: House, tmp_path: Path) -> None:
    tenants.export("notes", tmp_path / "all")
    tenants.export("notes", tmp_path / "own", namespaces=["tenant-a"])
    with open_fake_house(tmp_path / "second") as other:
        other.collections.create("notes")
        with attributed(caller="a", namespaces=["tenant-a"]):
            with pytest.raises(Forbidden, match="bound to other namespaces"):
                other.import_(tmp_path / "all")
            assert other._parts.cache.info().vectors == 0
            assert other.import_(tmp_path / "own").write.added == 25
        assert other.collections.get("notes").documents == 25
