from typing import Any

import msgspec

from embedhouse.cli.remote_parts import RemoteModels
from embedhouse.domain.reports import Embedded, TokenVectors


class OneAnswer:
    """A wire that answers as the server does: by JSON."""

    def call(self, method: str, path: str, kind: Any, body: object = None) -> Any:
        sent = {
            "embeddings": [{"tokens": ["bank"], "offsets": [[0, 4]], "vectors": [[1.0, 0.0]]}],
            "model": "m",
            "space": "s",
            "dimensions": 2,
            "usage": {"texts": 1, "tokens": 1, "cached_texts": 0},
        }
        return msgspec.json.decode(msgspec.json.encode(sent), type=kind)


def test_remote_token_vectors_are_the_record_that_a_house_returns() -> None:
    answer: Embedded = RemoteModels(OneAnswer()).embed(["bank"], granularity="token")  # type: ignore[arg-type]
    assert answer.embeddings == [TokenVectors(tokens=["bank"], offsets=[(0, 4)], vectors=[[1.0, 0.0]])]
