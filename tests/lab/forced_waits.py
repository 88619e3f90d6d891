"""Real QEMUs whose threads and coroutines wait for each other, by force.

SPDX-License-Identifier: GPL-2.0-or-later

gdb in non-stop mode stops a thread at the entry of the function that takes a
lock and gives it another lock to take: one argument in one register.  What
is in memory then QEMU's own code has written, and QEMU's own code waits.  Such
orders of locks are faults that QEMU does not have, so that they have to be
given to it.  Each stands beside its twin, where the same locks are taken, and
the last one waits for I/O that takes its time.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Callable, Iterator

import parked
from labqemu import IOTHREAD, Qemu
from nbdclient import WRITE, Clients
from race.mi import Gdb
from race.symbols import Symbols
from waits import DRAIN, draining, until_main_in, until_parked

OTHER_IOTHREAD = "io1"
QMP_S = 60.0
STOP_S = 20.0
CLUSTER = 65536


class NotForced(Exception):
    """It did not come to what was to be held."""


def _stop_where(gdb: Gdb, holds: Callable[[str], bool]) -> str:
    """The thread of the first stop for which it `holds`; others go on."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        stop = gdb.stopped(0.5)
        if stop is None:
            continue
        thread = stop.values["thread-id"]
        if holds(thread):
            return thread
        gdb.resume(thread)
    raise NotForced(f"no such stop in {STOP_S:.0f} s")


def _set(gdb: Gdb, thread: str, register: str, value: int) -> None:
    gdb.evaluate(thread, f"${register} = {value:#x}")


def _serve(qemu: Qemu) -> None:
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}},
        "max-connections": 0}, QMP_S)


def _write(stack: ExitStack, qemu: Qemu, name: str, count: int = 1) -> None:
    """So many requests to an export."""
    clients = stack.enter_context(Clients(qemu.nbd_socket, name))
    clients.submit(count * [(WRITE, 0, CLUSTER)])
    clients.send()


def drain_all(qemu: Qemu) -> None:
    """Sends what has the main thread drain all nodes: a reopen."""
    node = {"driver": "null-co", "node-name": "n0"}
    qemu.qmp.execute("blockdev-add", node, QMP_S)
    qemu.qmp.send("blockdev-reopen", {"options": [node]})


# CoMutexes.

def _disk(server: Qemu, name: str) -> None:
    """An export behind a throttle without limits: a qcow2 image in another."""
    inner = server.folder / f"{name}.inner"
    image = server.folder / f"{name}.qcow2"
    for command in (["create", "-q", "-f", "qcow2", inner, "64M"],
                    ["convert", "-f", "raw", "-O", "qcow2", inner, image]):
        subprocess.run([server.img, *command], check=True)
    server.qmp.execute("object-add", {"qom-type": "throttle-group",
                                      "id": name}, QMP_S)
    server.qmp.execute("blockdev-add", {
        "driver": "throttle", "throttle-group": name, "node-name": name,
        "file": {"driver": "file", "filename": str(image)}}, QMP_S)
    server.qmp.execute("block-export-add", {
        "type": "nbd", "id": name, "name": name, "node-name": name,
        "writable": True}, QMP_S)


def _limit(server: Qemu, name: str) -> None:
    """From now on the throttle lets a byte a second pass."""
    server.qmp.execute("qom-set", {
        "path": f"/objects/{name}", "property": "limits",
        "value": {"bps-total": 1}})


def _layers(qemu: Qemu, server: Qemu, name: str, iothread: str) -> None:
    """An export of qcow2 node top-NAME, which lies in qcow2 node base-NAME,
    whose disk is the server's."""
    qemu.qmp.execute("blockdev-add", {
        "driver": "qcow2", "node-name": f"top-{name}", "file": {
            "driver": "qcow2", "node-name": f"base-{name}", "file": {
                "driver": "nbd", "export": name, "server": {
                    "type": "unix", "path": str(server.nbd_socket)}}}},
        QMP_S)
    qemu.qmp.execute("block-export-add", {
        "type": "nbd", "id": name, "name": name, "node-name": f"top-{name}",
        "writable": True, "iothread": iothread}, QMP_S)


