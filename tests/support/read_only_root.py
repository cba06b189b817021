"""A command whose file systems are all read-only but for some folders, as in a container. Linux, as root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

_OF_THE_KERNEL = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")


def on_read_only_root(command: Sequence[str], writable: Sequence[Path]) -> list[str]:
    """The same command, with nothing to write to but these folders. Skips where this user may not do that."""
    if not _may_mount():
        pytest.skip("this user may not have mounts of its own")
    folders = ":".join(map(str, writable))
    return ["unshare", "--mount", "--", sys.executable, __file__, folders, *command]


@cache
def _may_mount() -> bool:
    tried = ["unshare", "--mount", "--", "mount", "--make-rprivate", "/"]
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _lock_down(writable: Sequence[str]) -> None:
    _mount("--make-rprivate", "/")
    for folder in writable:
        _mount("--bind", folder, folder)
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        _, escaped, kind, *_ = line.split()
        place = escaped.encode().decode("unicode_escape")
        if place not in writable and kind not in _OF_THE_KERNEL:
            _mount("-o", "remount,bind,ro", place)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    _lock_down(sys.argv[1].split(":"))
    os.execvp(sys.argv[2], sys.argv[2:])
