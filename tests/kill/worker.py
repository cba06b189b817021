"""Runs in a process of its own until it is killed: a seeded series of writes, each acknowledged on standard output.

python worker.py HOME SEED          upserts, deletes, metadata updates, compactions
python worker.py HOME ingest FILE   one `house.index` of a file
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from fake_house import HashEmbedder, open_fake_house

from embedhouse import Document
from embedhouse.house import House

COLLECTION = "kept"
N_IDS = 60
COMPACT_EVERY = 25

State = dict[str, tuple[str, dict[str, int]]]


class Step:
    """One write: what it does to a house, and what it does to a plain dictionary."""

    def __init__(self, number: int, random_state: random.Random) -> None:
        self.number = number
        self.kind = random_state.choices(["upsert", "delete", "metadata"], [6, 2, 2])[0]
        self.ids = [f"doc/{random_state.randrange(N_IDS)}" for _ in range(random_state.randint(1, 6))]
        self.ids = list(dict.fromkeys(self.ids))

    def text(self, document_id: str) -> str:
        # Two paragraphs, one of which often stays: a diff that keeps some chunks and not others.
        common = f"The shared paragraph of {document_id.replace('/', '')} never changes. " + "word " * 150
        return f"{common}\n\nVersion v{self.number}x of the other paragraph. " + "tail " * 150

    def apply(self, house: House) -> None:
        if self.kind == "upsert":
            house.documents.upsert(COLLECTION, [self._document(each) for each in self.ids])
        elif self.kind == "delete":
            house.documents.delete(COLLECTION, ids=self.ids)
        else:
            for each in house.documents.list(COLLECTION, limit=1000).documents:
                if each.id in self.ids:
                    house.documents.update_metadata(COLLECTION, each.id, {"step": self.number}, replace=True)

    def model(self, state: State) -> State:
        after = dict(state)
        for each in self.ids:
            if self.kind == "upsert":
                after[each] = (self.text(each), {"made": self.number})
            elif self.kind == "delete":
                after.pop(each, None)
            elif each in after:
                after[each] = (after[each][0], {"step": self.number})
        return after

    def _document(self, document_id: str) -> Document:
        return Document(id=document_id, text=self.text(document_id), metadata={"made": self.number})


def steps(seed: int) -> Iterator[Step]:
    """The same steps for the same seed, without end."""
    random_state = random.Random(seed)
    number = 0
    while True:
        yield Step(number, random_state)
        number += 1


def main(home: str, seed: str, *file: str) -> None:
    house = open_fake_house(Path(home), HashEmbedder(seconds_per_batch=0.02 if file else 0.0))
    house.collections.ensure(COLLECTION)
    print("ready", flush=True)
    if file:
        house.index(COLLECTION, [file[0]])
        print("done", flush=True)
        return
    for step in steps(int(seed)):
        step.apply(house)
        print("ack", step.number, flush=True)
        if step.number % COMPACT_EVERY == COMPACT_EVERY - 1:
            print("compacting", flush=True)
            house.collections.compact(COLLECTION)


if __name__ == "__main__":
    main(*sys.argv[1:])
