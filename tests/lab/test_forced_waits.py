"""Circles and right waits of a real QEMU: live, from a gcore, from a capture.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable

import build as lab_build
from alike import nodes, three_ways
from forced import forced
from forced_waits import (OTHER_IOTHREAD, QMP_S, co_mutexes, counted,
                          drain_all, joining, throttled)
from labqhang import UNKICKED, Diagnosis, check_clean, diagnose_pid, look_clean
from parked import HOLDER
from race import GRAPH, HANG
from waits import guest_draining

LOCK_CYCLE = "lock.cycle"
HELD_ASLEEP = "bql.held-asleep"
RIGHTLY = "wait.rightly"
STEADY_S = 20.0


def kinds(got: Diagnosis, places: list[int]) -> list[str]:
    """What the nodes of the wait-for graph are."""
    return [kind for kind, _, _ in nodes(got, places)]


def chain(got: Diagnosis) -> list[dict[str, Any]]:
    """The nodes from the main thread to the culprit."""
    graph = got.report["graph"]
    return [graph["nodes"][at] for at in graph["chain"]]


def note(got: Diagnosis, what: str) -> list[str]:
    """The texts of such notes."""
    return [one["text"] for one in got.report["context"]
            if one["what"] == what]


def until(pid: int, holds: Callable[[Diagnosis], bool]) -> None:
    """Looks until it `holds`; the guest comes to it in its own time."""
    end = time.monotonic() + STEADY_S
    while True:
        got = diagnose_pid(pid)
        if holds(got):
            return
        assert time.monotonic() < end, got.told()


def the_circle(got: Diagnosis) -> list[dict[str, Any]]:
    """The one finding is a proven circle; its nodes."""
    graph = got.report["graph"]
    [finding] = got.report["findings"]
    assert finding["rule"] == LOCK_CYCLE, got.told()
    assert finding["certainty"] == "proof", got.told()
    assert finding["heals"] == "never", got.told()
    assert finding["samples"] >= 2, got.told()
    [cycle] = graph["cycles"]
    return [graph["nodes"][at] for at in cycle["nodes"]]


def test_co_mutex_circle(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """Two requests that have each other's CoMutex, and a drain behind them,
    which is not said to be right."""
    with co_mutexes(lab, circle=True) as qemu:
        got = three_ways(qemu, tmp_path)
    circle = the_circle(got)
    assert [node["kind"] for node in circle] \
        == ["coroutine", "co-mutex"] * 2, got.told()
    for at, evidence in enumerate(got.report["findings"][0]["evidence"]):
        one, lock, other = (circle[(2 * at + i) % 4]["name"]
                            for i in range(3))
        assert evidence["what"] \
            == f"{one} waits for {lock}, held by {other}", got.told()
        assert one.endswith(" nbd_trip"), got.told()
    assert kinds(got, got.report["graph"]["chain"]) \
        == ["thread", "drain", "coroutine"], got.told()
    assert chain(got)[0]["tid"] == qemu.pid
    assert chain(got)[-1] in circle, got.told()
    assert note(got, RIGHTLY) == [], got.told()


def test_co_mutex_order(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The same, but that the second one waits for its disk."""
    with co_mutexes(lab, circle=False) as qemu:
        sockets = {int(entry.name): os.readlink(entry) for entry
                   in Path(f"/proc/{qemu.pid}/fd").iterdir()}
        got = three_ways(qemu, tmp_path)
    check_clean(got)
    assert kinds(got, got.report["graph"]["chain"]) == [
        "thread", "drain", "coroutine", "co-mutex", "coroutine", "request"
    ], got.told()
    assert got.report["graph"]["cycles"] == [], got.told()
    assert len(note(got, RIGHTLY)) == 1, got.told()
    waits = [wait for wait in got.report["waits"] if wait["kind"] == "fd"
             and wait["coroutine"] == chain(got)[-2]["address"]]
    [fd] = [operand["value"] for operand in waits[0]["operands"]
            if operand["what"] == "fd"]
    assert sockets[fd].startswith("socket:"), (fd, sockets)
    assert chain(got)[-1]["name"] == f"qio_channel_yield (fd {fd})"


