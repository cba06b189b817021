"""Elasticsearch's API on a free port, by the emulator in the noida-db wheel (a test dependency)."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from redis_server import free_port

_START_TIMEOUT_S = 20.0


def emulator_binary() -> Path:
    spec = importlib.util.find_spec("noida_db")
    assert spec is not None, "install the package noida-db"
    return Path(next(iter(spec.submodule_search_locations or ()))) / "noida-db"


class ElasticsearchEmulator:
    """`with ElasticsearchEmulator(folder) as server: server.url`; started again it has all that it had."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        if self._process is not None:
            return
        binary = emulator_binary()
        binary.chmod(0o755)
        options = ["--host", "127.0.0.1", "--only", "elasticsearch", "--elasticsearch-port", str(self.port)]
        self._process = subprocess.Popen(
            [str(binary), "start", "--data-dir", str(self._folder / "emulator"), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            try:
                httpx.get(self.url, timeout=1.0)
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise AssertionError("the emulator of Elasticsearch does not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def foreign_index(url: str, name: str) -> Callable[[], bool]:
    """An index of that name that somebody else made, with one document; whether it is as it was."""
    httpx.put(f"{url}/{name}", json={"mappings": {"_meta": {"made_by": "somebody else"}}}).raise_for_status()
    httpx.put(f"{url}/{name}/_doc/1?refresh=true", json={"theirs": 1}).raise_for_status()

    def untouched() -> bool:
        described = httpx.get(f"{url}/{name}").json()[name]["mappings"]["_meta"]
        document = httpx.get(f"{url}/{name}/_doc/1").json()["_source"]
        return bool(described == {"made_by": "somebody else"} and document == {"theirs": 1})

    return untouched
