"""Every victim scenario, live and from cores: the fault, or no finding.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import (CLEAN, FINDING, INCOMPLETE, VICTIMS, Victim, qhang,
                      report, report_once, task_states, traced_by, wait_until)

CLEANER = "qcow2.cache-clean-timer"
STARVED = "runnable-starved"
MOST_LOOKS = 20
COPY, TIMEOUT = "block-copy.kick", "co-timeout"
# What each fault is to be called; every other scenario is healthy.
FAULTS = {
    "wake-lost": ("sleep.wake-lost", CLEANER, "timer"),
    "wake-lost-held": ("sleep.wake-lost", CLEANER, "timer"),
    "wake-lost-behind": ("sleep.wake-lost", CLEANER, "timer"),
    "erased": ("sleep.erased", CLEANER, "never"),
    "erased-fired": ("sleep.erased", CLEANER, "never"),
    "graph-unkicked": ("graph.writer-unkicked", None, "never"),
    "copy-lost": ("sleep.wake-lost", COPY, "timer"),
    "timeout-lost": ("sleep.wake-lost", TIMEOUT, "timer"),
    "condition-met": ("wait.condition-met", None, "never"),
    "drain-unkicked": ("wait.condition-met", None, "never"),
    "bh-unnotified": ("aio.queued-unnotified", None, "never"),
    "timer-unserved": ("timer.expired-unserved", None, "never"),
    "owner-gone": ("lock.owner-gone", None, "never"),
    "owner-self": ("lock.owner-gone", None, "never"),
    "handoff-lost": ("comutex.handoff-lost", None, "never"),
    "handoff-unwoken": ("comutex.handoff-lost", None, "never"),
    "rwlock-stalled": ("corwlock.stalled", None, "never"),
    "stop-unkicked": ("iothread.stop-unkicked", None, "never"),
    "pool-idle": ("threadpool.idle-worker", None, "timer"),
    "throttle-unarmed": ("throttle.timer-unarmed", None, "never"),
    "kernel-stuck": ("kernel.stuck", None, "unknown"),
    "rcu-stalled": ("rcu.stalled", None, "unknown"),
    "orphan": ("coroutine.orphan", None, "never"),
    "request-lost": ("io.lost-completion", None, "never"),
    "monitor-suspended": ("monitor.suspended", None, "never"),
}
# What can be no more than strong.
STRONG = ("kernel.stuck", "rcu.stalled", "coroutine.orphan",
          "io.lost-completion")
# The command that hangs; the others hang none.
COMMANDS = {
    "wake-lost": "blockdev-del", "erased": "blockdev-del",
    "wake-lost-held": "blockdev-del", "wake-lost-behind": "blockdev-del",
    "erased-fired": "blockdev-del", "graph-unkicked": "blockdev-del",
    "condition-met": "x-call", "drain-unkicked": "x-drain",
    "request-lost": "x-drain",
    "owner-gone": "x-lock", "owner-self": "x-lock-twice",
    "kernel-stuck": "x-lock", "stop-unkicked": "x-stop",
}
# A thread in state D can't be stopped, so something is not known.
KERNEL = ("kernel-stuck", "kernel-alone")
# A wait with an operand that only QEMU can evaluate: not judged, and said so.
UNREAD = "drain-unread"
# Context that is told beside findings, or without one.
CONTEXT = {"bql-asleep": "bql.held-asleep", "drain-waiting": "wait.rightly",
           "stop-cures-twin": "wait.rightly",
           "kernel-alone": "kernel.stuck"}
# Those that make circles have tests of their own: test_cycle.py; those which a
# stop changes are not the same after it: test_stop_changed.py; some have two, or
# never rest: test_kick_outcome.py, test_watch.py.
SCENARIOS = [line.split()[0] for line in subprocess.run(
    [VICTIMS / "victim", "--list"], check=True, capture_output=True,
    text=True).stdout.splitlines()
    if "-cycle" not in line
    and line.split()[0] not in ("stop-cures", "two-lost",
                                "lost-behind-lost", "wake-lost-turning",
                                "bh-unnotified-busy",
                                "graph-unkicked-halts",
                                "graph-unkicked-stirred")]
PROGRAMS = ["victim", "victim-O0"]
# Neither gdb nor the kernel gets a core of a thread that gets to no CPU, or
# does not leave state D.
DUMPABLE = [name for name in SCENARIOS if name not in (STARVED, *KERNEL)]
# Without optimisation a core tells nothing new about a healthy process.
OF_CORES = [("victim", name) for name in DUMPABLE] \
    + [("victim-O0", name) for name in FAULTS if name in DUMPABLE]


def thread(told: dict[str, Any], tid: int) -> dict[str, Any]:
    """The thread of that tid."""
    return next(t for t in told["threads"] if t["tid"] == tid)


def functions(item: dict[str, Any]) -> list[str]:
    """The names on the stack of a thread or coroutine."""
    return [frame["function"] for frame in item["frames"]]


def check_sleep(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the cleaner, its iothread, and the main thread."""
    cleaner = next(c for c in told["coroutines"]
                   if c["address"] == finding["coroutine"])
    assert cleaner["entry"] == "cache_clean_timer"
    assert cleaner["state"] == "suspended"
    assert "qemu_co_sleep" in functions(cleaner)
    home = thread(told, finding["tid"])
    assert home["role"] == "iothread"
    assert home["iothread"] == "io0"
    assert finding["waiter_tid"] == told["target"]["pid"]
    waiter = thread(told, finding["waiter_tid"])
    assert "cache_clean_timer_del_and_wait" in functions(waiter)
    sleeper = next(s for s in told["sleepers"]
                   if s["coroutine"] == finding["coroutine"])
    assert sleeper["cleaner"]["interval_s"] == 0
    assert sleeper["wake_address"] in [e["address"]
                                       for e in finding["evidence"]]


