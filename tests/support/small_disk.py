"""A file system of a few megabytes that tests may fill, or turn read-only. Linux, as root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK = 64 * 1024


class SmallDisk:
    """A mounted tmpfs. `path` is its root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path).free

    def fill(self, leave_bytes: int = 0) -> None:
        """Write until no more than so many bytes are free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            while (room := self.free_bytes - leave_bytes) > 0:
                ballast.write(b"x" * min(_BLOCK, room))

    def empty(self) -> None:
        """Delete what `fill` wrote."""
        self._ballast.unlink(missing_ok=True)

    def remount(self, mode: str) -> None:
        """Make it `ro` or `rw`."""
        _mount("-o", f"remount,{mode}", str(self.path))


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """Mount one of that size (as `64m`) at `path`; gone at the end. Skips where this user may not mount."""
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