def _qcow2_lock(gdb: Gdb, thread: str, node: str) -> int:
    """The address of s->lock of a qcow2 node."""
    bs = gdb.evaluate(thread, "all_bdrv_states.tqh_first")
    while bs:
        here = f"((BlockDriverState *){bs:#x})"
        if gdb.evaluate(thread, f"$_streq({here}->node_name, \\\"{node}\\\")"):
            return gdb.evaluate(
                thread, f"&((BDRVQcow2State *){here}->opaque)->lock")
        bs = gdb.evaluate(thread, f"{here}->bs_list.tqe_next")
    raise NotForced(f"no node {node}")


def _holds(gdb: Gdb, thread: str, lock: int) -> bool:
    """Whether the thread's coroutine holds the CoMutex."""
    return gdb.evaluate(thread, f"((CoMutex *){lock:#x})->holder"
                                " == co_tls_current") == 1


@contextmanager
def co_mutexes(lab: Path, circle: bool, build: str = "graphfix"
               ) -> Iterator[Qemu]:
    """Two requests in two iothreads, each with the s->lock of its top node;
    the first then waits for the second one's, and the main thread drains.

    At the call by which a request takes the lock of its base node, it is
    given the other's top node.  In a `circle` both are; else the second one
    holds its lock in a write to a disk that takes a byte a second.
    """
    with ExitStack() as stack:
        server = stack.enter_context(Qemu(lab, build))
        qemu = stack.enter_context(Qemu(
            lab, build,
            extra=("--object", f"iothread,id={OTHER_IOTHREAD}")))
        for one in (server, qemu):
            _serve(one)
        for name, iothread in (("a", IOTHREAD), ("b", OTHER_IOTHREAD)):
            _disk(server, name)
            _layers(qemu, server, name, iothread)
        if not circle:
            _limit(server, "b")
            _write(stack, qemu, "b")
            until_parked(server, parked.HOLDER)
        with Gdb() as gdb:
            _cross(stack, qemu, gdb, circle)
        drain_all(qemu)
        until_main_in(qemu, DRAIN)
        yield qemu


def _cross(stack: ExitStack, qemu: Qemu, gdb: Gdb, circle: bool) -> None:
    gdb.attach(qemu.pid)
    any_thread = gdb.threads()[0]["id"]
    top, base = ({name: _qcow2_lock(gdb, any_thread, f"{layer}-{name}")
                  for name in "ab"} for layer in ("top", "base"))
    gdb.breakpoint(Symbols(qemu.pid).entry("qemu_co_mutex_lock"))
    gdb.resume_all()
    held = {}
    for name, other in (("a", "b"), ("b", "a"))[:1 + circle]:
        _write(stack, qemu, name)
        held[name] = _stop_where(
            gdb, lambda thread, name=name: _holds(gdb, thread, top[name])
            and gdb.evaluate(thread, "$rdi") == base[name])
    for name, thread in held.items():
        _set(gdb, thread, "rdi", top["b" if name == "a" else "a"])
    gdb.command("-break-delete")
    for thread in held.values():
        gdb.resume(thread)


# The BQL.

@contextmanager
def joining(lab: Path, build: str = "graphfix") -> Iterator[Qemu]:
    """A system emulator whose main thread, with the BQL, waits for the end
    of an iothread that waits for the BQL.

    On its way to its end the iothread takes the lock of RCU's registry; it
    is given the BQL for that.
    """
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(
            lab, build, system=True,
            extra=("-object", f"iothread,id={OTHER_IOTHREAD}")))
        tid = next(one["thread-id"]
                   for one in qemu.qmp.execute("query-iothreads")
                   if one["id"] == OTHER_IOTHREAD)
        with Gdb() as gdb:
            _join(qemu, gdb, tid)
        until_main_in(qemu, "qemu_thread_join")
        yield qemu


