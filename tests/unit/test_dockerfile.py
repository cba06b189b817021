"""The image says what the chart, the project and the lock file say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
DOCKERFILE = (PROJECT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
LINES = [
    line
    for line in re.sub(r"\\\n\s*", " ", DOCKERFILE).splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
LAST_STAGE = LINES[max(number for number, line in enumerate(LINES) if line.startswith("FROM")) :]
CHART = (PROJECT / "deploy/helm/embedhouse/values.yaml").read_text(encoding="utf-8")
HELPERS = (PROJECT / "deploy/helm/embedhouse/templates/_helpers.tpl").read_text(encoding="utf-8")


def test_image_runs_as_the_charts_user_who_is_not_root() -> None:
    (user,) = [line for line in LAST_STAGE if line.startswith("USER")]
    assert user == "USER 10001:10001"
    assert "runAsUser: 10001\n" in CHART
    assert "runAsGroup: 10001\n" in CHART
    after = LAST_STAGE[LAST_STAGE.index(user) :]
    assert not any(line.startswith(("RUN", "COPY", "ADD")) for line in after)


def test_image_is_made_of_locked_packages_and_copies_alone() -> None:
    assert sum(line.startswith("FROM") for line in LINES) == 2
    assert 'RUN ["python", "-m", "pip", "install", "--requirement", "requirements/run.lock"]' in LINES
    for line in LINES:
        assert not line.startswith("ADD")
        if line.startswith("RUN"):
            assert not re.search(r"&&|;|\||curl|wget|apt-get|sudo|chmod 777|--trusted-host", line), line
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", "\n".join(LINES), re.MULTILINE):
        for name in source.split():
            assert (PROJECT / name).exists(), name


def test_image_has_extras_that_exist_and_a_python_that_fits() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (python,) = re.findall(r"^ARG PYTHON=python:(3\.\d+)", DOCKERFILE, re.MULTILINE)
    assert project["requires-python"] == ">=3.11,<3.14"
    assert python in ("3.11", "3.12", "3.13")


def test_image_keeps_its_state_where_the_chart_mounts_volumes() -> None:
    for folder in ("/var/lib/embedhouse", "/var/cache/embedhouse"):
        assert f"mountPath: {folder}}}" in HELPERS
        assert any(line.startswith("RUN") and f'"{folder}"' in line for line in LAST_STAGE)
    assert "EMBEDHOUSE_HOME=/var/lib/embedhouse" in "\n".join(LAST_STAGE)


def test_context_holds_what_is_copied_and_nothing_else() -> None:
    ignored = (PROJECT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name
        for source in re.findall(r"^COPY (?!--from)(.+) \S+$", "\n".join(LINES), re.MULTILINE)
        for name in source.split()
    }
    assert "*" in ignored
    assert kept == copied
