"""The chart: linted, rendered over several values, and every object held against the schemas of Kubernetes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm import helm

from embedhouse.settings import load_settings, setting_names

PROJECT = Path(__file__).resolve().parents[2]
CHART = str(PROJECT / "deploy" / "helm" / "embedhouse")
VALUES = sorted((Path(__file__).parent / "helm_values").glob("*.yaml"))
NAMES = [path.stem for path in VALUES]
KUBERNETES = ["1.30", "1.37"]
KEY = ["--set", "secrets.apiKey.name=s,secrets.apiKey.key=k"]

Record = dict[str, Any]


def _values(name: str) -> str:
    return str(Path(__file__).parent / "helm_values" / f"{name}.yaml")


@cache
def _rendered(name: str) -> str:
    done = helm("template", "release", CHART, "--namespace", "search", "--values", _values(name))
    assert done.returncode == 0, done.stderr
    return done.stdout


def _objects(name: str) -> list[Record]:
    return [found for found in yaml.safe_load_all(_rendered(name)) if found]


def _object(name: str, kind: str, component: str = "") -> Record:
    found = [
        each
        for each in _objects(name)
        if each["kind"] == kind
        and (not component or each["metadata"]["labels"]["app.kubernetes.io/component"] == component)
    ]
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def _pod(found: Record) -> Record:
    """The spec of the pods that an object makes."""
    spec = found["spec"]
    spec = spec["jobTemplate"]["spec"] if found["kind"] == "CronJob" else spec
    return dict(spec["template"]["spec"])


def _pods(name: str) -> list[tuple[str, Record]]:
    kinds = ("Deployment", "Job", "CronJob")
    return [
        (f"{each['kind']} {each['metadata']['name']}", _pod(each))
        for each in _objects(name)
        if each["kind"] in kinds
    ]


def _environ(pod: Record) -> Record:
    """Variable -> its value, or where it comes from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod["containers"][0]["env"]}


