"""Asks a collection three questions and prints the answers: the last step of ./quickstart.

Questions are those given, or the ones below for the project's own docs, or what the collection's own documents are
about: titles of documents that lie far apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EMBEDHOUSE = Path(sys.executable).with_name("embedhouse")
ABOUT_THE_DOCS = [
    "how do I find only documents of one year?",
    "may other computers use my server?",
    "what happens if the power fails while I index?",
]
HITS = "2"


def main(collection: str, questions: list[str]) -> None:
    """Ask and print."""
    if not questions:
        questions = ABOUT_THE_DOCS if collection == "docs" else titles(collection)
    for question in questions:
        print(f"\n\033[1m== {question}\033[0m", flush=True)
        subprocess.run([EMBEDHOUSE, "search", collection, question, "-k", HITS, "--documents"], check=True)


def titles(collection: str) -> list[str]:
    """Titles of three documents: the first, the middle and the last of those with a title of several words."""
    command = [EMBEDHOUSE, "documents", "list", collection, "--limit", "1000", "--json"]
    page = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    found = list(dict.fromkeys(question_of(document["title"], document["id"]) for document in page["documents"]))
    telling = [title for title in found if len(title.split()) > 1] or found
    return [telling[place] for place in sorted({0, len(telling) // 2, len(telling) - 1} & set(range(len(telling))))]


def question_of(title: str, id: str) -> str:
    """A title as words: a file's name without its extension, dashes and underscores."""
    return " ".join((title or Path(id).stem).replace("_", " ").replace("-", " ").split())[:200]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
