"""What people read."""

from __future__ import annotations

import io

from rich.console import Console

from embedhouse.cli.render import pairs, search_result, snippet, table
from embedhouse.domain.hits import Explanation, Hit, SearchResult, SideScore


def _printed(render: object, *arguments: object) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    render(console, *arguments)  # type: ignore[operator]
    return console.file.getvalue()  # type: ignore[attr-defined]


def _hit(text: str, **fields: object) -> Hit:
    return Hit(document_id="d", chunk_id="d#0", score=0.5, text=text, **fields)


def test_snippet_of_short_text_is_all_of_it_on_one_line() -> None:
    shown = snippet(_hit("one\ntwo\tthree", highlights=[(4, 7)]))
    assert shown.plain == "one two three"
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["two"]


def test_snippet_of_long_text_keeps_its_highlight_in_place() -> None:
    text = "word " * 200 + "needle" + " word" * 200
    start = text.index("needle")
    shown = snippet(_hit(text, highlights=[(start, start + 6)]))
    assert shown.plain.startswith("… ")
    assert shown.plain.endswith(" …")
    assert len(shown.plain) < 340
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["needle"]


def test_snippet_shows_the_part_with_most_highlights() -> None:
    text = "alone " + "x " * 500 + "both together" + " y" * 500
    start = text.index("both")
    shown = snippet(_hit(text, highlights=[(0, 5), (start, start + 4), (start + 5, start + 13)]))
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["both", "together"]


def test_snippet_without_highlight_begins_at_the_beginning() -> None:
    assert snippet(_hit("a" * 1000)).plain == "a" * 320 + " …"


def test_search_result_shows_score_source_headings_and_text() -> None:
    hit = _hit("The text.", title="A title", source="notes/a.md", headings=("One", "Two"))
    printed = _printed(search_result, SearchResult(hits=[hit], mode="hybrid", space="s", took_ms=4.2))
    assert " 1. A title  0.500" in printed
    assert "notes/a.md · One › Two" in printed
    assert "    The text." in printed
    assert "1 hit (hybrid, 4 ms)" in printed


def test_search_result_without_hits_says_so() -> None:
    printed = _printed(search_result, SearchResult(hits=[], mode="lexical", space="s", took_ms=1))
    assert printed.strip() == "Nothing found (lexical, 1 ms)"


def test_search_result_explains_each_side() -> None:
    side = SideScore(score=0.61, rank=2, normalised=0.8, weight=0.5)
    other = SideScore(score=0.0, rank=None, normalised=0.0, weight=0.5)
    hit = _hit("x", explain=Explanation(fusion="convex", dense=side, lexical=other))
    printed = _printed(search_result, SearchResult(hits=[hit], mode="hybrid", space="s", took_ms=1))
    assert "dense   score 0.6100 (rank 2), normalised 0.8000 x weight 0.5 = 0.4000" in printed
    assert "lexical score 0.0000 (not in its list)" in printed


def test_search_result_never_reads_text_as_markup() -> None:
    printed = _printed(search_result, SearchResult(hits=[_hit("[bold]x[/]")], mode="dense", space="s", took_ms=1))
    assert "[bold]x[/]" in printed


def test_table_and_pairs_group_digits_and_never_read_markup() -> None:
    assert "12,345" in _printed(table, ["name", "count"], [("[red]a", 12345)])
    assert "[red]a" in _printed(table, ["name", "count"], [("[red]a", 12345)])
    assert "on   yes" in _printed(pairs, {"on": True, "n": 0.25}).replace("on  yes", "on   yes")


def test_search_result_that_words_alone_answered_says_so_first() -> None:
    why = "The provider is down."
    result = SearchResult(hits=[_hit("text")], mode="lexical", space="s", took_ms=1, degraded=why)
    assert _printed(search_result, result).startswith("Answered by words alone. The provider is down.\n")
