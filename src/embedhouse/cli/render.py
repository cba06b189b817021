"""What people read: tables, pairs, and hits with their highlights, scores and where they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedhouse.domain.hits import Explanation, Hit, SearchResult, SideScore
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE

__all__ = ["pairs", "search_result", "snippet", "table"]

_SNIPPET_CHARACTERS = 320
_LEAD = 60
_WHITE_SPACE = re.compile(r"\s+")
_INDENT = "    "


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: str = "") -> None:
    """A plain table; columns named in `right` (separated by blanks) are numbers."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = right.split()
    for column in columns:
        if column in numbers:
            grid.add_column(column, justify="right", no_wrap=True)
        else:
            grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*[Text(_shown(cell)) for cell in row])
    console.print(grid)


def pairs(console: Console, values: Mapping[str, object]) -> None:
    """Names and values below each other."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        console.print(Text.assemble((name.ljust(width), "bold"), "  ", _shown(value)))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def search_result(console: Console, result: SearchResult) -> None:
    """Hits, best first, and how long it took."""
    if result.degraded:
        console.print(Text(f"Answered by words alone. {result.degraded}\n", style="yellow"))
    for place, hit in enumerate(result.hits, start=1):
        _hit(console, place, hit)
    count = len(result.hits)
    found = "Nothing found" if not count else f"{count} hit{'s' if count > 1 else ''}"
    console.print(Text(f"{found} ({result.mode}, {result.took_ms:.0f} ms)", style="dim"))


def _hit(console: Console, place: int, hit: Hit) -> None:
    name = hit.title or hit.document_id
    console.print(Text.assemble((f"{place:>2}. ", "bold"), (name, "bold cyan"), (f"  {hit.score:.3f}", "green")))
    named = [] if hit.namespace == DEFAULT_NAMESPACE else [hit.namespace]
    where = " · ".join([*named, _near(hit.source) or hit.document_id, " › ".join(hit.headings)]).removesuffix(" · ")
    console.print(Text(_INDENT + where, style="dim"))
    text = snippet(hit)
    for line in text.wrap(console, max(20, console.width - len(_INDENT))):
        line.rstrip()
        console.print(Text(_INDENT) + line)
    if hit.explain is not None:
        for explained in _explanation(hit.explain):
            console.print(Text(_INDENT + explained, style="magenta"))
    console.print()


def snippet(hit: Hit) -> Text:
    """The part of the text with most highlights, on one line, highlights in bold."""
    start = _snippet_start(hit)
    end = min(len(hit.text), start + _SNIPPET_CHARACTERS)
    shown = Text("… " if start else "")
    place = start
    for first, last in sorted(hit.highlights):
        if place <= first and last <= end:
            shown.append(_one_line(hit.text[place:first])).append(_one_line(hit.text[first:last]), "bold yellow")
            place = last
    shown.append(_one_line(hit.text[place:end]))
    shown.rstrip()
    return shown.append(" …") if end < len(hit.text) else shown


def _one_line(text: str) -> str:
    return _WHITE_SPACE.sub(" ", text)


def _snippet_start(hit: Hit) -> int:
    if len(hit.text) <= _SNIPPET_CHARACTERS or not hit.highlights:
        return 0
    starts = [first for first, _ in hit.highlights]
    best = max(starts, key=lambda start: sum(start <= one < start + _SNIPPET_CHARACTERS - _LEAD for one in starts))
    start = max(0, min(best - _LEAD, len(hit.text) - _SNIPPET_CHARACTERS))
    # At the beginning of a word, where one begins before the highlight.
    return 0 if start == 0 else max(start, hit.text.find(" ", start, best) + 1)


def _near(source: str) -> str:
    """A path below the current folder without the folder."""
    return source.removeprefix(f"{Path.cwd()}/")


def _explanation(explain: Explanation) -> list[str]:
    lines = [_side("dense  ", explain.dense), _side("lexical", explain.lexical)]
    return [f"{explain.fusion}", *[f"  {line}" for line in lines if line]]


def _side(name: str, side: SideScore | None) -> str:
    if side is None:
        return ""
    rank = "not in its list" if side.rank is None else f"rank {side.rank}"
    contribution = side.weight * side.normalised
    return (
        f"{name} score {side.score:.4f} ({rank}), normalised {side.normalised:.4f} x weight {side.weight:g}"
        f" = {contribution:.4f}"
    )
