"""PDF through PDFium, the engine of Chrome: reading order, ligatures and hyphens as a reader sees them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing

import pypdfium2

from embedhouse.domain.errors import UnreadableSource
from embedhouse.ports import SourceItem
from embedhouse.sources.documents import check_size, file_item
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["read_pdf"]

# PDFium may be called by one thread of a process at a time.
_PDFIUM = threading.Lock()
# What PDFium puts for a hyphen at a line's end, with the line end after it.
_BROKEN_WORD = re.compile("[\x02\ufffe][\r\n]*")
_UNTITLED = re.compile(r"untitled|microsoft word|\.(?:docx?|pdf|tex|dvi|indd|odt|pptx?|xlsx?|qxd)\b", re.IGNORECASE)
_PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD


def read_pdf(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """The text of all pages, each page a paragraph; the title is the PDF's own where it is one, else the file's
    name."""
    source = str(file.path)
    with _PDFIUM:
        text, title = _read(file, settings)
    if not text.strip():
        raise UnreadableSource(
            source=source,
            reason="its pages hold no text, only pictures; run OCR on it first (for instance ocrmypdf)",
        )
    yield from file_item(file, text, "" if _UNTITLED.search(title) else title, settings)


def _read(file: FileToRead, settings: ReadSettings) -> tuple[str, str]:
    with closing(_opened(file)) as pdf:
        pages: list[str] = []
        size = 0
        for number in range(len(pdf)):
            pages.append(_page_text(pdf, number))
            size += len(pages[-1])
            check_size(size, str(file.path), settings)
        title = pdf.get_metadata_value("Title")
    return "\n\n".join(page for page in pages if page), title.strip()


def _opened(file: FileToRead) -> pypdfium2.PdfDocument:
    with file.path.open("rb"):
        pass  # PDFium reports a file without permission as damaged; open() says what it is.
    try:
        return pypdfium2.PdfDocument(file.path)
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_ERROR:
            reason = "it is protected by a password; save a copy without one"
        else:
            reason = f"it is damaged, or not a PDF ({error}); open it in a viewer and save it anew"
        raise UnreadableSource(source=str(file.path), reason=reason) from None


def _page_text(pdf: pypdfium2.PdfDocument, number: int) -> str:
    with closing(pdf[number]) as page, closing(page.get_textpage()) as text_page:
        text = _BROKEN_WORD.sub("", text_page.get_text_bounded())
    return text.replace("\r\n", "\n").replace("\x00", "").strip()
