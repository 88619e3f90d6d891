"""One QEMU three times: the process, a gcore of it, a capture of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from labqemu import Qemu
from labqhang import (Diagnosis, diagnose_core, diagnose_pid, gcore,
                      qhang_program)

ALIKE = ("rule", "user", "certainty", "heals", "fixed_in", "tid",
         "waiter_tid", "coroutine")
# The time that is left; and what a gcore lacks, the count of an eventfd.
_PASSING = re.compile(r"\d+ s ahead|, eventfd count 0| in the polled context")


def capture(pid: int, core: Path) -> str:
    """Captures; what it says."""
    done = subprocess.run([qhang_program(), "capture", str(pid), "-o", core],
                          check=True, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, timeout=60)
    return done.stdout


def findings(got: Diagnosis) -> list[Any]:
    """The findings without what goes with the time or the samples."""
    told = []
    for finding in got.report["findings"]:
        evidence = [(item["address"], _PASSING.sub("", f"{item}"))
                    for item in finding["evidence"]]
        told.append(({key: finding[key] for key in ALIKE}, evidence))
    return told


def nodes(got: Diagnosis, places: list[int]) -> list[Any]:
    """These nodes of the wait-for graph, without the time in their names."""
    told = got.report["graph"]["nodes"]
    return [(told[at]["kind"], told[at]["tid"], told[at]["address"])
            for at in places]


def _circles(got: Diagnosis) -> list[Any]:
    """The members of each cycle, wherever it is told from."""
    return [sorted(map(repr, nodes(got, cycle["nodes"])))
            for cycle in got.report["graph"]["cycles"]]


def three_ways(qemu: Qemu, folder: Path) -> Diagnosis:
    """What the process says, once both of its cores say the same: findings,
    chain, cycles, and that nothing was missing."""
    kept = folder / "capture"
    capture(qemu.pid, kept)
    live = diagnose_pid(qemu.pid)
    for core in (kept, gcore(qemu.pid, folder)):
        got = diagnose_core(core, qemu.exe)
        assert findings(got) == findings(live), got.told() + live.told()
        assert (nodes(got, got.report["graph"]["chain"])
                == nodes(live, live.report["graph"]["chain"])
                ), got.told() + live.told()
        assert _circles(got) == _circles(live), got.told() + live.told()
        assert got.report["complete"], got.told()
    assert live.report["complete"], live.told()
    return live
