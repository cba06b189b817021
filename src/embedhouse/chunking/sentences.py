"""Sentence ends by rule: Unicode's sentence terminators, less the full stops of abbreviations and numbers.

Unicode's own rule (UAX 29) breaks after "Dr. " and "Fig. ", so the words that a full stop does not end are listed
here. When in doubt it does not break: two sentences in one chunk do less harm than half of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["sentence_spans"]

_CLOSERS = "\"'”’»›)\\]}*_"
# A full-width or danda terminator ends a sentence by itself; the others only before white space. A run of marks is
# tried once (the look-behind), and never again in part (`++`): that keeps the time linear.
_MARKS = ".!?…‽؟۔।॥։"
_END = re.compile(
    rf"[。！？｡．]++[」』）】〉》”’\"'）]*+|(?<![{_MARKS}])[{_MARKS}]++[{_CLOSERS}]*+(?=\s|\Z)",
)
_LAST_WORD = re.compile(r"[^\s([{\"'“‘«/]+\Z")
_NEXT_WORD = re.compile(r"\s+([\"'“‘«(\[*_]*)([^\s.,;:!?)\]]+)")
_WORD_WINDOW = 32
_NEXT_WINDOW = 96


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


_NEVER_END = _words(
    "dr mr mrs ms messrs prof rev hon gen col capt lt sgt maj adm gov sen rep pres st mt ft e.g i.e eg ie cf viz vs"
    " approx ca al resp incl excl spp sp subsp var cv op cit ibid z.b d.h u.a bzw bspw vgl hr fr mme mlle m.me sr"
    " sra dra d.c ph.d m.d b.a m.a"
)
_BEFORE_NUMBER = _words(
    "no nos nr n fig figs eq eqs ref refs tab sec sect ch chap vol vols p pp art arts par para pt app abb bd ed ser"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
_ROMAN = _words("ii iii iv vi vii viii ix xi xii xiii")
_STARTERS = _words(
    "the this that these those a an it its he she we they i you his her their our my in on at by for from to with"
    " as if when while after before since but and or however thus there here what who why how where all some many"
    " most one two no not do does did is are was were will can der die das ein eine es er sie wir le la les il elle"
)
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]\Z")
_ENUMERATOR = re.compile(r"(?:^|[\r\n])[ \t]*(?:\d{1,3}|[A-Za-z])\Z")


def sentence_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of `text[start:end]`, white space trimmed; together they cover all the rest."""
    at = start
    for match in _END.finditer(text, start, end):
        if _is_end(text, start, match):
            yield from _trimmed(text, at, match.end())
            at = match.end()
    yield from _trimmed(text, at, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if left < len(piece):
        yield start + left, start + len(piece.rstrip())


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    if mark[0] in "。！？｡．":
        return True
    following = _NEXT_WORD.match(text, match.end(), match.end() + _NEXT_WINDOW)
    opener, word = following.groups() if following else ("", "")
    if mark[0] in "!?…" or mark.startswith(".."):
        return bool(opener) or not word[:1].islower()
    return mark[0] != "." or _full_stop_ends(text, start, match.start(), opener, word)


def _full_stop_ends(text: str, start: int, stop: int, opener: str, following: str) -> bool:
    before = text[max(start, stop - _WORD_WINDOW) : stop]
    last = _LAST_WORD.search(before)
    word = last.group().lower() if last else ""
    if word in _NEVER_END or (not opener and following[:1].islower()):
        return False
    if word in _BEFORE_NUMBER:
        return not (following[:1].isdigit() or following[:1] in "§#") and following.lower() not in _ROMAN
    if _ENUMERATOR.search(before):
        return False
    if _is_initial(word) or _DOTTED.match(word):
        return following.lower() in _STARTERS
    return True


def _is_initial(word: str) -> bool:
    return len(word) == 1 and word.isalpha()