def test_bql_circle(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The owner of the BQL joins a thread that wants it."""
    lab_build.ensure(["system"])
    with joining(lab) as qemu:
        got = three_ways(qemu, tmp_path)
    main, iothread, bql = the_circle(got)
    assert [main["kind"], iothread["kind"], bql["kind"]] \
        == ["thread", "thread", "bql"], got.told()
    assert main["tid"] == qemu.pid
    assert iothread["name"] == f"iothread {OTHER_IOTHREAD} " \
        f"({iothread['tid']})", got.told()
    assert [one["what"] for one in got.report["findings"][0]["evidence"]] == [
        f"{main['name']} joins {iothread['name']}",
        f"{iothread['name']} waits for BQL, held by {main['name']}"]
    [text] = note(got, HELD_ASLEEP)
    assert f"thread {qemu.pid} " in text, got.told()
    assert "below qemu_thread_join; 1 other waits for it" in text, got.told()


def test_bql_order(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The owner of the BQL drains, and the guest's CPU wants it."""
    lab_build.ensure(["system"])
    with guest_draining(lab) as guest:
        until(guest.pid, lambda got: note(got, HELD_ASLEEP) != [])
        got = three_ways(guest, tmp_path)
    check_clean(got)
    [text] = note(got, HELD_ASLEEP)
    assert f"thread {guest.pid} " in text, got.told()
    assert "below bdrv_drain_all_begin, for up to " in text, got.told()
    assert text.endswith("; 1 other waits for it"), got.told()
    graph = got.report["graph"]
    edges = {(graph["nodes"][edge["from"]]["kind"],
              graph["nodes"][edge["to"]]["kind"]): edge
             for edge in graph["edges"]}
    assert graph["nodes"][edges["bql", "thread"]["to"]]["tid"] == guest.pid
    assert "vcpu" in graph["nodes"][edges["thread", "bql"]["from"]]["name"]
    assert graph["cycles"] == [], got.told()


def test_throttle(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """An export that cannot be closed, down to the throttle's timer."""
    with throttled(lab) as qemu:
        got = three_ways(qemu, tmp_path)
    check_clean(got)
    assert kinds(got, got.report["graph"]["chain"]) \
        == ["thread", "poll", "coroutine", "request", "timer"], got.told()
    start, poll, trip, request, timer = chain(got)
    assert start["tid"] == qemu.pid
    assert poll["name"] == "blk_exp_close_all_type (z0)", got.told()
    assert trip["name"].endswith(" nbd_trip"), got.told()
    assert request["name"] == HOLDER, got.told()
    # A byte a second: as many seconds as the first request had bytes.
    assert timer["name"].startswith("timer, fires in 18 h"), got.told()
    [armed] = got.report["timers"]
    assert armed["address"] == timer["address"], got.told()
    assert armed["callback"] == "write_timer_cb", got.told()
    assert len(note(got, RIGHTLY)) == 1, got.told()


def test_throttle_timer_lost(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The same with the timer gone: it is said, and not that it is right."""
    with throttled(lab, timer=False) as qemu:
        got = three_ways(qemu, tmp_path)
    [finding] = got.report["findings"]
    assert (finding["rule"], finding["certainty"]) \
        == ("throttle.timer-unarmed", "proof"), got.told()
    assert kinds(got, got.report["graph"]["chain"]) \
        == ["thread", "poll", "coroutine", "request", "timer"], got.told()
    _, _, trip, _, timer = chain(got)
    assert finding["coroutine"] == trip["address"], got.told()
    assert finding["waiter_tid"] == qemu.pid, got.told()
    assert timer["name"] == "a timer that is gone", got.told()
    assert note(got, RIGHTLY) == [], got.told()


def test_throttle_drained(lab: Path, qhang: Any) -> None:
    """What ends it, as its page says."""
    with throttled(lab, timer=False, close=False) as qemu:
        assert diagnose_pid(qemu.pid).rules() == ["throttle.timer-unarmed"]
        drain_all(qemu)
        qemu.qmp.answer(QMP_S)
        look_clean(qemu.pid)


def test_graph_writer(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The writer whom nobody kicked: the graph names it and its lock."""
    with forced("stock", GRAPH, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        got = three_ways(qemu, tmp_path)
    assert got.rules() == [UNKICKED], got.told()
    assert kinds(got, got.report["graph"]["chain"]) \
        == ["thread", "graph-lock"], got.told()
    assert chain(got)[0]["tid"] == qemu.pid
    assert chain(got)[0]["finding"] == 0, got.told()
    assert got.report["graph"]["cycles"] == [], got.told()


def test_request_lost(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """A drain that waits for a request which nobody has."""
    with counted(lab, lost=True) as qemu:
        got = three_ways(qemu, tmp_path)
    [finding] = got.report["findings"]
    assert (finding["rule"], finding["certainty"], finding["heals"]) \
        == ("io.lost-completion", "strong", "never"), got.told()
    assert finding["waiter_tid"] == qemu.pid, got.told()
    assert [int(one["value"]) for one in finding["evidence"][:1]] == [1]
    assert note(got, RIGHTLY) == [], got.told()


def test_request_kept(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """The same drain, of a request that a coroutine has."""
    with counted(lab, lost=False) as qemu:
        got = three_ways(qemu, tmp_path)
    check_clean(got)
    assert len(note(got, RIGHTLY)) == 1, got.told()
