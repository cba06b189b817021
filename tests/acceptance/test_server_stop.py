"""SIGTERM: what is under way is finished, what was acknowledged is kept, and the server exits with 0."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import httpx
import pytest

from .doors import Server

pytestmark = pytest.mark.model

COUNT = 100


def test_sigterm_finishes_the_write_that_is_under_way(tmp_path: Path, default_model_folder: Path) -> None:
    home = tmp_path / "house"
    server = Server(home, default_model_folder)
    documents = [{"id": str(n), "text": f"Letter {n}. " * 60} for n in range(COUNT)]
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        client.post("/collections", json={"name": "letters"}).raise_for_status()

        def write() -> None:
            answers.append(client.post("/collections/letters/documents", json={"documents": documents}))

        writing = threading.Thread(target=write)
        writing.start()
        time.sleep(0.3)
        assert server.stop() == 0
        writing.join(30)
    assert [answer.status_code for answer in answers] == [200]
    assert answers[0].json()["added"] == COUNT
    again = Server(home, default_model_folder)
    status = httpx.get(f"{again.url}/status").json()
    assert again.stop() == 0
    assert status["clean"] is True
    assert status["collections"][0]["documents"] == COUNT
