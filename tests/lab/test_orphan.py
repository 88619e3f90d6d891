"""A request that was dropped from its queue, and nothing of the kind before.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from labqhang import (EXIT_FINDING, Diagnosis, diagnose, diagnose_core,
                      diagnose_pid, look_clean, qhang_program)
from labqemu import DAEMON
from orphan import THROTTLED, Throttled, throttled
from parked import functions

RULE = "coroutine.orphan"
DUMP_S = 120.0


def _check(got: Diagnosis, request: Throttled) -> None:
    """One finding, about that request."""
    assert got.status == EXIT_FINDING, got.told()
    assert got.rules() == [RULE], got.told()
    assert got.report["complete"], got.told()
    [finding] = got.report["findings"]
    assert finding["certainty"] == "strong", got.told()
    assert finding["heals"] == "never", got.told()
    assert finding["coroutine"] == request.coroutine, got.told()
    coroutine = got.coroutine(int(request.coroutine, 16))
    assert THROTTLED in functions(coroutine), got.told()


@pytest.mark.parametrize("iothread", [True, False])
@pytest.mark.parametrize("build", ["stock", "O0", "clang"])
def test_dropped(lab: Path, qhang: Any, tmp_path: Path, build: str,
                 iothread: bool) -> None:
    """Live, from a core and from a capture; throttled rightly it is none."""
    if not (lab / "bin" / build / DAEMON).is_file():
        pytest.skip(f"{build} was not built: tests/lab/build.py {build}")
    with throttled(lab, build, iothread) as request:
        pid = str(request.qemu.pid)
        look_clean(request.qemu.pid)
        request.drop()
        _check(diagnose_pid(request.qemu.pid), request)
        capture = tmp_path / "capture"
        subprocess.run([qhang_program(), "capture", pid, "-o", capture],
                       check=True, timeout=DUMP_S)
        subprocess.run(["gcore", "-o", tmp_path / "core", pid], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=DUMP_S)
        _check(diagnose("--core", str(capture)), request)
        _check(diagnose_core(tmp_path / f"core.{pid}", request.qemu.exe),
               request)
