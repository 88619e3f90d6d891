"""QEMUs that wait rightly, for I/O that takes ten minutes.

SPDX-License-Identifier: GPL-2.0-or-later

The main thread drains a node whose one request is slow: it holds the BQL
meanwhile, so that in a system emulator the guest's CPU stands still too.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

import parked
from guest import Guest
from healthy import WorkFailed
from labqemu import Qemu
from labqhang import diagnose_pid
from race.qemu import die_with_parent

SLOW_NODE = "n0"
LATENCY_NS = 600 * 10**9
DRAIN = "bdrv_drain_all_begin"
BEGIN_TIMEOUT_S = 60.0
SLOW = {"driver": "null-co", "node-name": SLOW_NODE, "size": 1 << 20,
        "latency-ns": LATENCY_NS}
URL = "nbd+unix:///e1?socket={}"


def _begin_slow_write(stack: ExitStack, qemu: Qemu) -> None:
    """Begins one write that will stay in flight.

    A client that came only once the main thread drains would not be quiesced
    (10.2: nbd/server.c, nbd_drained_begin() is for those that are there), and
    each nbd_drained_poll() would wake it again: a drain that spins.
    """
    qemu.qmp.execute("blockdev-add", SLOW)
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}}})
    qemu.qmp.execute("block-export-add", {
        "type": "nbd", "id": "e1", "name": "e1", "node-name": SLOW_NODE,
        "writable": True})
    client = subprocess.Popen(
        [str(qemu.io), "-f", "raw", "-c", "write 0 4k",
         URL.format(qemu.nbd_socket)], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent)
    stack.callback(client.wait)
    stack.callback(client.kill)
    until_parked(qemu, parked.SLEEPER)


def until_parked(qemu: Qemu, function: str) -> None:
    """Until a coroutine waits in the function."""
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while not parked.in_function(diagnose_pid(qemu.pid).report, function):
        if time.monotonic() > deadline:
            raise WorkFailed(f"no coroutine comes to {function}")


def until_main_in(qemu: Qemu, function: str) -> None:
    """Until the main thread waits in the function, asleep."""
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while not any(wait["tid"] == qemu.pid and wait["function"] == function
                  for wait in diagnose_pid(qemu.pid).report["waits"]):
        if time.monotonic() > deadline:
            raise WorkFailed(f"the main thread does not come to {function}")


def _drain(qemu: Qemu) -> None:
    """Leaves the main thread draining, which a reopen begins with."""
    qemu.qmp.send("blockdev-reopen", {"options": [SLOW]})
    until_main_in(qemu, DRAIN)


@contextmanager
def draining(lab: Path, build: str = "fixed") -> Iterator[Qemu]:
    """A storage daemon whose main thread drains a slow node."""
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, build))
        _begin_slow_write(stack, qemu)
        _drain(qemu)
        yield qemu


@contextmanager
def guest_draining(lab: Path, build: str = "graphfix") -> Iterator[Guest]:
    """A booted guest whose main thread does so, with the BQL."""
    with ExitStack() as stack:
        guest = stack.enter_context(Guest(lab, build))
        _begin_slow_write(stack, guest)
        _drain(guest)
        yield guest
