"""qhang coroutines: kinds of waits, buckets, filters, JSON and text.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import (CHECKOUT, CLEAN, USAGE, Victim, qhang, refuses, report,
                      traced_by)

SCHEMA = json.loads((CHECKOUT / "docs/qhang-coroutines-1.json").read_text())
PARKED = 41


def shown(*args: str | Path, status: int = CLEAN) -> dict[str, Any]:
    """The JSON report, valid, and true to itself."""
    done = qhang("coroutines", "--json", *args)
    assert done.returncode == status
    assert done.stderr == ""
    told = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(told)
    assert told["shown"] == len(told["coroutines"]) \
        == sum(b["count"] for b in told["buckets"])
    for index, bucket in enumerate(told["buckets"]):
        assert bucket["count"] == len(bucket["coroutines"])
        members = [c for c in told["coroutines"] if c["bucket"] == index]
        assert [c["address"] for c in members] == bucket["coroutines"]
        kinds = {c["wait"] and c["wait"]["kind"] for c in members}
        assert kinds == {bucket["waits_on"]}
    return told


def functions(bucket: dict[str, Any]) -> list[str]:
    """The names on the stack of a bucket."""
    return [frame["function"] for frame in bucket["frames"]]


def of_entry(told: dict[str, Any], entry: str) -> dict[str, Any]:
    """The one coroutine with that entry, its operands as a dictionary."""
    [found] = [c for c in told["coroutines"] if c["entry"] == entry]
    values = {o["what"]: o["value"] for o in found["wait"]["operands"]}
    return {**found, "values": values}


# tests/victims/sc_waits.c: the entry, its kind, the name of the object, and
# some of the operands.
KINDS = [
    ("wait_worker", "aio-completion", None, {"ret": -115}),
    ("wait_rwlock", "co-rwlock", None, {"owners": -1, "listed": 1}),
    ("wait_request", "co-queue", None, {"listed": 1}),
    ("wait_fd", "fd", None, {}),
    ("wait_paused", "job-pause", "job0",
     {"pause_count": 1, "paused": 1, "cancelled": 0,
      "sleep_timer.expire_time": -1}),
    ("wait_asleep", "timer", "job1", {"pause_count": 0, "paused": 0}),
    ("wait_throttle", "throttle", None,
     {"pending reads": 0, "pending writes": 1, "listed": 1}),
    ("wait_drained", "drain", "drive0", {"quiesce_counter": 1, "listed": 1}),
    ("wait_drain", "drain", "drained", {"done": 0}),
    ("wait_nbd", "nbd", None, {}),
    ("wait_graph", "graph-read-lock", None, {"listed": 1}),
]


@pytest.mark.parametrize("program", ["victim-fixed", "victim-O0-fixed"])
@pytest.mark.parametrize("source", ["live", "core"])
def test_kinds(program: str, source: str, tmp_path: Path) -> None:
    """Each kind is told, with its object, whose work ends it, and what its
    condition is made of."""
    with Victim("waits", program=program) as victim:
        args = [victim.gcore(tmp_path)] if source == "core" else []
        told = shown("--core", *args) if args else shown(str(victim.pid))
        pid, in_use = victim.pid, victim.in_use
    assert told["incomplete"] == []
    assert told["states"]["suspended"] == in_use
    for entry, kind, name, values in KINDS:
        one = of_entry(told, entry)
        assert (one["wait"]["kind"], one["wait"]["object_name"]) \
            == (kind, name), entry
        assert one["wait"]["object"], entry
        assert values.items() <= one["values"].items(), entry
    worker = of_entry(told, "wait_worker")
    assert of_entry(told, "wait_request")["wait"]["owner_coroutine"] \
        == worker["address"]
    for entry in ("wait_graph", "wait_drain"):
        assert of_entry(told, entry)["wait"]["owner_tid"] == pid
    assert of_entry(told, "wait_fd")["values"]["fd"] > 2
    assert of_entry(told, "wait_asleep")["values"][
        "sleep_timer.expire_time"] > 0
    dispatcher = of_entry(told, "monitor_qmp_dispatcher_co")
    assert dispatcher["wait"]["kind"] == "events"


def test_scheduled() -> None:
    """What its context has scheduled waits for nothing but its turn, wherever
    it has yielded."""
    with Victim("mid-notify-wake") as victim:
        told = shown(str(victim.pid), "--waiting-on", "bottom-half")
    [cleaner] = [c for c in told["coroutines"]
                 if c["entry"] == "cache_clean_timer"]
    assert cleaner["scheduled"] == "aio_co_schedule"
    wait = cleaner["wait"]
    io0 = next(c for c in told["contexts"] if c["name"] == "iothread io0")
    assert (wait["object"], wait["owner_tid"]) == (io0["address"], io0["tid"])
    assert [(o["what"], o["value"]) for o in wait["operands"]] \
        == [("listed", 1)]


def test_buckets() -> None:
    """Equal stacks are one bucket, the largest first, pooled ones last; who
    stands at one lock, another; and each its own when that is asked for."""
    with Victim("wake-lost", "--coroutines", str(PARKED)) as victim:
        pid, every = str(victim.pid), victim.in_use + victim.pooled
        by_stack = shown(pid)
        by_wait = shown(pid, "--group", "wait")
        apart = shown(pid, "--group", "none")
        whole = report(pid)
    assert sum(by_stack["states"].values()) == every
    assert by_stack["shown"] == apart["shown"] == every
    assert len(apart["buckets"]) == every
    live = [b for b in by_stack["buckets"] if b["state"] != "pooled"]
    assert by_stack["buckets"][:len(live)] == live
    assert [b["count"] for b in live] \
        == sorted((b["count"] for b in live), reverse=True)
    stacks = Counter(tuple(f["pc"] for f in c["frames"])
                     for c in whole["coroutines"])
    assert len(by_stack["buckets"]) == len(stacks)
    assert Counter(b["count"] for b in by_stack["buckets"]) \
        == Counter(stacks.values())
    assert all(b["same_stack"] for b in by_stack["buckets"])
    [sleep] = [b for b in live if functions(b)[-2:] == [
        "park_co_entry", "coroutine_trampoline"] and b["waits_on"] == "sleep"]
    assert sleep["object"] is None
    [mutex] = [b for b in by_wait["buckets"] if b["waits_on"] == "co-mutex"]
    assert mutex["object"]
    assert mutex["count"] == len([i for i in range(PARKED) if i % 4 == 1]) - 1


def test_filters() -> None:
    """Each lets through what it says, and together what all of them do."""
    with Victim("timer-waiting", "--coroutines", str(PARKED)) as victim:
        pid = str(victim.pid)
        every = shown(pid)
        contexts = {c["name"]: c["address"] for c in every["contexts"]}
        for name in ("io1", "iothread io1", contexts["iothread io1"]):
            told = shown(pid, "--context", name, "--state", "suspended")
            assert told["shown"] == PARKED
            assert {c["context"] for c in told["coroutines"]} \
                == {contexts["iothread io1"]}
        for pattern in ("park_in_mutex", "park_in_m*"):
            told = shown(pid, "--with", pattern)
            assert all("park_in_mutex" in functions(b)
                       for b in told["buckets"])
            assert told["shown"] == len([i for i in range(PARKED)
                                         if i % 4 == 1])
        told = shown(pid, "--waiting-on", "sleep", "--context", "io0")
        assert [c["entry"] for c in told["coroutines"]] == ["cache_clean_timer"]
        assert told["states"] == every["states"]
        assert shown(pid, "--with", "no_such_function")["shown"] == 0
        for state, count in every["states"].items():
            assert shown(pid, "--state", state)["shown"] == count
        message = refuses(USAGE, "coroutines", pid, "--context", "io9",
                          words=("io9", "iothread io0", "main"))
        assert "iohandler" in message
        assert traced_by(victim.pid) == {0}


@pytest.mark.parametrize("option, word, there", [
    ("--state", "parked", "suspended"), ("--waiting-on", "mutexes", "co-mutex"),
    ("--group", "lock", "stack"), ("--state", "", "empty")])
def test_words_that_are_none(option: str, word: str, there: str) -> None:
    """An unknown word is refused, with those that there are."""
    refuses(USAGE, "coroutines", "1", option, word, words=(option, there))


def test_text() -> None:
    """The counts, a bucket with its wait, its owner, its members and its
    stack, in 80 columns."""
    with Victim("timer-waiting", "--coroutines", str(PARKED)) as victim:
        pid = str(victim.pid)
        told = shown(pid, "--waiting-on", "co-mutex")
        done = qhang("coroutines", pid, "--waiting-on", "co-mutex")
        assert done.returncode == CLEAN
        text = done.stdout
        none = qhang("coroutines", pid, "--with", "no_such_function").stdout
    assert all(len(line) <= 80 for line in text.splitlines())
    [bucket] = told["buckets"]
    owner = told["coroutines"][0]["wait"]["owner_coroutine"]
    flat = " ".join(text.split())
    assert f"{bucket['count']} x suspended: co-mutex" in flat
    assert f"on {bucket['object']}, until coroutine {owner} is done," in flat
    assert f"iothread io1: {bucket['coroutines'][0]}" in flat
    assert "qemu_co_mutex_lock <- park_in_mutex <- park_co_entry" in flat
    assert f"({bucket['count']} shown)" in flat
    assert "(0 shown)" in none and " x " not in none


def test_ten_thousand() -> None:
    """All of them are there, each unwound to its entry."""
    with Victim("idle", "--coroutines", "10000") as victim:
        told = shown(str(victim.pid))
        in_use, pooled = victim.in_use, victim.pooled
    assert told["incomplete"] == []
    assert told["states"].pop("pooled") == pooled
    assert sum(told["states"].values()) == in_use >= 10000
    for bucket in told["buckets"]:
        assert bucket["cut"] is None
        assert functions(bucket)[-1] == "coroutine_trampoline"
