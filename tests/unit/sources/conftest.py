"""Files of every format, made here byte by byte."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.ports import SourceItem
from embedhouse.sources import ReadSettings, open_source

Read = Callable[..., list[SourceItem]]

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@pytest.fixture
def read() -> Read:
    """Everything that a path yields, with the given settings."""

    def read(path: Path, **settings: object) -> list[SourceItem]:
        return list(open_source(path, ReadSettings(**settings)).read(Deadline.never()))  # type: ignore[arg-type]

    return read


@pytest.fixture
def read_document(read: Read) -> Callable[..., Document]:
    """The one document of a path."""

    def read_document(path: Path, **settings: object) -> Document:
        (item,) = read(path, **settings)
        assert item.document is not None, item.error
        return item.document

    return read_document


@pytest.fixture
def read_error(read: Read) -> Callable[..., EmbedhouseError]:
    """The one error of a path."""

    def read_error(path: Path, **settings: object) -> EmbedhouseError:
        (item,) = read(path, **settings)
        assert item.error is not None, item.document
        return item.error

    return read_error


def pdf_bytes(pages: list[str], trailer: bytes = b"", info: bytes = b"<< >>") -> bytes:
    """A PDF with a line of text for each line of each page."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        info,
    ]
    kids = []
    for page in pages:
        lines = b" ".join(b"(%s) Tj T*" % line.encode("latin-1") for line in page.split("\n"))
        stream = b"BT /F1 12 Tf 72 720 Td 14 TL " + lines + b" ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R %s >>\nstartxref\n%d\n%%%%EOF"
    return out + head + table + tail % (len(objects) + 1, trailer, len(out))


ENCRYPTED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >> /ID [<00><00>]" % (
    b"11" * 32,
    b"22" * 32,
)


def write_docx(path: Path, paragraphs: list[tuple[str, str]]) -> None:
    """A DOCX of (style, text) paragraphs; the style is `Heading1`, `Title` or empty."""
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'
        for style, text in paragraphs
    )
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{style}"><w:name w:val="{name}"/></w:style>'
        for style, name in (("Heading1", "heading 1"), ("Title", "Title"))
    )
    relation = '<Relationships xmlns="{}"><Relationship Id="r1" Type="{}/{}" Target="{}"/></Relationships>'
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": relation.format(_RELATIONS, _OFFICE, "officeDocument", "word/document.xml"),
        "word/_rels/document.xml.rels": relation.format(_RELATIONS, _OFFICE, "styles", "styles.xml"),
        "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
        "word/styles.xml": f'<w:styles xmlns:w="{_WORD}">{styles}</w:styles>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.fixture
def pdf() -> Callable[..., bytes]:
    return pdf_bytes


@pytest.fixture
def encrypted_pdf() -> bytes:
    return pdf_bytes(["secret"], ENCRYPTED)


@pytest.fixture
def docx() -> Callable[[Path, list[tuple[str, str]]], None]:
    return write_docx
