"""What roles and prompts do: texts compared with texts (STS), and queries with documents (SciFact).

    python benchmarks/bench_roles.py [--model M ...] [--limit N] [--home FOLDER] [--out FILE]
    python benchmarks/bench_roles.py --page            # fill the table of docs/how-to/roles-and-similarity.md

Each model is run with its own prompts, and with prompts set for the collection: those of E5 on both sides, and the
instruction that BGE puts in front of queries alone. STS: Spearman's correlation of the cosine with how alike people
find two sentences, both sides with one role, and with a role each. SciFact: nDCG@10 over exact cosines of whole
documents cut at the model's window, queries with the role `query`, and with the role `document` like the documents.
The sets lie in `../shared/data` beside the project.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedhouse import Embedhouse
from embedhouse.domain.spaces import Role
from embedhouse.evaluation.judgements import read_qrels, read_queries
from embedhouse.evaluation.measures import parse_measures
from embedhouse.evaluation.scoring import evaluate
from machine import DATA, PROJECT, RESULTS, versions, write_result

PAGE = PROJECT / "docs" / "how-to" / "roles-and-similarity.md"
MARKS = ("<!-- table of bench_roles.py -->\n", "<!-- end of the table -->\n")
PROMPTS: dict[str, dict[Role, str] | None] = {
    "the model's own": None,
    "`query: ` and `passage: `": {"query": "query: ", "document": "passage: "},
    "an instruction before queries": {"query": "Represent this sentence for searching relevant passages: "},
}
TOP = 100
PACKAGES = ("embedhouse", "openvino", "numpy", "ir-measures")


class Vectors:
    """Vectors of texts with one collection's model and prompts."""

    def __init__(self, house: Embedhouse, collection: str) -> None:
        self._house = house
        self._collection = collection

    def of(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """(n_texts, dimensions) float32, rows of length 1."""
        found = self._house.models.embed_vectors(texts, role=role, collection=self._collection, lane="bulk").vectors
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def main() -> None:
    """Measure and write, or fill the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", help="again for several; without it the default model")
    parser.add_argument("--limit", type=int, help="pairs, queries and documents at most, to try it out")
    parser.add_argument("--home", type=Path, help="a folder to keep vectors in; a temporary one otherwise")
    parser.add_argument("--out", type=Path, default=RESULTS / "roles.json")
    parser.add_argument("--page", action="store_true", help="write the table into the how-to page")
    arguments = parser.parse_args()
    if arguments.page:
        fill_page(json.loads(arguments.out.read_text("utf-8"))["rows"])
        return
    with (
        tempfile.TemporaryDirectory() as temporary,
        Embedhouse(home=arguments.home or Path(temporary)) as house,
    ):
        models = arguments.model or [house.settings.model]
        rows = [row for model in models for row in measure(house, model, arguments.limit)]
    about = {"limit": arguments.limit, "versions": versions(PACKAGES), "prompts": PROMPTS, "rows": rows}
    write_result("roles", about, arguments.out)
    print(table(rows))


def measure(house: Embedhouse, model: str, limit: int | None) -> list[dict[str, object]]:
    """A row for each way to prompt the model."""
    rows = []
    for number, (name, prompts) in enumerate(PROMPTS.items()):
        collection = f"roles-{number}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"
        info = house.collections.ensure(collection, model=model, prompts=prompts)
        vectors = Vectors(house, collection)
        known_as = house.models.space(collection=collection).model
        row: dict[str, object] = {
            "model": known_as,
            "prompts": name,
            "set": info.prompts,
            "precision": info.precision,
        }
        row |= {"sts": measure_sts(vectors, limit), "scifact": measure_scifact(vectors, limit)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def measure_sts(vectors: Vectors, limit: int | None) -> dict[str, float]:
    """Spearman's rho with one role on both sides, and with a role each."""
    with (DATA / "sts" / "stsb" / "stsb-en-test.csv").open(encoding="utf-8", newline="") as file:
        pairs = list(csv.reader(file))[:limit]
    judged = np.array([float(score) for _, _, score in pairs])
    sides = {
        side: {role: vectors.of([pair[side] for pair in pairs], role) for role in ("document", "query")}
        for side in (0, 1)
    }
    found = {}
    for name, (left, right) in {
        "document, document": ("document", "document"),
        "query, query": ("query", "query"),
        "query, document": ("query", "document"),
    }.items():
        cosines = np.sum(sides[0][left] * sides[1][right], axis=1)
        found[name] = round(spearman(cosines, judged), 4)
    return found


def measure_scifact(vectors: Vectors, limit: int | None) -> dict[str, float]:
    """nDCG@10 of queries with the role `query`, and with that of documents."""
    folder = DATA / "scifact"
    qrels, queries = read_qrels(folder / "qrels" / "test.tsv"), read_queries(folder / "queries.jsonl")
    asked = [query for query in queries if query in qrels][:limit]
    ids, texts = read_corpus(folder / "corpus.jsonl", limit, {one for query in asked for one in qrels[query]})
    documents = vectors.of(texts, "document")
    found = {}
    for role in ("query", "document"):
        cosines = vectors.of([queries[query] for query in asked], role) @ documents.T
        run = {}
        for row, query in enumerate(asked):
            best = np.argsort(-cosines[row], kind="stable")[:TOP]
            run[query] = {ids[place]: float(cosines[row, place]) for place in best}
        judged = {query: qrels[query] for query in asked}
        found[f"queries as {role}"] = round(evaluate(judged, run, parse_measures("nDCG@10")).measures["nDCG@10"], 4)
    return found


def read_corpus(path: Path, limit: int | None, needed: set[str]) -> tuple[list[str], list[str]]:
    """Ids and texts, title first; with a limit the needed ones and so many others."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if limit is not None:
        rows = [row for row in rows if row["_id"] in needed] + [row for row in rows if row["_id"] not in needed][
            :limit
        ]
    return [row["_id"] for row in rows], [f"{row['title']}\n{row['text']}" for row in rows]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rho, equal values sharing their mean rank."""
    return float(np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1])


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value from 1; equal ones share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[place]


def table(rows: Sequence[dict[str, dict[str, float]]]) -> str:
    """The rows in Markdown."""
    lines = [
        "| model | prompts | STS, one role | STS, a role each | SciFact, both roles | SciFact, one role |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sts, scifact = row["sts"], row["scifact"]
        figures = (
            sts["document, document"],
            sts["query, document"],
            scifact["queries as query"],
            scifact["queries as document"],
        )
        cells = [
            str(row["model"]).rsplit("/", 1)[-1],
            str(row["prompts"]),
            *(f"{figure:.3f}" for figure in figures),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fill_page(rows: Sequence[dict[str, dict[str, float]]]) -> None:
    """Put the table between the marks of the page."""
    page = PAGE.read_text("utf-8")
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}{table(rows)}{MARKS[1]}{after}", "utf-8")
    print(f"filled {PAGE}")


if __name__ == "__main__":
    main()
