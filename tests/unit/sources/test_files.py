"""Which files of a folder are read, in what order, and what one bad file does to the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from permissions import bound_by_permissions

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, NotFound
from embedhouse.ports import SourceItem
from embedhouse.sources import ReadSettings, formats, open_source

Read = Callable[..., list[SourceItem]]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"The text of {name}.")
    return folder


def ids(items: list[SourceItem]) -> list[str]:
    assert [item.error for item in items if item.error] == []
    return [item.document.id for item in items if item.document]


def test_open_source_reads_a_folder_in_a_stable_order(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "b.md", "a.txt", "sub/deep/d.txt", "sub/c.txt", "Z.TXT")
    assert ids(read(tmp_path)) == ["Z.TXT", "a.txt", "b.md", "sub/c.txt", "sub/deep/d.txt"]


def test_open_source_passes_over_hidden_and_counts_unknown_files(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", ".hidden.txt", ".git/x.txt", "b.py", "c.PY", "LICENSE", "d.png")
    source = open_source(tmp_path, ReadSettings())
    assert ids(list(source.read(Deadline.never()))) == ["a.txt"]
    assert source.skipped == {".py": 2, "no extension": 1, ".png": 1}


def test_open_source_honours_ignore_files_of_every_folder(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "a.txt", "b.md", "build/c.txt", "sub/a.txt", "sub/keep.md", "sub/own.txt", "sub/build/d.txt")
    (tmp_path / ".gitignore").write_text("# comment\n*.md\nbuild/\n/a.txt\n")
    (tmp_path / "sub" / ".embedhouseignore").write_text("!keep.md\nown.txt\n")
    assert ids(read(tmp_path)) == ["sub/a.txt", "sub/keep.md"]
    assert len(read(tmp_path, ignore_files=False)) == 7


def test_open_source_takes_include_and_exclude_patterns(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "a.txt", "b.md", "code.py", "docs/c.md", "old/d.md")
    assert ids(read(tmp_path, include=("*.md",), exclude=("old/",))) == ["b.md", "docs/c.md"]
    assert ids(read(tmp_path, include=("docs/**",))) == ["docs/c.md"]
    assert ids(read(tmp_path, include=("*.py",))) == ["code.py"]


def test_open_source_follows_no_link(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", "secret.txt")
    inside = fill(tmp_path / "inside", "a.txt")
    (inside / "link.txt").symlink_to(outside / "secret.txt")
    (inside / "folder").symlink_to(outside, target_is_directory=True)
    (inside / "loop").symlink_to(inside, target_is_directory=True)
    source = open_source(inside, ReadSettings())
    assert ids(list(source.read(Deadline.never()))) == ["a.txt"]
    assert source.skipped == {"link": 3}


def test_open_source_reads_a_link_that_is_named_itself(tmp_path: Path, read: Read) -> None:
    fill(tmp_path / "real", "a.txt")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert ids(read(tmp_path / "link")) == ["a.txt"]


def test_open_source_skips_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    source = open_source(tmp_path)
    assert list(source.read(Deadline.never())) == []
    assert source.skipped == {"special file": 1}


def test_open_source_reads_a_named_file_of_unknown_kind_as_text(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "script.py")
    assert ids(read(tmp_path / "script.py")) == ["script.py"]


def test_open_source_of_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"missing\.txt was not found"):
        open_source(tmp_path / "missing.txt")


def test_read_goes_on_after_a_bad_file(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "a.txt", "c.txt")
    (tmp_path / "b.txt").write_bytes(bytes(range(256)))
    good, bad, last = read(tmp_path)
    assert good.document
    assert last.document
    assert "b.txt: it is not text" in str(bad.error)


def test_read_reports_a_file_that_is_gone(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", "b.txt")
    source = open_source(tmp_path)
    assert list(source.sizes()) == [18, 18]
    (tmp_path / "a.txt").unlink()
    gone, there = source.read(Deadline.never())
    assert "No such file" in str(gone.error)
    assert there.document


def test_read_turns_any_failure_of_a_reader_into_an_error(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: object, settings: object) -> object:
        raise ValueError("inner trouble")

    monkeypatch.setattr("embedhouse.sources.files.reader_of", lambda kind: broken)
    fill(tmp_path, "a.txt")
    (item,) = read(tmp_path)
    assert "damaged, or not text (ValueError: inner trouble)" in str(item.error)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied; make it readable for this user"),
        (OSError(5, "Input/output error"), "Input/output error."),
        (MemoryError(), "too much memory; split it"),
    ],
)
def test_read_names_what_the_system_refused(
    failure: Exception, reason: str, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: object, settings: object) -> object:
        raise failure

    monkeypatch.setattr("embedhouse.sources.files.reader_of", lambda kind: refused)
    fill(tmp_path, "a.txt")
    (item,) = read(tmp_path)
    assert reason in str(item.error)


def test_read_stops_when_nobody_waits(tmp_path: Path) -> None:
    fill(tmp_path, "a.txt", "b.txt")
    deadline = Deadline.never()
    items = open_source(tmp_path).read(deadline)
    assert next(items).document
    deadline.cancel()
    with pytest.raises(Cancelled, match=r"reading .*b\.txt"):
        next(items)


def test_read_reports_a_folder_without_permission(tmp_path: Path, read: Read) -> None:
    fill(tmp_path, "a.txt", "closed/b.txt")
    (tmp_path / "closed").chmod(0)
    try:
        with bound_by_permissions():
            good, bad = read(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert good.document
    assert "cannot be listed" in str(bad.error)


def test_every_format_has_a_reader_that_can_be_imported() -> None:
    for name in formats._READERS:
        assert callable(formats.reader_of(name))


def test_sources_say_nothing_on_the_terminal(
    tmp_path: Path, read: Read, capfd: pytest.CaptureFixture[str], encrypted_pdf: bytes
) -> None:
    for name in ("a.pdf", "a.docx", "a.html", "a.csv", "a.jsonl", "a.md", "a.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00broken" * 20)
    (tmp_path / "b.pdf").write_bytes(encrypted_pdf)
    (tmp_path / "b.html").write_text("https://example.org/looks/like/a/locator")
    (tmp_path / "c.html").write_text('<?xml version="1.0"?><feed><p>text</p></feed>')
    assert read(tmp_path)
    assert capfd.readouterr() == ("", "")
