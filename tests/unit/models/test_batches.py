"""Batches: every text once, within the budget, in few shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.models.batches import padded_length, plan_batches


@pytest.mark.parametrize(("tokens", "padded"), [(1, 4), (4, 4), (5, 8), (65, 68), (130, 144), (250, 250)])
def test_padded_length_is_the_next_step_within_the_limit(tokens: int, padded: int) -> None:
    assert padded_length(tokens, limit=250) == padded


def test_lengths_of_a_window_make_few_shapes() -> None:
    assert len({padded_length(tokens, 512) for tokens in range(1, 513)}) <= 56


@given(st.lists(st.integers(1, 256), min_size=1, max_size=300), st.integers(1, 4))
def test_plan_batches_holds_every_text_once_within_the_budget(lengths: list[int], streams: int) -> None:
    batches = plan_batches(lengths, budget=1024, streams=streams, limit=256)
    rows = np.concatenate([batch.rows for batch in batches])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.rows) * batch.length <= 1024
        assert max(lengths[row] for row in batch.rows) <= batch.length


def test_plan_batches_shares_a_small_call_among_streams() -> None:
    batches = plan_batches([50] * 12, budget=1024, streams=2, limit=256)
    assert [len(batch.rows) for batch in batches] == [6, 6]


def test_plan_batches_runs_a_text_longer_than_the_budget_alone() -> None:
    batches = plan_batches([500, 500], budget=256, streams=1, limit=512)
    assert [len(batch.rows) for batch in batches] == [1, 1]


def test_plan_batches_cuts_where_padding_would_cost_more_than_a_batch() -> None:
    batches = plan_batches([100, 100, 20, 20, 20, 20], budget=1024, streams=1, limit=256)
    assert [(batch.rows.tolist(), batch.length) for batch in batches] == [([0, 1], 100), ([2, 3, 4, 5], 20)]
    assert len(plan_batches([24, 20, 20], budget=1024, streams=1, limit=256)) == 1