def check_graph(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the writer, and there is no reader."""
    assert finding["tid"] == finding["waiter_tid"] == told["target"]["pid"]
    assert finding["coroutine"] is None
    assert "bdrv_graph_wrlock" in functions(thread(told, finding["tid"]))
    assert told["graph_lock"]["readers"] == 0
    assert told["graph_lock"]["has_writer"] == 0
    assert told["graph_lock"]["writer_tid"] == finding["tid"]


def check_asked(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the sleeper, in io0, and what asked it to wake."""
    sleeper = next(s for s in told["sleepers"]
                   if s["coroutine"] == finding["coroutine"])
    assert (sleeper["user"], sleeper["armed"]) == (finding["user"], "armed")
    assert thread(told, finding["tid"])["iothread"] == "io0"
    assert finding["evidence"][0]["value"] == "1"


def check_co_lock(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the waiter, and the object that it waits for."""
    waiter = next(c for c in told["coroutines"]
                  if c["address"] == finding["coroutine"])
    assert waiter["entry"] in ("want_mutex", "want_rwlock", "request")
    wait = next(w for w in told["waits"]
                if w["coroutine"] == finding["coroutine"])
    assert wait["object"] in [e["address"]
                                         for e in finding["evidence"]]
    assert thread(told, finding["tid"])["iothread"] \
        == ("io0" if waiter["entry"] == "request" else "io1")


def check_orphan(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the throttled coroutine, in io0."""
    orphan = next(c for c in told["coroutines"]
                  if c["address"] == finding["coroutine"])
    assert orphan["state"] == "suspended"
    assert "throttle_group_co_io_limits_intercept" in functions(orphan)
    assert thread(told, finding["tid"])["iothread"] == "io0"
    assert finding["waiter_tid"] is None


def check_monitor(told: dict[str, Any], finding: dict[str, Any]) -> None:
    """The finding names the monitor; neither thread nor coroutine is stuck."""
    assert (finding["coroutine"], finding["tid"], finding["waiter_tid"]) \
        == (None, None, None)
    assert [e["value"] for e in finding["evidence"]] == ["1", "0", "0"]
    assert "charmonitor" in finding["evidence"][0]["what"]


# Where the waiter of each stands; the main thread, unless it is told.
WAITERS = {
    "condition-met": "aio_wait_bh_oneshot",
    "drain-unkicked": "bdrv_do_drained_begin",
    "request-lost": "bdrv_do_drained_begin",
    "bh-unnotified": "iothread_run",
    "timer-unserved": "iothread_run",
    "owner-gone": "qemu_mutex_lock",
    "owner-self": "qemu_mutex_lock",
    "stop-unkicked": "qemu_thread_join",
    "pool-idle": "iothread_run",
    "kernel-stuck": "qemu_mutex_lock",
    "rcu-stalled": "wait_for_readers",
}


def check_waiter(told: dict[str, Any], finding: dict[str, Any],
                 scenario: str) -> None:
    """The finding names who waits, and who is waited for."""
    waiter = thread(told, finding["waiter_tid"])
    assert WAITERS[scenario] in functions(waiter)
    if scenario in COMMANDS:
        assert waiter["role"] == "main"
    elif scenario != "rcu-stalled":
        assert waiter["iothread"] == "io0"
    if scenario in ("kernel-stuck", "rcu-stalled"):
        assert finding["tid"] != finding["waiter_tid"]
        name = {"kernel-stuck": "stuck", "rcu-stalled": "reader"}[scenario]
        if told["target"]["kind"] != "core":  # which has no names
            assert thread(told, finding["tid"])["name"] == name


def check_whole(told: dict[str, Any], scenario: str) -> None:
    """Everything was read, but for what can't be."""
    if scenario not in (*KERNEL, UNREAD):
        assert told["incomplete"] == []
        return
    [gap] = told["incomplete"]
    if scenario == UNREAD:
        assert gap["what"].startswith("drained_poll, which thread")
        assert "x_drained_poll()" in gap["reason"]
        return
    stuck = next(t["tid"] for t in told["threads"] if t["name"] == "stuck")
    assert gap["what"] == f"stack of thread {stuck}"


def check(told: dict[str, Any], scenario: str, victim: Victim) -> None:
    """The verdict that the scenario calls for, and the census."""
    if scenario == STARVED:
        # A thread that gets to no CPU can't be stopped: that is told.
        assert told["status"] == INCOMPLETE
        [gap] = told["incomplete"]
        assert gap["what"] == f"stack of thread {victim.pid}"
        assert told["findings"] == []
        return
    check_whole(told, scenario)
    assert told["target"]["pid"] == victim.pid
    if scenario != "busy":
        states = Counter(c["state"] for c in told["coroutines"])
        pooled = states.pop("pooled", 0)
        assert (sum(states.values()), pooled) == (victim.in_use,
                                                  victim.pooled)
    if scenario in CONTEXT:
        assert CONTEXT[scenario] in [note["what"] for note in told["context"]]
    if scenario not in FAULTS:
        assert told["findings"] == []
        assert told["status"] == \
            (INCOMPLETE if scenario in (*KERNEL, UNREAD) else CLEAN)
        return
    rule, user, heals = FAULTS[scenario]
    assert told["status"] == FINDING
    [finding] = told["findings"]
    assert (finding["rule"], finding["user"]) == (rule, user)
    assert finding["certainty"] == ("strong" if rule in STRONG else "proof")
    assert finding["heals"] == heals
    known = rule.startswith(("sleep.", "graph."))
    assert finding["fixed_in"] == (["10.0.13", "11.1"] if known else [])
    assert told["qmp_command"] == COMMANDS.get(scenario)
    if user == CLEANER:
        check_sleep(told, finding)
    elif user:
        check_asked(told, finding)
    elif rule.startswith("graph."):
        check_graph(told, finding)
    elif rule == "coroutine.orphan":
        check_orphan(told, finding)
    elif rule == "monitor.suspended":
        check_monitor(told, finding)
    elif rule.startswith(("co", "throttle")):
        check_co_lock(told, finding)
    else:
        check_waiter(told, finding, scenario)


def settled_report(pid: int, scenario: str) -> dict[str, Any]:
    """Of a process that hangs. A stop wakes its threads, and on a busy host
    none may be back asleep in any sample, which is told; then again. One that
    is kept from its CPU will not get there, however often it is asked."""
    if scenario == STARVED:
        return report_once(str(pid))
    for _ in range(MOST_LOOKS):
        told = report(str(pid))
        if scenario not in FAULTS or "samples.unsettled" not in [
                note["what"] for note in told["context"]]:
            break
    return told


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_live(scenario: str, program: str) -> None:
    """The running process, which goes on as it was."""
    with Victim(scenario, program=program) as victim:
        told = settled_report(victim.pid, scenario)
        check(told, scenario, victim)
        assert told["target"]["kind"] == "live"
        assert told["pause_ns"] > 0
        if scenario in FAULTS:
            assert told["samples"] >= 2
            assert told["findings"][0]["samples"] >= 2
        wait_until(lambda: not {"t", "T"} & set(
            task_states(victim.pid).values()), "no thread is stopped")
        assert traced_by(victim.pid) == {0}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", DUMPABLE)
def test_gcore(scenario: str, program: str, tmp_path: Path) -> None:
    """A core that gcore wrote."""
    with Victim(scenario, program=program) as victim:
        core = victim.gcore(tmp_path)
    check_core(core, scenario, victim)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", DUMPABLE)
def test_kernel_core(scenario: str, program: str, tmp_path: Path) -> None:
    """A core that the kernel wrote."""
    with Victim(scenario, program=program, cwd=tmp_path) as victim:
        core = victim.kernel_core(tmp_path)
    check_core(core, scenario, victim)


COMPARED = ("incomplete", "threads", "contexts", "timers", "coroutines",
            "sleepers", "graph_lock", "qmp_command", "bql_owner")
# What a finding says, beside the numbers that go with the time.
TOLD_ALIKE = ("rule", "user", "certainty", "heals", "fixed_in", "tid",
              "waiter_tid", "coroutine")


def alike(finding: dict[str, Any]) -> dict[str, Any]:
    """What two diagnoses of the same hang must agree on."""
    return {**{key: finding[key] for key in TOLD_ALIKE},
            "evidence": [(item["address"],
                          re.sub(r"[\d.]+ m?s (ahead|overdue)", r"N s \1",
                                 f"{item['what']} {item['value']}"))
                         for item in finding["evidence"]]}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_capture(scenario: str, program: str, tmp_path: Path) -> None:
    """A capture says what the process says, times to heal included.

    A thread that was just let go may take a while to get to sleep again on a
    busy host: so the process may be asked more than once.
    """
    core = tmp_path / "core"
    lives = []
    with Victim(scenario, program=program) as victim:
        done = qhang("capture", str(victim.pid), "-o", core)
        assert done.returncode == CLEAN
        told = report("--core", core)
        if scenario in KERNEL:
            # Nothing is known of who did not stop, and one sample tells no
            # two sleeps apart.
            assert told["findings"] == []
            assert told["status"] == INCOMPLETE
            return
        check(told, scenario, victim)
        assert told["target"]["kind"] == "core"
        while len(lives) < MOST_LOOKS:
            lives.append(report(str(victim.pid)))
            if what_differs(told, lives[-1]) is None:
                break
    live = lives[-1]
    if scenario != "busy":
        assert what_differs(told, live) is None
    for one, other in zip(told["findings"], live["findings"]):
        if other["heals"] == "timer" and other["heals_in_ns"] is not None:
            # The capture came first.
            assert one["heals_in_ns"] > other["heals_in_ns"] > 0


def what_differs(told: dict[str, Any], live: dict[str, Any]) -> str | None:
    """The first thing in which a capture and its process do not agree."""
    if [alike(f) for f in told["findings"]] \
            != [alike(f) for f in live["findings"]]:
        return "findings"
    # Of a capture there is one sample, with nothing to differ from.
    if told["context"] != [note for note in live["context"]
                           if note["what"] != "samples.unsettled" and
                           not note["what"].startswith("progress.")]:
        return "context"
    threads = [dict(thread) for thread in told["threads"]]
    for one, other in zip(threads, live["threads"]):
        # What has a timeout and was stopped once goes on under this name.
        if one["blocked_in"] in ("poll", "futex") \
                and other["blocked_in"] == "restart_syscall":
            one.update((key, other[key]) for key in ("blocked_in",
                                                     "timeout_ns"))
    for name, kept in {**told, "threads": threads}.items():
        if name in COMPARED and timeless(kept) != timeless(live[name]):
            return f"{name}: {timeless(kept)} {timeless(live[name])}"
    return None


def timeless(told: Any) -> Any:
    """A part of a report without what goes with the time, and without what to
    do, which may be another thing for a core."""
    if isinstance(told, dict):
        # What runs is somewhere else by the next look.
        moves = told.get("state") in ("runnable", "running")
        return {key: timeless(value) for key, value in told.items()
                if key not in ("left_ns", "timer_left_ns", "try")
                and not (moves and key in ("frames", "at"))}
    return [timeless(item) for item in told] if isinstance(told, list) \
        else told


def check_core(core: Path, scenario: str, victim: Victim) -> None:
    """The same verdict as live, from one sample and without a pause. Takes the
    core away: it is large."""
    told = report("--core", core)
    core.unlink()
    check(told, scenario, victim)
    assert told["target"]["kind"] == "core"
    assert told["target"]["core"] == str(core)
    assert told["samples"] == 1
    assert told["pause_ns"] is None


def test_time_to_heal() -> None:
    """heals_in_ns is the timer's, by the clock that the timer goes by."""
    with Victim("wake-lost", "--interval", "300") as victim:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        told = report(str(victim.pid))
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    [sleeper] = told["sleepers"]
    [finding] = told["findings"]
    assert sleeper["clock"] == "realtime"
    assert sleeper["expire_ns"] - after <= finding["heals_in_ns"]
    assert finding["heals_in_ns"] <= sleeper["expire_ns"] - before
    assert sleeper["asked_ns"] == 300 * 10**9


def test_heals_as_told() -> None:
    """What was told to heal does, on time; what never heals does not."""
    with Victim("wake-lost", "--interval", "4") as victim:
        [finding] = report(str(victim.pid))["findings"]
        told_s = finding["heals_in_ns"] / 1e9
        assert 0 < told_s < 4
        began = time.monotonic()
        assert victim.read_line(told_s + 5).startswith("returned")
        assert time.monotonic() - began == pytest.approx(told_s, abs=1)
        assert report(str(victim.pid))["status"] == CLEAN


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", ["idle", "wake-lost"])
def test_thousand_coroutines(scenario: str, program: str) -> None:
    """Each parked coroutine is listed with its whole stack."""
    with Victim(scenario, "--coroutines", "1000", program=program) as victim:
        told = report(str(victim.pid))
    check(told, scenario, victim)
    parked = [c for c in told["coroutines"] if c["entry"] == "park_co_entry"]
    assert len(parked) == 1000
    kinds: Counter[str] = Counter()
    for coroutine in parked:
        assert coroutine["state"] == "suspended"
        assert coroutine["cut"] is None
        names = functions(coroutine)
        assert "park_co_entry" in names
        kinds.update(name for name in names
                     if name and name.startswith("park_in_"))
    if program == "victim-O0":  # else they are left by tail calls
        assert kinds == {f"park_in_{kind}": 250
                         for kind in ("queue", "mutex", "yield", "sleep")}


@pytest.mark.parametrize("scenario", FAULTS)
def test_text(scenario: str) -> None:
    """The text report says the same, in 80 columns."""
    rule, _, heals = FAULTS[scenario]
    with Victim(scenario) as victim:
        done = qhang("diagnose", str(victim.pid))
    assert done.returncode == FINDING
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{victim.pid} victim (build ")
    assert "blocked" in lines[0] and "paused" in lines[0]
    assert lines[2].startswith("HANG  ")
    certainty = "strong" if rule in STRONG else "proof"
    assert lines[2].endswith(f"{rule}, {certainty}")
    assert all(len(line) <= 80 for line in lines)
    healing = next(line for line in lines if line.startswith("  heals"))
    assert ("never" in healing) == (heals == "never")
    if scenario in COMMANDS:
        assert f"main thread {victim.pid}, QMP command " \
            f"{COMMANDS[scenario]}" in done.stdout
    if rule.startswith(("sleep.", "graph.")):
        assert "  fixed in  QEMU 10.0.13, 11.1" in done.stdout
    assert f"  more      qhang explain {rule}" in done.stdout


def test_busy_stays_clean() -> None:
    """A busy process, many times over: no finding, and it keeps working."""
    with Victim("busy") as victim:
        for _ in range(50):
            assert report(str(victim.pid))["status"] == CLEAN
        assert victim.child.poll() is None