def _join(qemu: Qemu, gdb: Gdb, tid: int) -> None:
    gdb.attach(qemu.pid)
    thread = gdb.ids_by_tid()[tid]
    registry = gdb.evaluate(thread, "&rcu_registry_lock")
    bql = gdb.evaluate(thread, "&bql")
    gdb.breakpoint(Symbols(qemu.pid).entry("qemu_mutex_lock_impl"), thread)
    gdb.resume_all()
    qemu.qmp.send("object-del", {"id": OTHER_IOTHREAD})
    _stop_where(gdb, lambda _: gdb.evaluate(thread, "$rdi") == registry)
    _set(gdb, thread, "rdi", bql)
    gdb.command("-break-delete")
    gdb.resume(thread)


# A throttle.

@contextmanager
def throttled(lab: Path, timer: bool = True, close: bool = True,
              build: str = "graphfix") -> Iterator[Qemu]:
    """A storage daemon with an export in which a throttle holds a request
    back for hours; the main thread waits for its end, to `close` it.

    No drain waits for that: it has the throttle let everything go.  Without
    the `timer` gdb has taken that off its list, so that nothing ends it.
    """
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, build))
        qemu.qmp.execute("object-add", {
            "qom-type": "throttle-group", "id": "tg",
            "limits": {"bps-total": 1}}, QMP_S)
        qemu.qmp.execute("blockdev-add", {
            "driver": "throttle", "throttle-group": "tg", "node-name": "z0",
            "file": {"driver": "null-co", "size": 1 << 20}}, QMP_S)
        _serve(qemu)
        qemu.qmp.execute("block-export-add", {
            "type": "nbd", "id": "z0", "name": "z0", "node-name": "z0",
            "writable": True}, QMP_S)
        # The first passes, for the bucket is empty.
        _write(stack, qemu, "z0", 2)
        until_parked(qemu, parked.HOLDER)
        if not timer:
            with Gdb() as gdb:
                gdb.attach(qemu.pid)
                _take_timer(gdb)
        if close:
            qemu.qmp.send("nbd-server-stop")
            until_main_in(qemu, "blk_exp_close_all_type")
        yield qemu


def _take_timer(gdb: Gdb) -> None:
    """Unlinks the throttle's timer as timer_del() would; it is the only one
    of its list."""
    thread = gdb.threads()[0]["id"]
    taken = 0
    for clock in range(4):
        head = f"qemu_aio_context->tlg.tl[{clock}]->active_timers"
        if gdb.evaluate(thread, head):
            taken += 1
            gdb.evaluate(thread, f"{head}->expire_time = -1")
            gdb.evaluate(thread, f"{head} = 0")
    if taken != 1:
        raise NotForced(f"{taken} lists with timers")


# A request that nobody has.

@contextmanager
def counted(lab: Path, lost: bool, build: str = "graphfix"
            ) -> Iterator[Qemu]:
    """A storage daemon whose main thread drains a node of which one request
    more is counted than there is, if it is `lost`; NBD's client rests.

    The twin has a request: one that takes ten minutes, in a coroutine.
    """
    with ExitStack() as stack:
        qemu = stack.enter_context(
            draining(lab, build) if not lost else Qemu(lab, build))
        if lost:
            qemu.qmp.execute("blockdev-add", {
                "driver": "null-co", "node-name": "z0", "size": 1 << 20},
                QMP_S)
            _serve(qemu)
            qemu.qmp.execute("block-export-add", {
                "type": "nbd", "id": "z0", "name": "z0", "node-name": "z0",
                "writable": True}, QMP_S)
            stack.enter_context(Clients(qemu.nbd_socket, "z0"))
            until_parked(qemu, "nbd_trip")
            with Gdb() as gdb:
                gdb.attach(qemu.pid)
                gdb.evaluate(gdb.threads()[0]["id"],
                             "++all_bdrv_states.tqh_first->in_flight")
            drain_all(qemu)
            until_main_in(qemu, DRAIN)
        yield qemu
