"""HTML as Markdown: the main text with its headings as `#` lines, so that heading paths survive."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, Tag, XMLParsedAsHTMLWarning
from markdownify import MarkdownConverter

from embedhouse.ports import SourceItem
from embedhouse.sources.decoding import decode
from embedhouse.sources.documents import check_file_size, file_item
from embedhouse.sources.formats import FileToRead
from embedhouse.sources.settings import ReadSettings

__all__ = ["markdown_of", "read_html"]

# Hints for programmers on how to call it; both are what we mean. Set once: filters are global to the process.
warnings.filterwarnings("ignore", category=MarkupResemblesLocatorWarning)
warnings.filterwarnings("ignore", category=XMLParsedAsHTMLWarning)

_NO_TEXT = (
    "script, style, template, noscript, svg, math annotation, iframe, object, canvas, button, select, textarea"
)
_FRAME = (
    "nav, footer, aside, dialog, body > header:not(:has(h1)), [hidden], [aria-hidden=true], [role=navigation], "
    "[role=banner], [role=contentinfo], [role=search], [role=complementary]"
)
_MAIN = "main, [role=main], article"
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w-]+)", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{3,}")
_CONVERTER = MarkdownConverter(
    heading_style="ATX",
    bullets="-",
    strip=["a", "img", "b", "strong", "em", "i", "u", "s", "del", "mark"],
    escape_asterisks=False,
    escape_underscores=False,
    escape_misc=False,
)


def read_html(file: FileToRead, settings: ReadSettings) -> Iterator[SourceItem]:
    """The page's main text; the title is its `<title>`, else its first heading, else the file's name."""
    check_file_size(file, settings)
    data = file.path.read_bytes()
    text, title = markdown_of(_decoded(data, str(file.path)))
    yield from file_item(file, text, title, settings)


def markdown_of(html: str) -> tuple[str, str]:
    """(main text as Markdown, title). Menus, headers and footers of the page, and scripts, are left out."""
    soup = BeautifulSoup(html, "html.parser")
    title = _title(soup)
    for element in soup.select(f"{_NO_TEXT}, {_FRAME}, head"):
        element.decompose()
    body = _main(soup)
    try:
        text = _CONVERTER.convert_soup(body)
    except RecursionError:
        # Nested thousands deep: the words are worth more than their layout.
        text = body.get_text("\n", strip=True)
    return _BLANK_LINES.sub("\n\n", text).strip(), title


def _title(soup: BeautifulSoup) -> str:
    found = soup.select_one("title") or soup.find(["h1", "h2", "h3"])
    return found.get_text(" ", strip=True) if isinstance(found, Tag) else ""


def _main(soup: BeautifulSoup) -> Tag:
    """The one element that the page calls its main part; the whole page where there is none, or several."""
    for selector in _MAIN.split(", "):
        found = soup.select(selector)
        if len(found) == 1 and found[0].get_text(strip=True):
            return found[0]
    return soup


def _decoded(data: bytes, source: str) -> str:
    declared = _DECLARED.search(data[:4096])
    if declared:
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            # The page declares what it is not; its bytes tell more.
            pass
    return decode(data, source)
