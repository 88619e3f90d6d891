"""QEMUs that hung by themselves, diagnosed live and from two kinds of core.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

import hang as lab_hang
from labqhang import (check_unkicked, check_wake_lost, diagnose_core,
                      diagnose_pid, gcore, kernel_core, truth_of_pid)

Check = Callable[..., None]


def examine(hang: lab_hang.Hang, check: Check, folder: Path) -> None:
    """Live, still hung afterwards, and the same from both cores.

    qhang comes first, so that no debugger has touched the process yet.
    """
    live = diagnose_pid(hang.pid)
    known = truth_of_pid(hang.pid)
    check(live, hang.pid, known)
    assert not hang.goes_on(0.2), "it went on: was it diagnosed or woken?"
    by_gdb = diagnose_core(gcore(hang.pid, folder), hang.qemu.exe)
    check(by_gdb, hang.pid, known, live=False)
    by_kernel = kernel_core(hang.pid, hang.qemu.folder,
                            hang.qemu.process.wait)
    if by_kernel is None:
        pytest.skip("this kernel's core_pattern takes cores elsewhere; the "
                    "rest passed")
    check(diagnose_core(by_kernel, hang.qemu.exe), hang.pid, known,
          live=False)


@pytest.mark.parametrize("build, kind, check", [
    ("graphfix", lab_hang.CACHE_CLEANER, check_wake_lost),
    ("stock", lab_hang.GRAPH, check_unkicked),
])
def test_natural(lab: Path, qhang: Any, tmp_path: Path, build: str,
                 kind: str, check: Check) -> None:
    """Each kind once; no debugger has to do with how it hung."""
    with lab_hang.hung(build, kind, lab=lab) as hang:
        assert hang.command == "blockdev-add"
        examine(hang, check, tmp_path)
