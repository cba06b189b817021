"""Files that are one document each: text, Markdown, HTML, PDF, DOCX."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from permissions import bound_by_permissions

from embedhouse.domain.documents import Document
from embedhouse.domain.errors import EmbedhouseError, InvalidText, TooLarge, UnreadableSource

ReadDocument = Callable[..., Document]
ReadError = Callable[..., EmbedhouseError]


def test_read_text_is_the_file_with_what_is_known_of_it(tmp_path: Path, read_document: ReadDocument) -> None:
    path = tmp_path / "note.txt"
    path.write_bytes(b"Hello\r\nworld")
    os.utime(path, (0, 86400))
    document = read_document(path)
    assert (document.id, document.text, document.title) == ("note.txt", "Hello\r\nworld", "note")
    assert document.source == str(path)
    assert document.metadata == {
        "path": "note.txt",
        "format": "text",
        "modified": "1970-01-02T00:00:00+00:00",
        "size_bytes": 12,
    }


def test_read_text_hashes_content_and_not_the_files_date(tmp_path: Path, read_document: ReadDocument) -> None:
    path = tmp_path / "note.txt"
    path.write_text("Hello")
    before = read_document(path)
    os.utime(path, (0, 0))
    after = read_document(path)
    assert before.metadata != after.metadata
    assert before.content_hash == after.content_hash


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Intro\n\n## First *one* ##\n\n# Second", "First *one*"),
        ("Title\n=====\n\ntext", "Title"),
        ("```\n# no\n```\n# Yes", "Yes"),
        ("no heading", "page"),
    ],
)
def test_read_markdown_keeps_the_source_and_finds_the_title(
    text: str, title: str, tmp_path: Path, read_document: ReadDocument
) -> None:
    (tmp_path / "page.md").write_text(text)
    document = read_document(tmp_path / "page.md")
    assert (document.text, document.title) == (text, title)


HTML = """<!doctype html><html><head><title>My page</title><style>p {}</style></head><body>
<header>Site name</header><nav>menu</nav>
<main><h1>Top &amp; all</h1><p>Some <b>bold</b> <a href="x">link</a> to snake_case.</p>
<h2>Sub</h2><ul><li>one</li><li>two</li></ul><script>x()</script></main><footer>imprint</footer></body></html>"""


def test_read_html_is_the_main_text_with_headings(tmp_path: Path, read_document: ReadDocument) -> None:
    (tmp_path / "page.html").write_text(HTML)
    document = read_document(tmp_path / "page.html")
    assert document.title == "My page"
    assert document.text == "# Top & all\n\nSome bold link to snake_case.\n\n## Sub\n\n- one\n- two"


def test_read_html_without_main_part_leaves_out_the_frame(tmp_path: Path, read_document: ReadDocument) -> None:
    (tmp_path / "page.html").write_text("<nav>menu</nav><h2>Head</h2><p>text</p><div hidden>no</div>")
    document = read_document(tmp_path / "page.html")
    assert (document.title, document.text) == ("Head", "## Head\n\ntext")


def test_read_html_takes_the_declared_encoding(tmp_path: Path, read_document: ReadDocument) -> None:
    page = '<meta charset="iso-8859-2"><p>Zażółć gęślą</p>'
    (tmp_path / "page.html").write_bytes(page.encode("iso-8859-2"))
    assert read_document(tmp_path / "page.html").text == "Zażółć gęślą"


def test_read_html_nested_too_deep_still_gives_its_words(tmp_path: Path, read_document: ReadDocument) -> None:
    (tmp_path / "page.html").write_text("<div>" * 5000 + "deep words" + "</div>" * 5000)
    assert read_document(tmp_path / "page.html").text == "deep words"


def test_read_pdf_joins_lines_and_parts_pages(
    tmp_path: Path, read_document: ReadDocument, pdf: Callable[..., bytes]
) -> None:
    (tmp_path / "paper.pdf").write_bytes(pdf(["First page.\nA hyphen-\nated word.", "Second page."]))
    document = read_document(tmp_path / "paper.pdf")
    assert document.text == "First page.\nA hyphenated word.\n\nSecond page."
    assert document.title == "paper"


@pytest.mark.parametrize(("info", "title"), [(b"A Study", "A Study"), (b"Microsoft Word - x.doc", "paper")])
def test_read_pdf_takes_its_own_title_where_it_is_one(
    info: bytes, title: str, tmp_path: Path, read_document: ReadDocument, pdf: Callable[..., bytes]
) -> None:
    (tmp_path / "paper.pdf").write_bytes(pdf(["Text."], info=b"<< /Title (%s) >>" % info))
    assert read_document(tmp_path / "paper.pdf").title == title


def test_read_pdf_refuses_a_password(tmp_path: Path, read_error: ReadError, encrypted_pdf: bytes) -> None:
    (tmp_path / "paper.pdf").write_bytes(encrypted_pdf)
    error = read_error(tmp_path / "paper.pdf")
    assert isinstance(error, UnreadableSource)
    assert "protected by a password; save a copy without one" in str(error)


@pytest.mark.parametrize("data", [b"%PDF-1.4 nothing", b"not a pdf", b""])
def test_read_pdf_refuses_a_damaged_file(data: bytes, tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / "paper.pdf").write_bytes(data)
    assert "damaged, or not a PDF" in str(read_error(tmp_path / "paper.pdf"))


def test_read_pdf_of_pictures_asks_for_ocr(
    tmp_path: Path, read_error: ReadError, pdf: Callable[..., bytes]
) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf([""]))
    assert "run OCR" in str(read_error(tmp_path / "scan.pdf"))


def test_read_docx_keeps_headings(
    tmp_path: Path, read_document: ReadDocument, docx: Callable[[Path, list[tuple[str, str]]], None]
) -> None:
    docx(tmp_path / "letter.docx", [("Title", "My letter"), ("Heading1", "Intro"), ("", "Some text.")])
    document = read_document(tmp_path / "letter.docx")
    assert (document.title, document.text) == ("My letter", "# My letter\n\n# Intro\n\nSome text.")


@pytest.mark.parametrize("data", [b"PK\x03\x04 garbage", b"garbage", b""])
def test_read_docx_refuses_a_damaged_file(data: bytes, tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / "letter.docx").write_bytes(data)
    assert "damaged, or not a DOCX" in str(read_error(tmp_path / "letter.docx"))


def test_read_docx_refuses_another_zip(tmp_path: Path, read_error: ReadError) -> None:
    with zipfile.ZipFile(tmp_path / "letter.docx", "w") as archive:
        archive.writestr("a.txt", "text")
    assert "damaged, or not a DOCX" in str(read_error(tmp_path / "letter.docx"))


def test_read_docx_names_a_password(tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / "letter.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    assert "protected by a password" in str(read_error(tmp_path / "letter.docx"))


def test_read_docx_refuses_a_zip_bomb_before_it_unpacks(
    tmp_path: Path, read_error: ReadError, docx: Callable[[Path, list[tuple[str, str]]], None]
) -> None:
    docx(tmp_path / "bomb.docx", [("", "0" * 5_000_000)])
    assert (tmp_path / "bomb.docx").stat().st_size < 50_000
    started = time.process_time()
    error = read_error(tmp_path / "bomb.docx", max_text_bytes=1_000_000)
    assert isinstance(error, TooLarge)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
@pytest.mark.parametrize("data", [b"", b" \n\t\r\n"])
def test_reader_refuses_an_empty_file(name: str, data: bytes, tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / name).write_bytes(data)
    assert "it holds no text" in str(read_error(tmp_path / name))


def test_reader_refuses_a_nul_character(tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / "a.txt").write_bytes(
        b"a long text with one odd byte: \x00 and then it goes on with many more words"
    )
    error = read_error(tmp_path / "a.txt")
    assert isinstance(error, InvalidText)
    assert "NUL byte at character 31" in str(error)


def test_reader_refuses_a_text_over_the_limit(tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / "a.txt").write_text("x" * 101)
    error = read_error(tmp_path / "a.txt", max_text_bytes=100)
    assert isinstance(error, TooLarge)
    assert "101 bytes, and the limit is 100 bytes" in str(error)


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.docx", "a.jsonl", "a.csv"])
def test_reader_names_a_file_without_permission(name: str, tmp_path: Path, read_error: ReadError) -> None:
    (tmp_path / name).write_text("text")
    (tmp_path / name).chmod(0)
    with bound_by_permissions():
        assert "make it readable for this user" in str(read_error(tmp_path / name))
