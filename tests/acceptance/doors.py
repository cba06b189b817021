"""Three doors to one house, with one handle: the same calls, the same JSON back, the same errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from embedhouse import Embedhouse
from embedhouse.cli.wire import error_from_wire, path
from embedhouse.domain.error_status import status_of
from embedhouse.domain.errors import EmbedhouseError

Record = dict[str, Any]
SHELL = [sys.executable, "-c", "from embedhouse.cli import main; main()"]
START_TIMEOUT_S = 60


class Door(Protocol):
    """What the cases need. Errors: those of the house, by class; each door checks its own status on the way."""

    def index(self, collection: str, folder: Path) -> Record: ...

    def search(self, collection: str, text: str, **fields: Any) -> Record: ...

    def document(self, collection: str, id: str) -> Record: ...

    def update_metadata(self, collection: str, id: str, metadata: Record) -> None: ...

    def delete(self, collection: str, **which: Any) -> int: ...

    def ids(self, collection: str) -> list[str]: ...

    def embed(self, texts: list[str], **options: Any) -> Record: ...

    def status(self) -> Record: ...

    def close(self) -> None: ...


class PythonDoor:
    """`from embedhouse import Embedhouse`."""

    def __init__(self, home: Path, model: Path) -> None:
        self.house = Embedhouse(home, model=str(model), offline=True)

    def index(self, collection: str, folder: Path) -> Record:
        return _plain(self.house.index(collection, [folder]))

    def search(self, collection: str, text: str, **fields: Any) -> Record:
        return _plain(self.house.search(collection, text, **fields))

    def document(self, collection: str, id: str) -> Record:
        return _plain(self.house.documents.get(collection, id))

    def update_metadata(self, collection: str, id: str, metadata: Record) -> None:
        self.house.documents.update_metadata(collection, id, metadata)

    def delete(self, collection: str, **which: Any) -> int:
        return self.house.documents.delete(collection, **which)

    def ids(self, collection: str) -> list[str]:
        return [view.id for view in self.house.documents.list(collection).documents]

    def embed(self, texts: list[str], **options: Any) -> Record:
        return _plain(self.house.models.embed(texts, **options))

    def status(self) -> Record:
        return _plain(self.house.status())

    def close(self) -> None:
        self.house.close()


class ShellDoor:
    """`embedhouse ... --json`, a process for each call."""

    def __init__(self, home: Path, model: Path) -> None:
        self.home = home
        self.environ = shell_environ(model)

    def run(self, *arguments: str, stdin: bytes = b"") -> Any:
        done = subprocess.run(
            [*SHELL, "--home", str(self.home), "--json", *arguments],
            input=stdin,
            env=self.environ,
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        assert done.stdout == b""
        body = json.loads(done.stderr.splitlines()[-1])["error"]
        error = error_from_wire(body["code"], body["message"], body["fields"])
        assert done.returncode == status_of(error).exit
        raise error

    def index(self, collection: str, folder: Path) -> Record:
        return dict(self.run("index", collection, str(folder)))

    def search(self, collection: str, text: str, **fields: Any) -> Record:
        return dict(self.run("search", collection, text, *_flags(fields)))

    def document(self, collection: str, id: str) -> Record:
        return dict(self.run("documents", "get", collection, id))

    def update_metadata(self, collection: str, id: str, metadata: Record) -> None:
        self.run("documents", "update", collection, id, json.dumps(metadata))

    def delete(self, collection: str, **which: Any) -> int:
        return int(self.run("documents", "delete", collection, *which.pop("ids", []), *_flags(which))["deleted"])

    def ids(self, collection: str) -> list[str]:
        return [view["id"] for view in self.run("documents", "list", collection)["documents"]]

    def embed(self, texts: list[str], **options: Any) -> Record:
        return dict(self.run("embed", *_flags(options), "--", *texts))

    def status(self) -> Record:
        return dict(self.run("status"))

    def close(self) -> None:
        """Nothing runs between calls."""


class HttpDoor:
    """`embedhouse serve`, and JSON over HTTP."""

    def __init__(self, home: Path, model: Path, *arguments: str) -> None:
        self.server = Server(home, model, *arguments)
        self.client = httpx.Client(base_url=self.server.url, timeout=START_TIMEOUT_S)

    def call(self, method: str, route: str, body: object = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        return self._answer(self.client.request(method, route, content=content))

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_success:
            return response.json() if response.content else None
        body = response.json()["error"]
        error = error_from_wire(body["code"], body["message"], body["fields"])
        assert response.status_code == status_of(error).http
        raise error

    def index(self, collection: str, folder: Path) -> Record:
        response = self.client.post(path("collections", collection, "index"), json={"paths": [str(folder)]})
        if not response.is_success:
            self._answer(response)
        return dict(json.loads(response.text.splitlines()[-1])["report"])

    def search(self, collection: str, text: str, **fields: Any) -> Record:
        return dict(self.call("POST", "/search", {"collection": collection, "text": text, **fields}))

    def document(self, collection: str, id: str) -> Record:
        return dict(self.call("GET", path("collections", collection, "documents", id)))

    def update_metadata(self, collection: str, id: str, metadata: Record) -> None:
        self.call("PATCH", path("collections", collection, "documents", id), {"metadata": metadata})

    def delete(self, collection: str, **which: Any) -> int:
        return int(self.call("POST", path("collections", collection, "delete-documents"), which)["deleted"])

    def ids(self, collection: str) -> list[str]:
        return [view["id"] for view in self.call("GET", path("collections", collection, "documents"))["documents"]]

    def embed(self, texts: list[str], **options: Any) -> Record:
        return dict(self.call("POST", "/embed", {"texts": texts, **options}))

    def status(self) -> Record:
        return dict(self.call("GET", "/status"))

    def close(self) -> None:
        self.client.close()
        assert self.server.stop() == 0


class Server:
    """`embedhouse serve` as a process of its own, on any free port."""

    def __init__(self, home: Path, model: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*SHELL, "--home", str(home), "serve", "--port", "0", *arguments],
            env=shell_environ(model),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.url = self._url()

    def _url(self) -> str:
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"at (http://\S+)", line):
                return found[1]
        self.process.wait()
        raise AssertionError(f"the server did not start:\n{''.join(said)}")

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        self.process.terminate()
        self.process.communicate(timeout=START_TIMEOUT_S)
        return self.process.returncode


def shell_environ(model: Path) -> dict[str, str]:
    """This process's environment without its own settings, and with the model for tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDHOUSE_")}
    return kept | {"EMBEDHOUSE_MODEL": str(model), "EMBEDHOUSE_OFFLINE": "1", "NO_COLOR": "1"}


def heed_interrupts() -> None:
    """For `preexec_fn`: a job that a shell puts in the background ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _flags(fields: Record) -> list[str]:
    flags: list[str] = []
    for name, value in fields.items():
        option = "-k" if name == "k" else f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(option)
        elif isinstance(value, dict):
            flags += [option, json.dumps(value)]
        elif value is not False and value is not None:
            flags += [option, str(value)]
    return flags


def _plain(record: Any) -> Record:
    return dict(msgspec.json.decode(msgspec.json.encode(record, enc_hook=str)))


__all__ = [
    "Door",
    "EmbedhouseError",
    "HttpDoor",
    "PythonDoor",
    "Server",
    "ShellDoor",
    "heed_interrupts",
    "shell_environ",
]
