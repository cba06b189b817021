"""One text just under the limit of 50 MB: it goes in at each door, in bounded memory."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embedhouse.settings import Settings

from .doors import SHELL, HttpDoor, heed_interrupts, shell_environ

pytestmark = [
    pytest.mark.model,
    pytest.mark.full,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

MAX_PEAK_MIB = 1_536
LEAST_CHUNKS = 40_000
_SENTENCE = "Sentence {n} tells of {m} lamps in a house with {k} floors.\n"
_PYTHON = """
import sys
from pathlib import Path
from embedhouse import Document, Embedhouse
home, model, file = sys.argv[1:]
with Embedhouse(home, model=model, offline=True) as house:
    house.collections.create("long")
    document = Document(id="long.txt", text=Path(file).read_text())
    assert house.documents.upsert("long", [document], wait="accepted").added == 1
    print(Path("/proc/self/status").read_text())
"""


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "long.txt"
    left = Settings().max_text_bytes
    with file.open("w") as lines:
        for n in range(left):
            sentence = _SENTENCE.format(n=n, m=n * 7, k=n % 97)
            if len(sentence) > left:
                break
            lines.write(sentence)
            left -= len(sentence)
    return file


def _peak_mib(status: str) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def _status_of(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> str:
    return Path(f"/proc/{process.pid}/status").read_text()


def _chunks(home: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{home / 'ledger.db'}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM chunk").fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet
        return 0


def test_python_takes_a_text_of_50_mb(tmp_path: Path, default_model_folder: Path, long_file: Path) -> None:
    arguments = [str(tmp_path), str(default_model_folder), str(long_file)]
    done = subprocess.run([sys.executable, "-c", _PYTHON, *arguments], capture_output=True, text=True, check=True)
    assert _peak_mib(done.stdout) < MAX_PEAK_MIB
    assert _chunks(tmp_path) > LEAST_CHUNKS


def test_http_takes_a_text_of_50_mb(tmp_path: Path, default_model_folder: Path, long_file: Path) -> None:
    door = HttpDoor(
        tmp_path, default_model_folder, "--set", "max_body_bytes=100000000", "--set", "request_timeout_s=600"
    )
    door.client.timeout = 600
    door.call("POST", "/collections", {"name": "long"})
    body = {"documents": [{"id": "long.txt", "text": long_file.read_text()}], "wait": "accepted"}
    assert door.call("POST", "/collections/long/documents", body)["added"] == 1
    peak = _peak_mib(_status_of(door.server.process))
    door.close()
    assert peak < MAX_PEAK_MIB
    assert _chunks(tmp_path) > LEAST_CHUNKS


def test_shell_takes_a_text_of_50_mb(tmp_path: Path, default_model_folder: Path, long_file: Path) -> None:
    index = [*SHELL, "--home", str(tmp_path), "index", "long", str(long_file)]
    environ = shell_environ(default_model_folder)
    process = subprocess.Popen(
        index, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts
    )
    while not _chunks(tmp_path) and process.poll() is None:
        time.sleep(0.1)
    peak = _peak_mib(_status_of(process))
    process.send_signal(signal.SIGINT)  # to embed it all takes a quarter of an hour
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert peak < MAX_PEAK_MIB
    status = [*SHELL, "--home", str(tmp_path), "status", "--json"]
    done = subprocess.run(status, env=environ, capture_output=True, check=True)
    (collection,) = json.loads(done.stdout)["collections"]
    assert collection["documents"] == 1
    assert collection["chunks"] > LEAST_CHUNKS
    assert 0 < collection["pending_chunks"] <= collection["chunks"]
