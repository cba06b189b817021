"""Searches that start from documents."""

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput, TooLarge, UnknownDocument
from embedhouse.search.recommend import MAX_EXAMPLES, Recommender, Wanted


@pytest.fixture
def circle(generation):
    """Documents at 0, 20, ... 180 degrees."""
    for angle in range(0, 181, 20):
        generation.add(f"d{angle:03}", "text", angle, half="low" if angle < 90 else "high")
    return generation


def recommended(generation, **fields):
    result = Recommender(generation.parts).recommend(Wanted(**fields), Deadline.never())
    return [hit.document_id for hit in result.hits]


def test_more_like_finds_neighbours_and_not_itself(circle):
    result = Recommender(circle.parts).more_like("d060", Deadline.never(), k=3)
    assert [hit.document_id for hit in result.hits] == ["d040", "d080", "d020"]
    assert result.hits[0].score == pytest.approx(np.cos(np.radians(20)), abs=1e-6)
    assert circle.embedder.calls == []


def test_more_like_searches_from_the_mean_of_the_chunks(generation):
    generation.add("long", "x", 0)
    generation.add("long", "x", 60, ordinal=1)
    generation.add("middle", "x", 30)
    generation.add("edge", "x", -10)
    hits = Recommender(generation.parts).more_like("long", Deadline.never()).hits
    assert [hit.document_id for hit in hits] == ["middle", "edge"]
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)


def test_more_like_an_unknown_document_names_it(circle):
    with pytest.raises(UnknownDocument) as error:
        Recommender(circle.parts).more_like("nobody", Deadline.never())
    assert error.value.fields == {"collection": "fakes", "id": "nobody"}


def test_recommend_average_moves_away_from_what_is_disliked(circle):
    assert recommended(circle, liked=["d080"], k=2) == ["d060", "d100"]
    assert recommended(circle, liked=["d080"], disliked=["d060"], k=2) == ["d100", "d120"]


def test_recommend_best_score_follows_likes_that_have_nothing_in_common(circle):
    found = recommended(circle, liked=["d000", "d180"], k=2, strategy="best_score")
    assert found == ["d020", "d160"]


def test_recommend_best_score_puts_what_is_nearer_to_a_dislike_last(circle):
    found = recommended(circle, liked=["d080"], disliked=["d140"], k=8, strategy="best_score")
    assert set(found[:2]) == {"d060", "d100"}
    assert found[2:6] == ["d040", "d020", "d000", "d180"]
    assert set(found[6:]) == {"d120", "d160"}


@pytest.mark.parametrize("strategy", ["average", "best_score"])
def test_recommend_filters(circle, strategy):
    found = recommended(circle, liked=["d080"], k=2, filter={"half": "high"}, strategy=strategy)
    assert found == ["d100", "d120"]


def test_recommend_chunks_on_request(generation):
    generation.add("a", "x", 0)
    generation.add("b", "x", 10)
    generation.add("b", "x", 20, ordinal=1)
    wanted = Wanted(liked=["a"], documents=False)
    hits = Recommender(generation.parts).recommend(wanted, Deadline.never()).hits
    assert [hit.chunk_id for hit in hits] == ["b#0", "b#1"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"liked": []}, InvalidInput),
        ({"liked": ["d000"], "k": 0}, InvalidInput),
        ({"liked": ["d000"], "strategy": "worst"}, InvalidInput),
        ({"liked": ["d000", "d180"]}, InvalidInput),
        ({"liked": ["d000"] * (MAX_EXAMPLES + 1)}, TooLarge),
        ({"liked": ["d000"], "disliked": ["nobody"]}, UnknownDocument),
    ],
)
def test_recommend_refuses_what_has_no_answer(circle, fields, error):
    with pytest.raises(error):
        recommended(circle, **fields)
