"""A real QEMU hangs while it is watched: kept and told before it is killed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import build as lab_build
import pytest
from guest import at_work
from hang import hung
from labqemu import Qemu
from labqhang import (EXIT_CLEAN, EXIT_FINDING, UNKICKED, WAKE_LOST,
                      diagnose_core, diagnose_pid, qhang_program)
from race import HANG, WAKE_BEFORE_ARM, ForcedRace

AFTER_S = 1.0
# By then a natural hang is known to be one.
KNOWN_AFTER_S = 8.0
# After so long the QEMU is killed, whatever it does; the race takes 5 s of it.
LIFE_S = 25
WAIT_S = 60.0
HEALTHY_S = 12.0
# A monitor for the watch alone; the tests have the other.
MONITOR = ["--chardev", "socket,path=w,server=on,wait=off,id=w",
           "--monitor", "w"]


@contextmanager
def watch(folder: Path, *args: str, after_s: float = AFTER_S
          ) -> Iterator[subprocess.Popen]:
    """A watch that has begun; what it says goes to the file `log`."""
    metrics = folder / "m.prom"
    with (folder / "log").open("wb") as log, subprocess.Popen(
            [str(qhang_program()), "watch", "--after", str(after_s),
             "--interval", "0.2", "--metrics", str(metrics), *args],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log) as child:
        try:
            deadline = time.monotonic() + WAIT_S
            while not metrics.exists() and child.poll() is None:
                assert time.monotonic() < deadline, "it does not begin"
                time.sleep(0.01)
            yield child
        finally:
            child.kill()
            child.wait()
            print((folder / "log").read_text())


def end(child: subprocess.Popen) -> int:
    """Its exit status after a SIGTERM."""
    child.terminate()
    return child.wait(WAIT_S)


def test_hang_is_kept(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """When its time is over it is killed, and leaves a core that says why it
    hung; the command has run before. Found by its monitor: who listens."""
    kept, run = tmp_path / "kept.core", tmp_path / "run"
    command = ("kill -0 $QHANG_PID && test -s $QHANG_CAPTURE && "
               f"echo $QHANG_RULE > {run}")
    with Qemu(lab, "graphfix", extra=MONITOR) as qemu:
        qemu.to_iothread()
        killer = threading.Timer(LIFE_S, qemu.process.kill)
        killer.start()
        with watch(tmp_path, "--qmp", str(qemu.folder / "w"), "--capture",
                   str(kept), "--exec", command) as child:
            race = ForcedRace(qemu.pid, WAKE_BEFORE_ARM, qemu.send_add,
                              qemu.qmp.answered)
            assert race.run() == HANG
            assert child.wait(WAIT_S) == EXIT_FINDING
        killer.join()
        assert qemu.process.wait(WAIT_S) == -signal.SIGKILL
    assert run.read_text() == f"{WAKE_LOST}\n"
    assert [finding["rule"] for finding in diagnose_core(
        kept, qemu.exe).report["findings"]] == [WAKE_LOST]


@pytest.mark.parametrize("build, rule", [("graphfix", WAKE_LOST),
                                         ("stock", UNKICKED)])
def test_natural_hang_is_kicked(build: str, rule: str, lab: Path, qhang: Any,
                                tmp_path: Path) -> None:
    """One that comes by itself, under stress, is kept and then ended by the
    command; nobody else does anything."""
    folders: list[Path] = []

    @contextmanager
    def begin(qemu: Qemu) -> Iterator[None]:
        folder = tmp_path / str(qemu.pid)
        folder.mkdir()
        folders.append(folder)
        with watch(folder, str(qemu.pid), "--capture", str(folder / "core"),
                   "--exec", f"{qhang} kick --yes $QHANG_PID",
                   after_s=KNOWN_AFTER_S):
            yield

    with hung(build, lab=lab, begin=begin) as hang:
        folder = folders[-1]
        assert hang.goes_on(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while "goes on" not in (folder / "log").read_text():
            assert time.monotonic() < deadline, "it is not told"
            time.sleep(0.1)
        assert f"hangs, {rule} (proof)" in (folder / "log").read_text()
        exe = hang.qemu.exe
    assert [finding["rule"] for finding in diagnose_core(
        folder / "core", exe).report["findings"]] == [rule]


def test_healthy_daemon(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """Idle, with its cleaner asleep: nothing is found, nothing said."""
    with Qemu(lab, "fixed") as qemu:
        qemu.to_iothread()
        qemu.add(WAIT_S)
        with watch(tmp_path, str(qemu.pid)) as child:
            time.sleep(HEALTHY_S)
            assert end(child) == EXIT_CLEAN
            assert (tmp_path / "log").read_text() == ""
        assert "qhang_main_loop_stalled_seconds" in (
            tmp_path / "m.prom").read_text()
        qemu.delete(WAIT_S)


def test_healthy_guest(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """A guest at its disk, its main loop now and then waiting for the BQL."""
    lab_build.ensure(["system"])
    with at_work("I/O", lab=lab) as work:
        with watch(tmp_path, str(work.qemu.pid)) as child:
            time.sleep(HEALTHY_S)
            assert end(child) == EXIT_CLEAN
            assert (tmp_path / "log").read_text() == ""
        assert not diagnose_pid(work.qemu.pid).report["findings"]


def test_monitor_in_use(lab: Path, qhang: Any) -> None:
    """The tests have that monitor: a watch of it says so."""
    with Qemu(lab, "graphfix") as qemu:
        done = subprocess.run(
            [str(qhang_program()), "watch", "--qmp",
             str(qemu.folder / "qmp")], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=WAIT_S)
        assert done.returncode == 3
        assert "in use by another client" in done.stderr
