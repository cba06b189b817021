"""Runs in a process of its own until it is killed: upgrades of a collection that is written meanwhile, or syncs of
a folder that changes. Each write and each flip is acknowledged on standard output.

python upgrade_worker.py HOME SEED            builds, promotions, rollbacks, drops, with writes between
python upgrade_worker.py HOME SEED FOLDER     syncs of that folder
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from fake_house import HashEmbedder, open_fake_house

from embedhouse import Document
from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.house import House
from embedhouse.sources.bindings import FolderSourceSettings

COLLECTION = "kept"
N_DOCUMENTS = 150


def first_documents() -> list[Document]:
    """What is there before the first upgrade."""
    return [Document(id=f"d{n}", text=_text(n, 0)) for n in range(N_DOCUMENTS)]


def _text(number: int, version: int) -> str:
    return (
        f"Document {number} in version v{version}x. {'It has words. ' * 20}\n\nAnd a tail of {number}. " + "t " * 90
    )


def write(house: House, number: int) -> str:
    """One write that is acknowledged when it returns: the id and the version."""
    document_id = number % N_DOCUMENTS
    house.documents.upsert(COLLECTION, [Document(id=f"d{document_id}", text=_text(document_id, number))])
    return f"d{document_id} {number}"


def upgrades(house: House, seed: int) -> None:
    """Without end."""
    chosen = random.Random(seed)
    stop = threading.Event()

    def keep_writing() -> None:
        number = 1
        while not stop.is_set():
            print("ack", write(house, number), flush=True)
            number += 1

    threading.Thread(target=keep_writing, daemon=True).start()
    turn = 0
    while True:
        turn += 1
        if turn % 2:
            house.upgrades.start(COLLECTION, chunking=ChunkingSettings(max_tokens=chosen.randint(30, 120)))
        else:
            house.upgrades.start(COLLECTION, lexical=LexicalSettings(k1=chosen.uniform(0.5, 1.5)))
        print("built", flush=True)
        house.upgrades.promote(COLLECTION, without_shadow=True)
        print("promoted", flush=True)
        while any(each.pending_chunks for each in house.upgrades.status(COLLECTION).generations):
            house._shelf.get(COLLECTION).finish_others(_everything(), _never())
            if chosen.random() < 0.3:
                break
        try:
            house.upgrades.rollback(COLLECTION)
            print("rolled back", flush=True)
        except Exception as error:
            print("refused", type(error).__name__, flush=True)
        house.upgrades.drop(COLLECTION)
        print("dropped", flush=True)


def syncs(house: House, seed: int, folder: Path) -> None:
    """Without end: the folder changes, then it is synced."""
    house.sources.bind(COLLECTION, FolderSourceSettings(path=str(folder)))
    chosen = random.Random(seed)
    for turn in range(1, 10_000):
        for _ in range(40):
            file = folder / f"{chosen.randrange(120)}.txt"
            if file.exists() and chosen.random() < 0.2:
                file.unlink()
            else:
                whole = folder.parent / "whole.txt"  # a text half written is no text of a source that is sound
                whole.write_text(_text(int(file.stem), turn))
                whole.replace(file)
        house.sync(COLLECTION, allow_mass_delete=True)
        print("synced", turn, flush=True)


def _everything() -> object:
    from embedhouse.ledger.changes import EVERYTHING

    return EVERYTHING


def _never() -> object:
    from embedhouse.domain.deadline import Deadline

    return Deadline.never()


def main(home: str, seed: str, *folder: str) -> None:
    house = open_fake_house(Path(home), HashEmbedder(seconds_per_batch=0.01))
    house.collections.ensure(COLLECTION)
    if folder:
        print("ready", flush=True)
        syncs(house, int(seed), Path(folder[0]))
    house.documents.upsert(COLLECTION, first_documents())
    print("ready", flush=True)
    upgrades(house, int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
