"""A QEMU of the lab with coroutines parked at known places, for certain.

SPDX-License-Identifier: GPL-2.0-or-later

In one storage daemon, and for as long as a test wants to look:
 - sleepers: the cache cleaner of each qcow2 node in the main thread, and in the
   iothread reads of a null-co node, which sleeps an hour for each;
 - one holder of a qcow2 node's CoMutex s->lock, in the middle of an
   allocating write whose file lies behind a throttle that lets one byte a
   second pass, and behind it the waiters for that lock;
 - readers in the middle of I/O: their disk is an NBD server, a second daemon
   that takes an hour for each read.  The first reader waits for the socket,
   and has a CoMutex for which the others wait.
Nobody has to be quick: each waits for something that does not come.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Optional

from labqemu import IOTHREAD, Qemu
from labqhang import Diagnosis, diagnose_pid
from nbdclient import READ, WRITE, Clients

QMP_S = 60.0
STEADY_S = 60.0
CLUSTER = 65536
WRITERS = 8
READERS = 4
READ_BYTES = 4096
READ_AT = 1 << 20

HOLDER = "throttle_group_co_io_limits_intercept"
WAITER = "qemu_co_mutex_lock_slowpath"
READER = "nbd_co_receive_one_chunk"
SLEEPER = "null_co_common"
CLEANER = "cache_clean_timer"
# How many coroutines with that function on their stacks.
WANTED = {HOLDER: 1, WAITER: WRITERS - 1 + READERS - 1, READER: READERS,
          SLEEPER: READERS, CLEANER: 2}


@dataclass(frozen=True)
class Parked:
    """The daemon, and what qhang said of it when all were parked."""

    qemu: Qemu
    diagnosis: Diagnosis

    @property
    def pid(self) -> int:
        """The daemon with the parked coroutines."""
        return self.qemu.pid


def _serve(qemu: Qemu, *nodes: str) -> None:
    """Exports the nodes by NBD, each under its name."""
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}},
        "max-connections": 0}, QMP_S)
    for node in nodes:
        export = {"type": "nbd", "id": f"e-{node}", "node-name": node,
                  "name": node, "writable": node == "q1"}
        if node == "z0":
            export["iothread"] = IOTHREAD
        qemu.qmp.execute("block-export-add", export, QMP_S)


def _slow_disk(qemu: Qemu, name: str) -> None:
    """A node that answers a read after an hour."""
    qemu.qmp.execute("blockdev-add", {
        "driver": "null-co", "node-name": name, "size": 64 << 20,
        "latency-ns": 3600 * 10**9, "read-only": True}, QMP_S)


def _add_remote(qemu: Qemu, server: Qemu) -> None:
    """Node n1, whose disk is the server's."""
    qemu.qmp.execute("blockdev-add", {
        "driver": "nbd", "node-name": "n1", "export": "slow",
        "server": {"type": "unix", "path": str(server.nbd_socket)},
        "read-only": True}, QMP_S)


def _throttled_qcow2(qemu: Qemu) -> None:
    """Node q1; the throttle gets its limit once the image is open, for that
    takes reads, too."""
    image = qemu.folder / "b.qcow2"
    subprocess.run([qemu.img, "create", "-q", "-f", "qcow2", image, "64M"],
                   check=True)
    qemu.qmp.execute("object-add", {"qom-type": "throttle-group", "id": "tg"})
    qemu.qmp.execute("blockdev-add", {
        "driver": "qcow2", "node-name": "q1", "file": {
            "driver": "throttle", "throttle-group": "tg", "node-name": "t1",
            "file": {"driver": "file", "filename": str(image)}}}, QMP_S)
    qemu.qmp.execute("qom-set", {
        "path": "/objects/tg", "property": "limits",
        "value": {"bps-total": 1}})


def bare(function: Optional[str]) -> str:
    """A function's name without the compiler's suffix."""
    return (function or "?").split(".")[0]


def functions(coroutine: dict[str, Any]) -> list[str]:
    """Names on its stack, innermost first."""
    return [bare(frame["function"]) for frame in coroutine["frames"]]


def in_function(report: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The suspended coroutines with this function on their stacks."""
    return [c for c in report["coroutines"]
            if c["state"] == "suspended" and name in functions(c)]


def _steady(pid: int, holds: Callable[[dict[str, Any]], bool]) -> Diagnosis:
    """The first report that `holds`, fails after a limit."""
    end = time.monotonic() + STEADY_S
    while True:
        got = diagnose_pid(pid)
        if holds(got.report):
            return got
        assert time.monotonic() < end, got.told()


def _all_there(report: dict[str, Any]) -> bool:
    return {name: len(in_function(report, name)) for name in WANTED} == WANTED


def _submit(qemu: Qemu, stack: ExitStack) -> None:
    """Sends the requests; their connections stay open with the stack."""
    write = [(WRITE, i * CLUSTER, CLUSTER) for i in range(WRITERS)]
    read = [(READ, READ_AT + i * READ_BYTES, READ_BYTES)
            for i in range(READERS)]
    for node, requests in (("q1", write), ("n1", read), ("z0", read)):
        clients = stack.enter_context(Clients(qemu.nbd_socket, node))
        clients.submit(requests)
        clients.send()


@contextmanager
def parked(lab: Path, build: str) -> Iterator[Parked]:
    """Yields the daemon when all of them are where they will stay."""
    with ExitStack() as stack:
        server = stack.enter_context(Qemu(lab, build))
        _slow_disk(server, "slow")
        _serve(server, "slow")
        qemu = stack.enter_context(Qemu(lab, build))
        qemu.add(QMP_S)
        _throttled_qcow2(qemu)
        _add_remote(qemu, server)
        _slow_disk(qemu, "z0")
        _serve(qemu, "q1", "n1", "z0")
        _submit(qemu, stack)
        yield Parked(qemu, _steady(qemu.pid, _all_there))
