"""What becomes of sleepers when a QEMU is given another sleep while it runs.

SPDX-License-Identifier: GPL-2.0-or-later

Each case starts the faulty graphfix daemon and upgrades it; an AssertionError
says what went wrong.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gdbscripts"))

# pylint: disable=wrong-import-position
from hang import hunt
from labqemu import FILE_NODE, IOTHREAD, QCOW2_NODE, Qemu
from labqhang import check_clean, diagnose_pid, look_clean
from race import SURVIVES, ForcedRace
from race.mi import Gdb
from upgrade import (FIXED, MARK, REPLACED, STEP_TIMEOUT_S, file_of,
                     upgrade)

BUILD = "graphfix"
PAIRS = 10
SHORT_INTERVAL_S = 1
LONG_INTERVAL_S = 600
ASSERTION = "qemu_co_sleep: Assertion `w->to_wake == NULL' failed."


def code_of_sleeper(qemu: Qemu) -> Path:
    """The file whose code the cache cleaner is parked in, once it is."""
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while time.monotonic() < deadline:
        got = diagnose_pid(qemu.pid)
        check_clean(got)
        parked = [c for c in got.report["coroutines"]
                  if c["entry"] == "cache_clean_timer"
                  and c["scheduled"] == "qemu_co_sleep_ns"
                  and c["state"] == "suspended"]
        if parked:
            assert len(parked) == 1, got.told()
            files = {file_of(qemu.pid, int(frame["pc"], 16))
                     for frame in parked[0]["frames"]
                     if frame["function"] in REPLACED}
            assert len(files) == 1, got.told()
            return files.pop()
    raise AssertionError(f"the cache cleaner of {qemu.pid} does not sleep")


def _upgrade(qemu: Qemu, lab: Path, source: Path) -> Path:
    """Upgrades and lets it go on; the file that has the new code."""
    with Gdb() as gdb:
        gdb.attach(qemu.pid)
        entries = upgrade(gdb, qemu, lab, source)
        new = file_of(qemu.pid, entries["qemu_co_sleep"])
    qemu.qmp.answer(STEP_TIMEOUT_S)
    return new


def _reopen(qemu: Qemu, interval_s: int) -> None:
    """Stops the node's cache cleaner, and starts it if there is a time."""
    qemu.qmp.execute("blockdev-reopen", {"options": [
        {"driver": "qcow2", "file": FILE_NODE, "node-name": QCOW2_NODE,
         "cache-clean-interval": interval_s}]}, STEP_TIMEOUT_S)


def _move_sleeper(qemu: Qemu) -> None:
    """From the main thread to the iothread, without any race.

    The move itself stops the cleaner, the reopen starts it over there.
    """
    qemu.qmp.execute("x-blockdev-set-iothread", {
        "node-name": QCOW2_NODE, "iothread": IOTHREAD}, STEP_TIMEOUT_S)
    _reopen(qemu, LONG_INTERVAL_S)


def _goes_on(qemu: Qemu) -> None:
    """Opens and closes nodes, has no finding and ends when it is told to."""
    qemu.to_iothread()
    hang = hunt(qemu, None, PAIRS)
    assert hang is None, hang
    look_clean(qemu.pid)
    qemu.qmp.execute("quit", timeout_s=STEP_TIMEOUT_S)
    assert qemu.process.wait(STEP_TIMEOUT_S) == 0, qemu.log.read_text()


def woken(lab: Path, iothread: bool) -> None:
    """Parked by the faulty code, woken by the fixed wake.

    In the main thread by its own thread, in the iothread by another one.
    Those that sleep later do so in the fixed code.
    """
    with Qemu(lab, BUILD) as qemu:
        qemu.add()
        if iothread:
            _move_sleeper(qemu)
        assert code_of_sleeper(qemu) == qemu.exe
        new = _upgrade(qemu, lab, FIXED)
        assert code_of_sleeper(qemu) == qemu.exe
        if iothread:
            _reopen(qemu, 0)
            _reopen(qemu, LONG_INTERVAL_S)
        else:
            qemu.delete()
            qemu.add()
        assert code_of_sleeper(qemu) == new
        qemu.delete()
        _goes_on(qemu)


def fired(lab: Path) -> None:
    """Parked by the faulty code, woken by its timer through the fixed one.

    It sleeps again, now in the fixed code, and that timer fires as well.
    """
    with Qemu(lab, BUILD) as qemu:
        qemu.cleaner_interval_s = SHORT_INTERVAL_S
        qemu.add()
        assert code_of_sleeper(qemu) == qemu.exe
        with Gdb() as gdb:
            gdb.attach(qemu.pid)
            main = gdb.ids_by_tid()[qemu.pid]
            entries = upgrade(gdb, qemu, lab, FIXED)
            numbers = {name: gdb.breakpoint(entries[name], main)
                       for name in ("co_sleep_cb", "qemu_co_sleep")}
            gdb.resume_all()
            for name in ("co_sleep_cb", "qemu_co_sleep", "co_sleep_cb"):
                stop = gdb.stopped(
                    STEP_TIMEOUT_S,
                    lambda s: s.values.get("thread-id") == main)
                assert stop and stop.values["bkptno"] == numbers[name], (
                    f"{name} was to come, not {stop}")
                gdb.resume(main)
        qemu.qmp.answer(STEP_TIMEOUT_S)
        assert code_of_sleeper(qemu) == file_of(qemu.pid,
                                                entries["co_sleep_cb"])
        qemu.delete()
        qemu.cleaner_interval_s = None
        _goes_on(qemu)


def raced(lab: Path, interleaving: str) -> None:
    """The order of events that hangs graphfix each time does no harm."""
    with Qemu(lab, BUILD) as qemu:
        qemu.to_iothread()
        _upgrade(qemu, lab, FIXED)
        race = ForcedRace(qemu.pid, interleaving, qemu.send_add,
                          qemu.qmp.answered)
        assert race.run() == SURVIVES
        qemu.delete()
        _goes_on(qemu)


def mark_aborts(lab: Path) -> None:
    """The control: QEMU's own repair ends a sleeper of the faulty code."""
    with Qemu(lab, BUILD) as qemu:
        qemu.add()
        assert code_of_sleeper(qemu) == qemu.exe
        _upgrade(qemu, lab, MARK)
        qemu.qmp.send("blockdev-del", {"node-name": QCOW2_NODE})
        status = qemu.process.wait(STEP_TIMEOUT_S)
        assert status == -signal.SIGABRT, status
        assert ASSERTION in qemu.log.read_text(), qemu.log.read_text()


def mark_alone(lab: Path) -> None:
    """The control's own: with nobody asleep it can be put in as well."""
    with Qemu(lab, BUILD) as qemu:
        new = _upgrade(qemu, lab, MARK)
        qemu.add()
        assert code_of_sleeper(qemu) == new
        qemu.delete()
        _goes_on(qemu)
