"""No vector of another space comes in by any door, also where the dimensions are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_house import SPACE, HashEmbedder, open_fake_house, vector_of

from embedhouse.cache.embedder import text_sha256
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import InvalidInput, InvalidSetting, SpaceMismatch
from embedhouse.domain.models import ModelChoice
from embedhouse.house import House
from embedhouse.ports import Embedder

CHANGES: list[dict[str, Any]] = [
    {"provider": "other"},
    {"model": "other"},
    {"revision": "2"},
    {"weights_sha256": "1" * 64},
    {"pooling": "cls"},
    {"normalised": False},
    {"precision": "int8"},
    {"prompts": (("query", "query: "),)},
    {"max_tokens": 128},
    {"truncation": "refuse"},
]


class Models:
    """Models by name, all of them of 16 dimensions but `small`; asked for dimensions that it has not, a model
    refuses. `asked` holds every choice."""

    def __init__(self) -> None:
        self.asked: list[ModelChoice] = []

    def open(self, choice: ModelChoice) -> Embedder:
        self.asked.append(choice)
        full = 8 if choice.model == "small" else 16
        dimensions = choice.dimensions or full
        if dimensions > full:
            raise InvalidSetting(name="dimensions", origin=str(dimensions), reason=f"the model has {full}")
        prompts = choice.prompts or ()
        space = msgspec.structs.replace(SPACE, model=choice.model, dimensions=dimensions, prompts=prompts)
        return HashEmbedder(space)


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def house(tmp_path: Path, models: Models) -> Iterator[House]:
    with open_fake_house(tmp_path, model="first") as opened:
        opened._shelf.parts = msgspec.structs.replace(opened._parts, open_embedder=models.open)
        yield opened


def _fill(house: House) -> None:
    house.collections.create("notes")
    house.documents.upsert("notes", [Document(id="a", text="A zebra.")])


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_model_that_became_another_space_is_refused_everywhere(tmp_path: Path, change: dict[str, Any]) -> None:
    with open_fake_house(tmp_path) as house:
        _fill(house)
    other = HashEmbedder(msgspec.structs.replace(SPACE, **change))
    with open_fake_house(tmp_path, other) as house:
        with pytest.raises(SpaceMismatch):
            house.search("notes", "zebra")
        with pytest.raises(SpaceMismatch):
            house.documents.upsert("notes", [Document(id="b", text="Another zebra.")])
        with pytest.raises(SpaceMismatch):
            house.models.embed(["zebra"], collection="notes")
        with pytest.raises(SpaceMismatch):
            house.collections.ensure("notes", model="hash")
        assert house.collections.get("notes").documents == 1
    assert other.calls == []


def test_collection_keeps_its_model_when_the_setting_changes(tmp_path: Path) -> None:
    with open_fake_house(tmp_path, model="first") as house:
        _fill(house)
    with open_fake_house(tmp_path, model="second") as house:
        assert house.collections.get("notes").model == "first"
        assert house.search("notes", "zebra").space == SPACE.fingerprint


def test_collection_is_opened_as_it_was_made(house: House, models: Models) -> None:
    house.collections.create("notes", model="m", precision="f32", dimensions=8, prompts={"query": "q: "})
    house.documents.upsert("notes", [Document(id="a", text="A zebra.")])
    asked = ModelChoice(model="m", precision="f32", dimensions=8, prompts=(("query", "q: "),))
    assert set(models.asked) == {asked}


@pytest.mark.parametrize(
    ("options", "agrees"),
    [
        ({}, True),
        ({"model": "first"}, True),
        ({"prompts": {"query": "q: "}}, True),
        ({"prompts": {"query": "q: ", "document": ""}}, True),
        ({"model": "second"}, False),
        ({"model": "small"}, False),
        ({"dimensions": 8}, False),
        ({"prompts": {}}, False),
        ({"prompts": {"query": "other: "}}, False),
    ],
)
def test_ensure_refuses_a_collection_of_another_space(house: House, options: dict[str, Any], agrees: bool) -> None:
    house.collections.create("notes", prompts={"query": "q: "})
    if agrees:
        assert house.collections.ensure("notes", **options).prompts == {"query": "q: "}
    else:
        with pytest.raises(SpaceMismatch, match="another space"):
            house.collections.ensure("notes", **options)


def test_prompts_of_unknown_roles_are_refused(house: House) -> None:
    with pytest.raises(InvalidInput, match="'title' is not a role"):
        house.collections.create("notes", prompts={"title": "x"})  # type: ignore[dict-item]


def test_cached_vector_of_another_space_is_not_taken(tmp_path: Path) -> None:
    other = msgspec.structs.replace(SPACE, revision="2")
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        hashes = [text_sha256(SPACE, "query", "zebra")]
        wrong = HashEmbedder(other).embed(["something else"], role="query", deadline=Deadline.never())
        house._parts.cache.put(other.fingerprint, "query", hashes, wrong)
        found = house.models.embed_vectors(["zebra"], role="query")
    np.testing.assert_array_equal(found.vectors[0], vector_of("zebra"))
    assert embedder.calls == ["zebra"]
