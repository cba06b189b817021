"""DOCX through mammoth (to HTML, by Word's styles), then as HTML."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

import mammoth

from embedhouse.domain.errors import TooLarge, UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.documents import file_item
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.readers.html import markdown_of
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_docx"]

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
# Markup is several times the text that it carries.
_XML_PER_TEXT = 4


def read_docx(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """The text with its headings; the title is the first heading (or Word's Title), else the file's name."""
    source = str(file.path)
    with file.path.open("rb") as data:
        _check_archive(data.read(4), source)
        try:
            _check_unpacked_size(zipfile.ZipFile(data), source, settings)
            html = mammoth.convert_to_html(data, style_map=_STYLES, convert_image=_no_image).value
        # mammoth raises OSError where the main part is missing.
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise UnreadableSource(
                source=source, reason=f"it is damaged, or not a DOCX ({error}); open it in Word and save it anew"
            ) from None
    text, title = markdown_of(html)
    yield from file_item(file, text, title, settings)


def _check_archive(start: bytes, source: str) -> None:
    if start == _OLD_OFFICE:
        # Word wraps an encrypted DOCX in the container of the old format.
        raise UnreadableSource(
            source=source,
            reason="it is protected by a password, or an old .doc; save it as a DOCX without a password",
        )


def _check_unpacked_size(archive: zipfile.ZipFile, source: str, settings: ReadSettings) -> None:
    """Refuse an archive that unpacks to far more text than a document may hold, before it is unpacked."""
    size = sum(part.file_size for part in archive.infolist() if part.filename.endswith((".xml", ".rels")))
    limit = _XML_PER_TEXT * settings.max_text_bytes
    if size > limit:
        raise TooLarge(
            what=f"{source}, unpacked,",
            size=f"{size:,} bytes",
            limit=f"{limit:,} bytes",
            remedy="Split it into several documents, or raise max_text_bytes.",
        )


def _no_image(image: object) -> list[object]:
    return []
