"""What the queries that the adapter sends mean, over a few documents; every other form is a complaint."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Query = dict[str, Any]
Source = dict[str, Any]


class BadForm(Exception):
    """A request that no server of that product and version would take."""


class NotThere(Exception):
    """An index of that name."""


def need(holds: bool, what: str) -> None:
    if not holds:
        raise BadForm(what)


@dataclass
class StoredIndex:
    """`documents` is what was written, `visible` what a search sees: the state of the last refresh."""

    aliases: dict[str, Any]
    settings: dict[str, Any]
    mappings: dict[str, Any]
    documents: dict[str, Source] = field(default_factory=dict)
    visible: dict[str, Source] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = self.mappings.get("properties", {})
        return found


@dataclass(frozen=True)
class Scorer:
    """Scores of the visible documents of one index: {id: score} of those that match."""

    index: StoredIndex
    opensearch: bool
    version: tuple[int, int]

    def scores(self, query: Query) -> dict[str, float]:
        ((kind, body),) = query.items()
        if kind == "match":
            return self._bm25(body)
        if kind == "knn":
            return self._nearest(body)
        if kind == "script_score":
            return self._by_script(body)
        if kind == "bool" and "must" in body:
            need(set(body) <= {"must", "filter"}, f"bool with {sorted(body)}")
            ((must),) = body["must"]
            only = {"bool": {"filter": body.get("filter", [])}}
            return {key: score for key, score in self.scores(must).items() if self._passes(key, only)}
        return {key: 0.0 for key in self.index.visible if self._passes(key, query)}

    # ---- Filters -------------------------------------------------------------------------------------------------

    def _passes(self, key: str, query: Query) -> bool:
        ((kind, body),) = query.items()
        match kind:
            case "match_all" | "match_none":
                need(body == {}, kind)
                return kind == "match_all"
            case "ids":
                return key in body["values"]
            case "bool":
                return self._passes_bool(key, body)
        ((name, wanted),) = body.items()
        values = self._values(self.index.visible[key], name)
        match kind:
            case "term":
                need(isinstance(wanted, str), "a term is a string")
                return wanted in values
            case "terms":
                need(isinstance(wanted, list) and len(wanted) <= 65_536, "terms is a list")
                return not values.isdisjoint(wanted)
            case "range":
                return any(all(_in_order(value, op, bound) for op, bound in wanted.items()) for value in values)
        raise BadForm(f"query {kind}")

    def _passes_bool(self, key: str, body: Query) -> bool:
        need(set(body) <= {"filter", "must_not", "should", "minimum_should_match"}, f"bool with {sorted(body)}")
        need(("should" in body) == ("minimum_should_match" in body), "should says how many")
        if not all(self._passes(key, part) for part in body.get("filter", [])):
            return False
        if any(self._passes(key, part) for part in body.get("must_not", [])):
            return False
        return "should" not in body or any(self._passes(key, part) for part in body["should"])

    def _values(self, source: Source, name: str) -> set[Any]:
        top, _, inner = name.partition(".")
        need(top in self.index.fields, f"field {name} is not mapped")
        if inner:
            return {value for each in source[top] for value in each.get(inner, [])}
        need(self.index.fields[name]["type"] == "keyword", f"field {name} is not a keyword")
        value = source[name]
        return set(value) if isinstance(value, list) else {value}

    # ---- Scores --------------------------------------------------------------------------------------------------

    def _bm25(self, body: Query) -> dict[str, float]:
        ((name, match),) = body.items()
        mapped = self.index.fields[name]
        need(mapped["type"] == "text" and set(match) == {"query", "boost"}, "match")
        analyzer = self.index.settings["analysis"]["analyzer"][mapped["analyzer"]]
        need(analyzer == {"type": "custom", "tokenizer": "whitespace"}, "the analyzer only splits at spaces")
        bm25 = self.index.settings["similarity"][mapped["similarity"]]
        need(bm25["type"] == "BM25", "similarity")
        texts = {key: source[name].split() for key, source in self.index.visible.items() if source[name].split()}
        average = sum(map(len, texts.values())) / max(1, len(texts))
        # Elasticsearch, and OpenSearch before 3, kept the factor that Lucene dropped.
        factor = 1.0 if self.opensearch and self.version >= (3, 0) else bm25["k1"] + 1
        counts = {key: Counter(terms) for key, terms in texts.items()}
        scores: dict[str, float] = {}
        for term in dict.fromkeys(match["query"].split()):
            having = [key for key in texts if term in counts[key]]
            rarity = math.log(1 + (len(texts) - len(having) + 0.5) / (len(having) + 0.5))
            for key in having:
                length = 1 - bm25["b"] + bm25["b"] * len(texts[key]) / average
                share = counts[key][term] / (counts[key][term] + bm25["k1"] * length)
                scores[key] = scores.get(key, 0.0) + match["boost"] * factor * rarity * share
        return scores

    def _nearest(self, body: Query) -> dict[str, float]:
        """The best of all: one shard, whose graph misses nothing."""
        if self.opensearch:
            ((name, body),) = body.items()
            need(set(body) <= {"vector", "k", "filter"}, f"knn with {sorted(body)}")
            asked, k = body["vector"], body["k"]
            only = body.get("filter", {"match_all": {}})
        else:
            asked_k = {"k"} if self.version >= (8, 15) else set()
            forms = {"field", "query_vector", "num_candidates"} | asked_k
            need(set(body) - {"filter"} == forms, f"knn with {sorted(body)}")
            name, asked, k = body["field"], body["query_vector"], body["num_candidates"]
            need(body.get("k", k) == k, "all candidates are asked for")
            only = {"bool": {"filter": body.get("filter", [])}}
        need(0 < k <= 10_000, "10 000 candidates at most")
        found = self._cosines(name, asked, [key for key in self.index.visible if self._passes(key, only)])
        return dict(sorted(found.items(), key=lambda item: -item[1])[:k])

    def _by_script(self, body: Query) -> dict[str, float]:
        need(set(body) == {"query", "script"} and set(body["script"]) == {"source", "params"}, "script_score")
        source = {
            True: "Math.max(cosineSimilarity(params.q, doc['v']) + 1.0, 0)",
            False: "Math.max(dotProduct(params.q, 'v') + 1.0, 0)",
        }[self.opensearch]
        need(body["script"]["source"] == source, "the script is the one that the server has compiled")
        matches = list(self.scores(body["query"]))
        cosines = self._cosines("v", body["script"]["params"]["q"], matches)
        return {key: max(cosine + 1.0, 0.0) for key, cosine in cosines.items()}

    def _cosines(self, name: str, asked: list[float], keys: list[str]) -> dict[str, float]:
        mapped = self.index.fields[name]
        need(len(asked) == mapped["dimension" if self.opensearch else "dims"], "dimensions of the query")
        need(abs(math.sqrt(sum(x * x for x in asked)) - 1) < 1e-4, "a unit vector is asked for")
        if not keys:
            return {}
        stacked = np.array([self.index.visible[key][name] for key in keys], np.float32)
        cosines = stacked @ np.array(asked, np.float32)
        return dict(zip(keys, cosines.tolist(), strict=True))


def _in_order(value: Any, op: str, bound: Any) -> bool:
    need(type(value) is type(bound), f"{value!r} and {bound!r} have an order")
    return {"gt": value > bound, "gte": value >= bound, "lt": value < bound, "lte": value <= bound}[op]