def _refusal(*arguments: str) -> str:
    done = helm("template", "release", CHART, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_chart_lints_strictly(name: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", _values(name))
    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", NAMES)
def test_objects_are_valid_kubernetes(name: str, version: str) -> None:
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, "/dev/stdin"]
    done = subprocess.run(command, input=_rendered(name), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed for resource") == len(_objects(name))


@pytest.mark.parametrize("name", NAMES)
def test_containers_are_bound_and_write_to_volumes_alone(name: str) -> None:
    for what, pod in _pods(name):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, what
        assert pod["securityContext"]["runAsUser"] >= 10000, what
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, what
        assert pod["automountServiceAccountToken"] is False, what
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, what
        assert set(container["resources"]["limits"]) == set(container["resources"]["requests"]) == {"cpu", "memory"}
        environ, mounts = _environ(pod), {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert {environ["EMBEDHOUSE_HOME"], environ["HOME"], "/tmp"} <= set(mounts), what
        volumes = {each["name"]: each for each in pod["volumes"]}
        assert set(mounts.values()) == set(volumes), what
        assert all("emptyDir" in each or "persistentVolumeClaim" in each for each in volumes.values()), what


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_references_alone(name: str) -> None:
    assert "Secret" not in {each["kind"] for each in _objects(name)}
    wanted = yaml.safe_load(Path(_values(name)).read_text())["secrets"]
    variables = {
        "apiKey": "EMBEDHOUSE_API_KEY",
        "ledgerUrl": "EMBEDHOUSE_LEDGER_URL",
        "redisUrl": "EMBEDHOUSE_REDIS_URL",
        "sourceDbUrl": "SOURCE_DB_URL",
    }
    for what, pod in _pods(name):
        environ = _environ(pod)
        for secret, where in {**wanted, **wanted.get("env", {})}.items():
            if secret != "env":
                assert environ[variables.get(secret, secret)] == {"secretKeyRef": where}, (what, secret)


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_settings_that_embedhouse_accepts(name: str) -> None:
    given = yaml.safe_load(Path(_values(name)).read_text()).get("settings", {})
    for what, pod in _pods(name):
        environ = {variable: value for variable, value in _environ(pod).items() if isinstance(value, str)}
        known = {f"EMBEDHOUSE_{setting.upper()}" for setting in setting_names()}
        assert {each for each in environ if each.startswith("EMBEDHOUSE_")} <= known, what
        settings = load_settings({}, {**environ, "EMBEDHOUSE_HOME": "/nowhere"})
        for setting, value in given.items():
            assert settings.origins[setting] == f"environment EMBEDHOUSE_{setting.upper()}", what
            if not isinstance(value, dict | list):
                assert getattr(settings, setting) == value, what


def test_embedded_default_is_one_server_with_the_volume_and_one_worker_through_it() -> None:
    server, worker = _object("embedded", "Deployment", "server"), _object("embedded", "Deployment", "worker")
    assert [each["spec"]["replicas"] for each in (server, worker)] == [1, 1]
    assert [each["spec"]["strategy"]["type"] for each in (server, worker)] == ["Recreate", "Recreate"]
    claim = _object("embedded", "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    volumes = {each["name"]: each for each in _pod(server)["volumes"]}
    assert volumes["home"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    service = _object("embedded", "Service")
    url = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert _environ(_pod(worker))["EMBEDHOUSE_SERVER_URL"] == url
    assert "EMBEDHOUSE_SERVER_URL" not in _environ(_pod(server))
    assert not any("persistentVolumeClaim" in each for each in _pod(worker)["volumes"])
    assert [_pod(each)["containers"][0]["args"] for each in (server, worker)] == [["serve"], ["worker"]]


def test_shared_stores_let_several_pods_run_without_a_volume() -> None:
    server, worker = _object("shared", "Deployment", "server"), _object("shared", "Deployment", "worker")
    assert [each["spec"]["replicas"] for each in (server, worker)] == [3, 4]
    assert server["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    assert "PersistentVolumeClaim" not in {each["kind"] for each in _objects("shared")}
    for what, pod in _pods("shared"):
        assert "EMBEDHOUSE_SERVER_URL" not in _environ(pod), what
        claims = [each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "emptyDir" not in each]
        assert claims == ([] if "migrate" in what else ["models"]), what


def test_server_is_probed_where_it_answers() -> None:
    (container,) = _pod(_object("embedded", "Deployment", "server"))["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 7700}]
    assert _environ({"containers": [container]})["EMBEDHOUSE_PORT"] == "7700"
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}


@pytest.mark.parametrize("name", ["shared", "ledger_only"])
def test_ledger_on_a_server_is_migrated_before_the_pods_start(name: str) -> None:
    job = _object(name, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "before-hook-creation" in job["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert _pod(job)["containers"][0]["args"] == ["migrate"]
    assert _environ(_pod(job))["EMBEDHOUSE_LEDGER_URL"] == {"secretKeyRef": {"name": "ledger", "key": "url"}}
    # A hook runs before anything of the release is there.
    assert all("emptyDir" in volume for volume in _pod(job)["volumes"])


@pytest.mark.parametrize("name", ["embedded", "embedded_full"])
def test_ledger_in_a_file_is_left_to_its_server(name: str) -> None:
    assert "Job" not in {each["kind"] for each in _objects(name)}


def test_each_collection_is_synchronised_nightly_and_never_twice_at_once() -> None:
    jobs = [each for each in _objects("embedded_full") if each["kind"] == "CronJob"]
    assert [each["spec"]["concurrencyPolicy"] for each in jobs] == ["Forbid", "Forbid"]
    assert [each["spec"]["schedule"] for each in jobs] == ["0 2 * * *", "30 3 * * 1-5"]
    assert [each["spec"]["timeZone"] for each in jobs] == ["Etc/UTC", "Etc/UTC"]
    assert [_pod(each)["containers"][0]["args"] for each in jobs] == [
        ["sync", "tickets"],
        ["sync", "Wiki_2.0", "--allow-mass-delete"],
    ]
    # Its exit status tells Kubernetes the truth: a failed run is a failed job.
    assert {_pod(each)["restartPolicy"] for each in jobs} == {"Never"}
    assert len({each["metadata"]["name"] for each in jobs}) == 2
    assert all(len(each["metadata"]["name"]) <= 52 for each in jobs)
    assert all(_environ(_pod(each))["EMBEDHOUSE_SERVER_URL"] == "http://papers:80" for each in jobs)


@pytest.mark.parametrize("name", NAMES)
def test_disruption_budgets_watch_pods_that_exist(name: str) -> None:
    deployments = {each["metadata"]["name"]: each for each in _objects(name) if each["kind"] == "Deployment"}
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments.values()]
    budgets = [each for each in _objects(name) if each["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == len(deployments)
    for wanted in (each["spec"]["selector"]["matchLabels"] for each in budgets):
        assert sum(wanted.items() <= found.items() for found in labels) == 1


def test_service_selects_the_server_alone() -> None:
    wanted = _object("embedded", "Service")["spec"]["selector"]
    for component, selected in (("server", True), ("worker", False)):
        labels = _object("embedded", "Deployment", component)["spec"]["template"]["metadata"]["labels"]
        assert (wanted.items() <= labels.items()) is selected


def test_image_is_named_by_digest_where_one_is_given() -> None:
    image = _pod(_object("embedded_full", "Deployment", "server"))["containers"][0]["image"]
    assert image == f"registry.example.org/embedhouse@sha256:{'0123456789abcdef' * 4}"
    assert _pod(_object("embedded", "Deployment", "server"))["containers"][0]["image"] == "embedhouse:0.1.0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs an API key"),
        ([*KEY, "--set", "server.replicas=2"], "Several pods cannot share a ledger in a file"),
        ([*KEY, "--set", "worker.replicas=2"], "keep server.replicas and worker.replicas at 1"),
        (
            [*KEY, "--set", "server.replicas=2,secrets.ledgerUrl.name=l,secrets.ledgerUrl.key=u"],
            "the indexes on a server",
        ),
        ([*KEY, "--set", "server.replicas=2,settings.store=qdrant"], "the ledger on PostgreSQL"),
        (
            ["--values", _values("shared"), "--set", "settings.lexical_store=embedded"],
            "Several pods cannot share",
        ),
        (["--values", _values("shared"), "--set", "settings.cache=sqlite,secrets.redisUrl=null"], "of its own"),
        (["--values", _values("shared"), "--set", "secrets.redisUrl=null"], "does not say where it is"),
        (["--values", _values("shared"), "--set", "settings.cache=none"], "nothing would use it"),
        (["--values", _values("shared"), "--set", "persistence.existingClaim=c"], "no pod would use"),
        ([*KEY, "--set", "persistence.enabled=false"], "would be lost with its pod"),
        ([*KEY, "--set", "models.existingClaim=m"], "models are kept in the home"),
        ([*KEY, "--set", "sync.collections[0].name=a,sync.collections[1].name=a"], 'names "a" twice'),
    ],
)
def test_combination_that_cannot_work_is_refused_with_a_remedy(arguments: list[str], said: str) -> None:
    assert said in _refusal(*arguments)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("server.replica=2", "replica"),
        ("server.replicas=0", "/server/replicas"),
        ("server.replicas=two", "/server/replicas"),
        ("settings.modle=x", "modle"),
        ("settings.api_key=secret", "api_key"),
        ("settings.ledger_url=postgresql://u:p@h/d", "ledger_url"),
        ("settings.host=1.2.3.4", "host"),
        ("settings.cache=memcached", "/settings/cache"),
        ("settings.stores.x.api_key=secret", "api_key"),
        ("secrets.sourceDbUrl.name=only", "/secrets/sourceDbUrl"),
        ("secrets.env.OPENAI_API_KEY=sk-secret", "/secrets/env/OPENAI_API_KEY"),
        ("sync.schedule=nightly", "/sync/schedule"),
        ("sync.collections[0].name=bad/name", "/sync/collections/0/name"),
        ("podDisruptionBudget.maxUnavailable=0", "/podDisruptionBudget/maxUnavailable"),
        ("server.resources.limits=null", "limits"),
        ("image.digest=latest", "/image/digest"),
        ("persistence.accessMode=ReadOnlyMany", "/persistence/accessMode"),
        ("surprise=1", "surprise"),
    ],
)
def test_value_that_is_none_is_refused_by_name(given: str, said: str) -> None:
    refusal = _refusal(*KEY, "--set", given)
    assert "don't meet the specifications of the schema" in refusal
    assert said in refusal


def test_schema_knows_every_setting() -> None:
    path = PROJECT / "deploy" / "helm" / "make_values_schema.py"
    spec = importlib.util.spec_from_file_location("make_values_schema", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run: python deploy/helm/make_values_schema.py"


def test_schema_describes_every_value() -> None:
    values = yaml.safe_load((PROJECT / "deploy/helm/embedhouse/values.yaml").read_text())
    schema = json.loads((PROJECT / "deploy/helm/embedhouse/values.schema.json").read_text())
    described = {name: each.get("properties", {}) for name, each in schema["properties"].items()}
    assert set(values) == set(described) - {"global"}
    for name in ("server", "worker", "sync", "migration", "persistence", "models", "service", "image", "secrets"):
        assert set(values[name]) == set(described[name]), name


def test_chart_is_of_the_projects_version() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((PROJECT / "deploy/helm/embedhouse/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])
