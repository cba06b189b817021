"""Bad input and faults through the shell, HTTP and Python: one clear error each, and nothing is lost."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedhouse import Document, Embedhouse
from embedhouse.domain import errors
from embedhouse.domain.error_status import status_of
from embedhouse.settings import Settings

from .doors import SHELL, Door, HttpDoor, PythonDoor, ShellDoor, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

FILES = {
    "empty.txt": b"",
    "blank.md": b" \n\t ",
    "nul.txt": b"before\0after",
    "picture.txt": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "corrupt.pdf": b"%PDF-1.7 and then nothing that a reader could use",
    "locked.pdf": b"",
}
LINES = [
    '{"_id": "one", "text": "The first row is fine."}',
    '{"_id": "two", "text": ',
    '{"_id": "three", "text": "half a pair \\ud83d of surrogates"}',
    '{"_id": "one", "text": "The same id again."}',
    '{"_id": "a\\"quoted\' / slashed", "text": "Ids may hold anything."}',
]
GOOD_IDS = ["a\"quoted' / slashed", "good.txt", "one"]
BAD_TEXTS = ["", " \t ", "before\0after", "half a pair \udcff"]


def _locked_pdf() -> bytes:
    # Password hashes that fit no password.
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    encrypt = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"11" * 32, b"22" * 32)
    trailer = b"trailer\n<< /Size 3 /Root 1 0 R %s /ID [<00><00>] >>\nstartxref\n%d\n%%%%EOF" % (encrypt, len(out))
    return out + b"xref\n0 3\n0000000000 65535 f \n" + table + trailer


@pytest.fixture
def bad_folder(tmp_path: Path) -> Path:
    """A folder in which little can be read."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, content in (FILES | {"locked.pdf": _locked_pdf()}).items():
        (folder / name).write_bytes(content)
    (folder / "good.txt").write_text("This one can be read.")
    (folder / "rows.jsonl").write_text("\n".join(LINES))
    return folder


def test_index_names_what_it_cannot_read_and_takes_the_rest(door: Door, bad_folder: Path) -> None:
    failures = door.index("bad", bad_folder)["write"]["failures"]
    said = {Path(failure["source"]).name: failure for failure in failures}
    assert sorted(said) == sorted([*FILES, *(f"rows.jsonl, line {line}" for line in (2, 3, 4))])
    assert "password" in said["locked.pdf"]["message"]
    assert "damaged" in said["corrupt.pdf"]["message"]
    assert {said[name]["code"] for name in FILES} == {"unreadable_source"}
    assert said["rows.jsonl, line 2"]["code"] == "unreadable_source"
    assert said["rows.jsonl, line 3"]["code"] == "invalid_text"
    assert said["rows.jsonl, line 4"]["code"] == "duplicate_id"
    assert door.ids("bad") == GOOD_IDS


def test_document_with_any_id_can_be_read_and_deleted(door: Door, bad_folder: Path) -> None:
    document_id = GOOD_IDS[0]
    door.index("odd", bad_folder)
    assert door.document("odd", document_id)["text"] == "Ids may hold anything."
    assert door.delete("odd", ids=[document_id]) == 1
    assert document_id not in door.ids("odd")


@pytest.mark.parametrize("text", BAD_TEXTS, ids=["empty", "blank", "nul", "surrogate"])
def test_embed_refuses_text_without_meaning(door: Door, text: str) -> None:
    with pytest.raises(errors.InvalidText) as caught:
        _embed(door, text)
    assert type(caught.value) is errors.InvalidText
    assert "visible character" in str(caught.value)


def _embed(door: Door, text: str) -> dict[str, Any]:
    # No argument of a process can hold a NUL byte, or be this long.
    if isinstance(door, ShellDoor) and ("\0" in text or len(text) > 100_000):
        return dict(door.run("embed", "-", stdin=text.encode()))
    return door.embed([text])


def test_search_refuses_half_a_surrogate_pair(door: Door) -> None:
    with pytest.raises(errors.InvalidText, match="surrogate"):
        door.search("notes", BAD_TEXTS[-1])


@pytest.mark.parametrize("dimensions", [0, -1, 385])
def test_embed_refuses_dimensions_that_the_model_does_not_have(door: Door, dimensions: int) -> None:
    with pytest.raises(errors.InvalidInput, match=r"384|dimensions"):
        door.embed(["a text"], dimensions=dimensions)


def test_upsert_refuses_an_id_that_stands_twice_in_one_batch(door: Door, bad_folder: Path) -> None:
    if isinstance(door, ShellDoor):
        pytest.skip("the shell takes batches from files alone: rows.jsonl above has the case")
    door.index("twice", bad_folder)
    with pytest.raises(errors.DuplicateId, match="pair"):
        _upsert(door, {"pair": "One of two.", "single": "All alone."}, {"pair": "Two of two."})
    assert door.ids("twice") == GOOD_IDS


