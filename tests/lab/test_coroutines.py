"""What the coroutines of a real QEMU wait for, and that none is missed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import build as lab_build
import parked
from labqemu import DAEMON, Qemu
from making import cores
from labqhang import gcore, qhang_program
from nbdclient import WRITE, Clients

BUILDS = ("stock", "fixed")
CLIENTS = 100
# As many as the server takes of one client at a time (nbd/server.c,
# MAX_NBD_REQUESTS).
REQUESTS = 16
QMP_S = 60.0
STEADY_S = 120.0
LENGTH = 4096


def coroutines(*target: str) -> dict[str, Any]:
    """The JSON report, complete."""
    done = subprocess.run([qhang_program(), "coroutines", "--json", *target],
                          check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return json.loads(done.stdout)


def with_function(told: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The suspended coroutines with this function on their stacks."""
    return [c for c in told["coroutines"]
            if told["buckets"][c["bucket"]]["state"] == "suspended"
            and name in parked.functions(told["buckets"][c["bucket"]])]


def check_parked(told: dict[str, Any]) -> None:
    """Each of parked.py's coroutines waits for what it was parked at."""
    [holder] = with_function(told, parked.HOLDER)
    assert holder["wait"]["kind"] == "throttle"
    readers = with_function(told, parked.READER)
    [reader] = [r for r in readers if r["wait"]["kind"] == "fd"]
    waiters = with_function(told, parked.WAITER)
    assert {w["wait"]["kind"] for w in waiters} == {"co-mutex"}
    owners = Counter(w["wait"]["owner_coroutine"] for w in waiters)
    assert owners == {holder["address"]: parked.WRITERS - 1,
                      reader["address"]: parked.READERS - 1}
    for waiter in waiters:
        values = {o["what"]: o["value"] for o in waiter["wait"]["operands"]}
        assert values["listed"] == 1
        assert values["holder"] \
            == int(waiter["wait"]["owner_coroutine"], 16)
        assert values["locked"] \
            == 1 + owners[waiter["wait"]["owner_coroutine"]]
    for name in (parked.SLEEPER, parked.CLEANER):
        sleepers = with_function(told, name)
        assert len(sleepers) == parked.WANTED[name]
        assert {s["wait"]["kind"] for s in sleepers} == {"sleep"}
    assert "unknown" not in {c["wait"]["kind"] for c in told["coroutines"]
                             if c["wait"]}


@pytest.mark.parametrize("build", BUILDS)
def test_parked(lab: Path, qhang: Any, build: str, tmp_path: Path) -> None:
    """Sleepers, a throttled writer with a CoMutex and those who wait for it,
    readers of a slow server: live and from a core."""
    lab_build.ensure([build])
    with parked.parked(lab, build) as place:
        check_parked(coroutines(str(place.pid)))
        core = gcore(place.pid, tmp_path)
    check_parked(coroutines("--core", str(core)))


@pytest.mark.parametrize("build", BUILDS)
def test_making(lab: Path, qhang: Any, build: str, tmp_path: Path) -> None:
    """One that is just being made is none yet, and hides nothing."""
    lab_build.ensure([build], lab)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    argv = [lab / "bin" / build / DAEMON, "--blockdev",
            f"driver=file,filename={disk},node-name=disk"]
    for step, core in cores(argv, tmp_path):
        told = coroutines("--core", str(core))
        assert told["incomplete"] == [], step
        assert len(told["coroutines"]) == step.coroutines, step


def steady(pid: int, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first report that `holds`, fails after a limit."""
    end = time.monotonic() + STEADY_S
    while True:
        told = coroutines(str(pid))
        if holds(told):
            return told
        assert time.monotonic() < end, Counter(
            c["wait"] and c["wait"]["kind"] for c in told["coroutines"])


def throttled_export(qemu: Qemu) -> None:
    """Export z0: a node that takes a byte a second."""
    qemu.qmp.execute("object-add", {
        "qom-type": "throttle-group", "id": "tg",
        "limits": {"bps-total": 1}}, QMP_S)
    qemu.qmp.execute("blockdev-add", {
        "driver": "throttle", "throttle-group": "tg", "node-name": "z0",
        "file": {"driver": "null-co", "size": 1 << 30}}, QMP_S)
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}},
        "max-connections": CLIENTS}, QMP_S)
    qemu.qmp.execute("block-export-add", {
        "type": "nbd", "id": "e0", "node-name": "z0", "name": "z0",
        "writable": True}, QMP_S)


def test_hundred_clients(lab: Path, qhang: Any) -> None:
    """100 clients with 16 throttled requests each: every one is there, walked
    to its entry, and QEMU's own count of them says the same. The first
    request passes, for the bucket is empty."""
    lab_build.ensure(["stock"])
    wanted = CLIENTS * REQUESTS - 1
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, "stock"))
        throttled_export(qemu)
        clients = stack.enter_context(
            Clients(qemu.nbd_socket, "z0", CLIENTS))
        clients.submit([(WRITE, i * LENGTH, LENGTH) for i in range(REQUESTS)])
        clients.send()
        told = steady(qemu.pid, lambda told: len(
            with_function(told, parked.HOLDER)) >= wanted)
    waiting = with_function(told, parked.HOLDER)
    assert len(waiting) == wanted
    [member] = {c["wait"]["object"] for c in waiting}
    assert member
    for one in waiting:
        assert one["wait"]["kind"] == "throttle"
        values = {o["what"]: o["value"] for o in one["wait"]["operands"]}
        assert values.pop("throttle_state")
        # The group's one timer, which is armed.
        assert values.pop("expire_time") > 0
        assert values == {"pending reads": 0, "pending writes": wanted,
                          "restart_pending": 0, "listed": 1}
    for bucket in told["buckets"]:
        assert bucket["cut"] is None
        assert parked.functions(bucket)[-1] == "coroutine_trampoline"
    assert told["pause_ns"]
    print(f"{told['shown']} coroutines, {told['states']}, pause "
          f"{told['pause_ns'] / 1e6:.1f} ms")
