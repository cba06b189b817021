"""Tests of files without permission, for root too."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_VERSION_3 = 0x20080522
_READS_EVERYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Inside, this thread may read what the files' permissions let it read, even where root runs the tests. Skips
    where root cannot put its right to read everything aside."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root may read everything, and only Linux lets it put that aside")
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    _call("capget", ctypes.byref(header), sets)
    before = sets[0].effective
    sets[0].effective = before & ~_READS_EVERYTHING
    _call("capset", ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective = before
        _call("capset", ctypes.byref(header), sets)


def _call(name: str, *arguments: object) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if getattr(system, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