def _upsert(door: Door, *parts: dict[str, str]) -> None:
    rows = [{"id": key, "text": text} for part in parts for key, text in part.items()]
    if isinstance(door, HttpDoor):
        door.call("POST", "/collections/twice/documents", {"documents": rows})
    elif isinstance(door, PythonDoor):
        door.house.documents.upsert("twice", [Document(**row) for row in rows])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused_everywhere(door: Door, number: float) -> None:
    for bad in ({"floor": number}, {"floor": {"$gte": number}}, {"floor": {"$in": [1, number]}}):
        with pytest.raises(errors.InvalidInput, match=r"NaN|Infinity"):
            door.search("notes", "the door", filter=bad)
    with pytest.raises(errors.InvalidInput, match=r"NaN|Infinity"):
        door.update_metadata("notes", "r1", {"floor": number})
    assert door.document("notes", "r1")["metadata"]["floor"] == 2


def test_index_names_a_text_over_the_limit_and_takes_the_rest(door: Door, tmp_path: Path) -> None:
    limit = Settings().max_text_bytes
    with (tmp_path / "long.txt").open("wb") as file:
        file.truncate(limit + 1)
    (tmp_path / "short.txt").write_text("This one is short.")
    (failure,) = door.index("long", tmp_path)["write"]["failures"]
    assert (failure["code"], Path(failure["source"]).name) == ("too_large", "long.txt")
    assert "50,000,000 bytes" in failure["message"]
    assert "raise max_text_bytes" in failure["message"]
    assert door.ids("long") == ["short.txt"]


def test_embed_refuses_a_text_over_the_limit(door: Door) -> None:
    text = "word " * (Settings().max_text_bytes // 5 + 1)
    with pytest.raises(errors.TooLarge, match="raise"):
        _embed(door, text)


def test_upsert_refuses_a_text_over_the_limit_and_takes_the_rest(door: Door, bad_folder: Path) -> None:
    if not isinstance(door, PythonDoor):
        pytest.skip("the shell takes files alone (above), and HTTP no body of this size (above)")
    door.index("long", bad_folder)
    long = Document(id="long", text="word " * (Settings().max_text_bytes // 5 + 1))
    report = door.house.documents.upsert("long", [long, Document(id="short", text="This one is short.")])
    assert [(failure.id, failure.code) for failure in report.failures] == [("long", "too_large")]
    assert report.added == 1


def _shell(model: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*SHELL, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env=shell_environ(model), capture_output=True, text=True, check=False)


def test_index_fails_where_nothing_at_all_can_be_read(
    default_model_folder: Path, bad_folder: Path, tmp_path: Path
) -> None:
    done = _shell(
        default_model_folder, "--home", tmp_path / "house", "index", "notes", bad_folder / "locked.pdf", "--json"
    )
    assert done.returncode == status_of(errors.UnreadableSource).exit
    assert json.loads(done.stdout)["write"]["failures"][0]["code"] == "unreadable_source"
    assert done.stderr.count("locked.pdf") == 1


def test_house_in_place_of_a_file_is_refused(default_model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "not-a-folder"
    file.write_text("mine")
    done = _shell(default_model_folder, "status", "--home", file)
    assert done.returncode == status_of(errors.ReadOnly).exit
    assert "--home" in done.stderr
    with pytest.raises(errors.ReadOnly, match="not-a-folder"):
        Embedhouse(file)
    assert file.read_text() == "mine"


def test_house_that_another_process_holds_is_refused(default_model_folder: Path, tmp_path: Path) -> None:
    with Embedhouse(tmp_path, model=str(default_model_folder), offline=True):
        done = _shell(default_model_folder, "status", "--home", tmp_path)
        assert done.returncode == status_of(errors.HouseLocked).exit
        assert "embedhouse serve" in done.stderr
    assert _shell(default_model_folder, "status", "--home", tmp_path).returncode == 0


def test_model_whose_files_fail_their_hash_is_refused(default_model_folder: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    if not (default_model_folder / "manifest.json").is_file():
        pytest.skip(f"{default_model_folder} was not fetched by `embedhouse model get`: it has no hashes to fail")
    copy = models / default_model_folder.name
    shutil.copytree(default_model_folder, copy)
    with (copy / "tokenizer.json").open("ab") as file:
        file.write(b" ")
    where = ["--home", str(tmp_path / "house"), "--set", f"models_folder={models}"]
    name = "sentence-transformers/all-MiniLM-L6-v2"
    done = _shell(default_model_folder, *where, "embed", "a text", "--model", name)
    assert done.returncode == status_of(errors.ModelDamaged).exit
    assert "tokenizer.json" in done.stderr
    assert "embedhouse model get" in done.stderr
