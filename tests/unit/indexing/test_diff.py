from hypothesis import given
from hypothesis import strategies as st

from embedhouse.indexing.diff import diff_chunks
from embedhouse.ledger.chunks import NewChunk


def _new(texts: list[str]) -> list[NewChunk]:
    return [
        NewChunk(ordinal=place, start=0, end=1, text=text, headings=(), context="", hash=text.encode())
        for place, text in enumerate(texts)
    ]


def _known(texts: list[str]) -> list[tuple[int, bytes, str]]:
    return [(100 + place, text.encode(), text) for place, text in enumerate(texts)]


words = st.lists(st.sampled_from("abcd"), max_size=8)


@given(before=words, after=words)
def test_diff_keeps_equal_chunks_and_loses_none(before: list[str], after: list[str]) -> None:
    diff = diff_chunks(_known(before), _new(after))
    texts = dict(zip(range(100, 100 + len(before)), before, strict=True))
    assert all(texts[key] == chunk.text for key, chunk in diff.kept)
    assert sorted([*(chunk.ordinal for _, chunk in diff.kept), *(c.ordinal for c in diff.added)]) == [
        *range(len(after))
    ]
    assert sorted([*(key for key, _ in diff.kept), *diff.gone]) == sorted(texts)
    for letter in "abcd":
        assert sum(c.text == letter for _, c in diff.kept) == min(before.count(letter), after.count(letter))


def test_diff_of_the_same_text_changes_nothing() -> None:
    diff = diff_chunks(_known(["a", "b", "a"]), _new(["a", "b", "a"]))
    assert [key for key, _ in diff.kept] == [100, 101, 102]
    assert (diff.added, diff.gone) == ([], [])
