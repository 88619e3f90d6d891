"""A QMP monitor of a real QEMU that is suspended for good, and one that is not.

SPDX-License-Identifier: GPL-2.0-or-later

What left one so was mended in 4.2: gdb counts one more in its place.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

import build as lab_build
from alike import three_ways
from labqemu import Qemu
from labqhang import check_clean, look_clean, qhang_program
from race.mi import Gdb
from waits import DRAIN, draining, until_main_in

QMP_S = 60.0
SILENT_S = 1.0
MONITOR = "mon_list.tqh_first"


def in_gdb(pid: int, *expressions: str) -> list[int]:
    """Their values, in the process stopped once."""
    with Gdb() as gdb:
        gdb.attach(pid)
        thread = gdb.threads()[0]["id"]
        return [gdb.evaluate(thread, one) for one in expressions]


@pytest.mark.parametrize("system", [False, True])
def test_suspended(lab: Path, qhang: Any, tmp_path: Path, system: bool
                   ) -> None:
    """Told, the same live and of both cores; it ends as its page says."""
    build = "graphfix"
    lab_build.ensure(["system" if system else build], lab)
    with Qemu(lab, build, system) as qemu:
        look_clean(qemu.pid)
        [at, _] = in_gdb(qemu.pid, f"&{MONITOR}->suspend_cnt",
                         f"++{MONITOR}->suspend_cnt")
        qemu.qmp.send("query-version")
        assert not qemu.qmp.answered(SILENT_S)
        got = three_ways(qemu, tmp_path)
        [finding] = got.report["findings"]
        assert (finding["rule"], finding["certainty"], finding["heals"],
                finding["kick"]) \
            == ("monitor.suspended", "proof", "never", "none"), got.told()
        assert int(finding["evidence"][0]["address"], 16) == at, got.told()
        in_gdb(qemu.pid, f"--{MONITOR}->suspend_cnt")
        assert subprocess.run([qhang_program(), "kick", "--yes",
                               "--notify-only", str(qemu.pid)],
                              check=False).returncode == 0
        assert "qemu" in qemu.qmp.answer(QMP_S)
        look_clean(qemu.pid)


def test_at_work(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """Suspended for as long as its own command takes."""
    with draining(lab, "graphfix") as qemu:
        until_main_in(qemu, DRAIN)
        [count, busy] = in_gdb(qemu.pid, f"{MONITOR}->suspend_cnt",
                               "qmp_dispatcher_co_busy")
        got = three_ways(qemu, tmp_path)
    assert (count, busy) == (1, 1)
    check_clean(got)
