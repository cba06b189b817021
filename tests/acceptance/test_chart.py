"""What the chart tells its pods is enough for them: a server, and a nightly run that goes through it."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm import helm

from .doors import SHELL, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "embedhouse"
VALUES = """
secrets:
  apiKey: {name: embedhouse, key: api-key}
  sourceDbUrl: {name: tickets, key: url}
sync: {collections: [{name: tickets}]}
"""
ROWS = [(1, "The printer jams."), (2, "The front door does not close."), (3, "A lamp flickers.")]


class Pods:
    """Commands as the chart's containers run them, each pod with folders of its own."""

    def __init__(self, folder: Path, model: Path) -> None:
        values = folder / "values.yaml"
        values.write_text(VALUES)
        rendered = helm("template", "search", str(CHART), "--values", str(values))
        assert rendered.returncode == 0, rendered.stderr
        self._objects = list(yaml.safe_load_all(rendered.stdout))
        self._folder = folder
        self._model = model
        self.secrets = {"api-key": "a secret", "url": f"sqlite:///{folder / 'tickets.db'}"}
        self.server_url = ""

    def command(self, kind: str, component: str, *instead: str) -> tuple[list[str], dict[str, str]]:
        """What that container runs, or `instead` of it, and its environment."""
        container = self._container(kind, component)
        environ = shell_environ(self._model)
        for each in container["env"]:
            environ[each["name"]] = self._value(each, component)
        return [*SHELL, *(instead or container["args"])], environ

    def run(self, kind: str, component: str, *instead: str) -> Any:
        """One command to its end: what it prints as JSON."""
        command, environ = self.command(kind, component, *instead)
        done = subprocess.run([*command, "--json"], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _container(self, kind: str, component: str) -> dict[str, Any]:
        (found,) = [
            each
            for each in self._objects
            if each and each["kind"] == kind
            if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
        ]
        spec = found["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else found["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        return dict(container)

    def _value(self, variable: dict[str, Any], component: str) -> str:
        """As Kubernetes would fill it in, but for what only a cluster has: mounts, names and free ports."""
        name = variable["name"]
        if name == "EMBEDHOUSE_PORT":
            return "0"
        if name == "EMBEDHOUSE_SERVER_URL":
            assert variable["value"] == "http://search-embedhouse:7700"
            return self.server_url
        if "value" in variable:
            value = str(variable["value"])
            return value.replace("/var/", f"{self._folder / component}/") if value != "/tmp" else str(self._folder)
        source = variable["valueFrom"]
        return self.secrets[source["secretKeyRef"]["key"]] if "secretKeyRef" in source else "1"


@pytest.fixture
def pods(tmp_path: Path, default_model_folder: Path) -> Iterator[Pods]:
    """The pods of a release; the server's runs."""
    made = Pods(tmp_path, default_model_folder)
    with sqlite3.connect(tmp_path / "tickets.db") as database:
        database.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO tickets VALUES (?, ?)", ROWS)
    database.close()
    command, environ = made.command("Deployment", "server")
    # Beyond loopback in the cluster; here it must be out of others' reach.
    environ["EMBEDHOUSE_HOST"] = "127.0.0.1"
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = iter(server.stderr.readline, "")
            made.server_url = next(found[1] for line in said if (found := re.search(r"at (http://\S+)", line)))
            yield made
        finally:
            server.terminate()
            server.communicate(timeout=60)
    assert server.returncode == 0


def test_nightly_run_brings_the_servers_collection_into_step(pods: Pods, tmp_path: Path) -> None:
    pods.run("Deployment", "server", "source", "add", "tickets", "--table", "tickets", "--text-column", "body")
    report = pods.run("CronJob", "sync")
    assert (report["documents"], [each["added"] for each in report["sources"]]) == (len(ROWS), [len(ROWS)])
    found = pods.run("CronJob", "sync", "search", "tickets", "lamp", "-k", "1")
    assert [hit["text"] for hit in found["hits"]] == ["A lamp flickers."]
    status = pods.run("Deployment", "worker", "status")
    assert status["home"] == f"{tmp_path / 'server'}/lib/embedhouse"
    assert not (tmp_path / "sync").exists()
    assert not (tmp_path / "worker").exists()


def test_worker_has_the_server_follow_its_sources(pods: Pods, tmp_path: Path) -> None:
    pods.run("Deployment", "server", "source", "add", "tickets", "--table", "tickets", "--text-column", "body")
    command, environ = pods.command("Deployment", "worker")
    done = subprocess.run([*command, "--once"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, f"{len(ROWS)} added" in done.stdout) == (0, True), done.stderr
    assert not (tmp_path / "worker").exists()


def test_pod_with_another_key_is_refused(pods: Pods) -> None:
    pods.secrets["api-key"] = "another"
    command, environ = pods.command("CronJob", "sync")
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (10, "")
