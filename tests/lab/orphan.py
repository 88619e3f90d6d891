"""A QEMU of the lab with a request that nothing will ever continue.

SPDX-License-Identifier: GPL-2.0-or-later

An NBD read waits in the queue of a throttle that lets one byte a second pass;
gdb empties that queue.  Nothing else is changed: the throttle's timer is as it
was, and will find nobody.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Optional

from labqemu import IOTHREAD, Qemu
from labqhang import Diagnosis, diagnose_pid
from nbdclient import READ, Clients
from parked import in_function

QMP_S = 60.0
STEADY_S = 60.0
READ_BYTES = 65536
THROTTLED = "throttle_group_co_io_limits_intercept"
GDB = ("gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off")


@dataclass(frozen=True)
class Throttled:
    """The daemon, and the one coroutine that waits in the throttle."""

    qemu: Qemu
    coroutine: str
    member: int

    def drop(self) -> None:
        """Takes the coroutine out of the throttle's queue, and leaves it."""
        queue = f"((ThrottleGroupMember *){self.member:#x})->throttled_reqs[0]"
        done = subprocess.run(
            [*GDB, "-p", str(self.qemu.pid),
             "-ex", f"p {queue}.entries.sqh_first",
             "-ex", f"set var {queue}.entries.sqh_first = 0",
             "-ex", f"set var {queue}.entries.sqh_last = "
                    f"&{queue}.entries.sqh_first"],
            check=True, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=QMP_S)
        assert f") {self.coroutine}" in done.stdout, done.stdout


def _export(qemu: Qemu, iothread: bool) -> None:
    image = qemu.folder / "t.raw"
    with open(image, "wb") as file:
        file.truncate(1 << 20)
    qemu.qmp.execute("object-add", {
        "qom-type": "throttle-group", "id": "tg",
        "limits": {"bps-total": 1}})
    qemu.qmp.execute("blockdev-add", {
        "driver": "throttle", "throttle-group": "tg", "node-name": "t0",
        "file": {"driver": "file", "filename": str(image)}}, QMP_S)
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}}})
    export: dict[str, Any] = {"type": "nbd", "id": "e0", "node-name": "t0",
                              "name": "t0"}
    if iothread:
        export["iothread"] = IOTHREAD
    qemu.qmp.execute("block-export-add", export, QMP_S)


def _find(got: Diagnosis) -> Optional[dict[str, Any]]:
    found = in_function(got.report, THROTTLED)
    return found[0] if len(found) == 1 else None


def _wait_of(got: Diagnosis, coroutine: str) -> dict[str, Any]:
    return next(wait for wait in got.report["waits"]
                if wait["coroutine"] == coroutine)


@contextmanager
def throttled(lab: Path, build: str, iothread: bool = True
              ) -> Iterator[Throttled]:
    """Yields the daemon when one request waits in the throttle."""
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, build))
        _export(qemu, iothread)
        clients = stack.enter_context(Clients(qemu.nbd_socket, "t0"))
        clients.submit([(READ, 0, READ_BYTES), (READ, READ_BYTES, READ_BYTES)])
        clients.send()
        end = time.monotonic() + STEADY_S
        while True:
            got = diagnose_pid(qemu.pid)
            found = _find(got)
            if found:
                wait = _wait_of(got, found["address"])
                yield Throttled(qemu, found["address"],
                                int(wait["object"], 16))
                return
            assert time.monotonic() < end, got.told()
