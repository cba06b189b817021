"""A folder of our own texts, and a house behind each of the three doors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .doors import Door, HttpDoor, PythonDoor, ShellDoor

TEXTS = {
    "garden.md": """# The garden

## Watering

Tomatoes want a deep soak twice a week rather than a sprinkle every day. Water at the roots, in the morning.

## Pests

Aphids gather on the young shoots of the roses. Ladybirds eat them.
""",
    "flat.md": """# The flat

## Lease

The lease on the flat in Harbour Street ends in June. Notice has to be given in writing.

## Heating

If the boiler shows error E119, the pressure is too low.
""",
    "bread.txt": "Feed the sourdough starter in the evening. Bake the loaf at 240 degrees with plenty of steam.",
    "letters/ämter & co.txt": "The tax office wants the form back before the end of May.",
}
ROWS = [
    {"_id": "r1", "title": "Printer", "text": "The printer on the second floor jams.", "floor": 2, "open": True},
    {"_id": "r/2 \"x'", "title": "Door", "text": "The front door does not close.", "floor": 0, "open": False},
    {"_id": "r3", "title": "Lamp", "text": "A lamp in the corridor flickers.", "tags": ["light", "urgent"]},
]
ALL_IDS = sorted([*TEXTS, *(str(row["_id"]) for row in ROWS)])
DOORS = {"shell": ShellDoor, "http": HttpDoor, "python": PythonDoor}


def write_corpus(folder: Path) -> Path:
    """The texts and rows as files."""
    for name, text in TEXTS.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "tickets.jsonl").write_text(rows, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module", params=sorted(DOORS))
def door(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    default_model_folder: Path,
    corpus: Path,
) -> Iterator[Door]:
    """A house of its own behind each door, with the folder indexed as "notes"."""
    opened = DOORS[request.param](tmp_path_factory.mktemp(request.param) / "house", default_model_folder)
    opened.index("notes", corpus)
    yield opened
    opened.close()
