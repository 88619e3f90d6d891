"""What the main thread of a real QEMU waits for: rightly, or without a kick.

SPDX-License-Identifier: GPL-2.0-or-later

A drain waits for a read from a slow null-co node that an iothread serves over
NBD.  Its kick is taken away while the read ends, by gdb, which sets the count
of waiters to 0 for as long: aio_wait_kick() then kicks nobody, as one that
was forgotten.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator

from labqemu import IOTHREAD, Qemu
from labqhang import EXIT_CLEAN, Diagnosis, diagnose_pid

LATENCY_S = 10
LIMIT_S = 60.0
MET = "wait.condition-met"
DRAIN = "bdrv_drain_all_begin"


@contextmanager
def slow_read(qemu: Qemu) -> Iterator[subprocess.Popen]:
    """A client whose read of the node r0 takes LATENCY_S."""
    qemu.qmp.execute("blockdev-add", {
        "driver": "null-co", "node-name": "n0", "size": 1 << 30,
        "latency-ns": LATENCY_S * 10**9})
    qemu.qmp.execute("blockdev-add", {"driver": "raw", "node-name": "r0",
                                      "file": "n0"})
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}}})
    qemu.qmp.execute("block-export-add", {
        "type": "nbd", "id": "e0", "node-name": "r0", "name": "r0",
        "iothread": IOTHREAD})
    with subprocess.Popen(
            [qemu.io, "-r", "-f", "raw", "-c", "aio_read 0 4k", "-c",
             "aio_flush", f"nbd+unix:///r0?socket={qemu.nbd_socket}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as client:
        try:
            yield client
        finally:
            client.kill()


def waits_for(diagnosis: Diagnosis) -> str:
    """What the main thread is said to wait for rightly, or ""."""
    notes = [note["text"] for note in diagnosis.report["context"]
             if note["what"] == "wait.rightly"]
    return notes[0] if notes else ""


def until(look: Callable[[], Any], what: str) -> Any:
    """What `look()` gives as soon as that is something."""
    end = time.monotonic() + LIMIT_S
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < end, f"not in {LIMIT_S} s: {what}"
        time.sleep(0.05)


def set_waiters(qemu: Qemu, count: int) -> None:
    """Writes global_aio_wait.num_waiters, which qhang never does."""
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-p", str(qemu.pid), "-ex",
         f"set var global_aio_wait.num_waiters = {count}", "-ex",
         "print global_aio_wait.num_waiters"], check=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=LIMIT_S)
    assert f"= {count}" in done.stdout, done.stdout


def is_reading(qemu: Qemu) -> bool:
    """Whether a coroutine is in null-co's latency."""
    return any("null_co_common" in [frame["function"] for frame in c["frames"]]
               for c in diagnose_pid(qemu.pid).report["coroutines"])


def reopen(qemu: Qemu) -> None:
    """Sends a command that drains all nodes, and does not wait."""
    qemu.qmp.send("blockdev-reopen", {"options": [
        {"driver": "raw", "node-name": "r0", "file": "n0"}]})


def test_drain_waits_rightly(lab: Path, qhang: Any) -> None:
    """The operands are read through the node, its parents and the export's
    clients; when the read has ended, the command returns."""
    with Qemu(lab, "stock") as qemu, slow_read(qemu):
        until(lambda: is_reading(qemu), "the read is in flight")
        reopen(qemu)
        told = until(lambda: waits_for(diagnose_pid(qemu.pid)),
                     "the drain is seen")
        assert f"in {DRAIN}: in_flight = " in told
        clean = diagnose_pid(qemu.pid)
        assert clean.status == EXIT_CLEAN, clean.told()
        qemu.qmp.answer(LIMIT_S)


def test_kick_that_never_came(lab: Path, qhang: Any) -> None:
    """The read ends and nobody kicks: the drain hangs, and that is told with
    every operand."""
    with Qemu(lab, "stock") as qemu, slow_read(qemu) as client:
        until(lambda: is_reading(qemu), "the read is in flight")
        reopen(qemu)
        until(lambda: waits_for(diagnose_pid(qemu.pid)), "the drain is seen")
        set_waiters(qemu, 0)
        assert client.wait(LIMIT_S) == 0
        until(lambda: not is_reading(qemu), "the read has ended")
        set_waiters(qemu, 1)
        got = diagnose_pid(qemu.pid)
        assert got.rules() == [MET], got.told()
        [finding] = got.report["findings"]
        assert finding["certainty"] == "proof"
        assert finding["waiter_tid"] == qemu.pid
        told = [line["what"].split(" ")[0] for line in finding["evidence"]]
        assert {"in_flight", "nb_requests"} <= set(told)
        assert not qemu.qmp.answered(0.1)
