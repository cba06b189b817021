"""int8 models on disk: made once for each model, and used by every process from then on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from filelock import FileLock

from embedhouse.domain.errors import MissingExtra, ModelDamaged, ModelUnsupported
from embedhouse.models.durable import appear, storage_errors
from embedhouse.models.manifest import MANIFEST_NAME, FileRecord, Manifest
from embedhouse.models.progress import Progress, no_progress
from embedhouse.models.store import ModelFiles

__all__ = ["quantised_file"]

_MODEL_FILE = "model.xml"
# The width of its vectors decides the last bits of a sum, and these the weights: every x86 has AVX2.
_REPRODUCIBLE = {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONHASHSEED": "0"}


def quantised_file(model: ModelFiles, folder: Path, *, progress: Progress = no_progress) -> Path:
    """The OpenVINO IR (.xml, with its .bin beside it) of a model in int8, kept below `folder`.

    One that was made before is used whatever made it, so that an upgrade of NNCF never moves a house into another
    space; a damaged one is made again. Errors: MissingExtra, ModelUnsupported, DiskFull, ReadOnly.
    """
    name = model.quantised_name
    kept = _kept(folder, name)
    if kept is not None:
        return kept
    target = folder / f"{name}-{_versions()}"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):
            # Another process may have made it while this one waited.
            return _kept(folder, name) or _make(model, target, progress)


def _kept(folder: Path, name: str) -> Path | None:
    for found in sorted(folder.glob(f"{name}-*")):
        try:
            Manifest.read(found).check(found)
        except ModelDamaged:
            continue
        return found / _MODEL_FILE
    return None


def _versions() -> str:
    try:
        return f"nncf{version('nncf')}-openvino{version('openvino')}"
    except PackageNotFoundError as error:
        raise MissingExtra(what="Precision int8", extra="int8") from error


def _make(model: ModelFiles, target: Path, progress: Progress) -> Path:
    partial = target.with_name(f".partial-{target.name}")
    for leftover in (partial, target):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir()
    _run(model, partial, progress)
    records = tuple(FileRecord.of(partial, name) for name in (_MODEL_FILE, "model.bin"))
    manifest = Manifest(name=model.name, source="quantised", revision=model.revision, files=records)
    (partial / MANIFEST_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    appear(partial, target)
    return target / _MODEL_FILE


def _run(model: ModelFiles, into: Path, progress: Progress) -> None:
    module = "embedhouse.models.quantise"
    # -P: a file in the current folder must not pass for a package.
    command = [sys.executable, "-P", "-m", module, str(model.folder), model.name, str(into)]
    log = into / "quantise.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_REPRODUCIBLE},
        ) as child,
    ):
        try:
            _wait(child, model.name, progress)
        finally:
            child.kill()
    lines = log.read_text(errors="replace").splitlines()
    if child.returncode != 0:
        shutil.rmtree(into)
        reason = f"int8 could not be made of it: {lines[-1] if lines else f'status {child.returncode}'}"
        raise ModelUnsupported(model=model.name, reason=reason)
    log.unlink()


def _wait(child: subprocess.Popen[bytes], name: str, progress: Progress) -> None:
    progress(f"Quantising {name} to int8: once, and about a minute", 0, None)
    child.wait()
