"""The coroutine view on a QEMU whose coroutines stand at known places.

SPDX-License-Identifier: GPL-2.0-or-later

Sleepers, waiters for a CoMutex, and coroutines in the middle of I/O
(parked.py), live and in a core, in each build of the lab.  What gdb shows is
held against what the program says from outside, and both against what the
test has asked of the QEMU.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

import pytest

import build as lab_build
import parked
from labqhang import (check_clean, diagnose_core, diagnose_pid, gcore,
                      qhang_program)

sys.path.append(str(lab_build.CHECKOUT / "tests/gdb"))

# pylint: disable=wrong-import-position
import gdbrun
from gdbrun import same_stack

REPORT = ("python import qhang_gdb.program; "
          "tell(qhang_gdb.program.report())")
# What no two looks agree on; of a core it is told by the clocks of today.
PASSING = ("timer_left_ns", "left_ns")


@dataclass(frozen=True)
class Seen:
    """One look with gdb at the parked daemon, or its core."""

    target: list[str]
    # From outside: for a process, before gdb came.
    outside: dict[str, Any]
    # By gdb's commands.
    inside: dict[str, Any]
    stacks: dict[str, list[dict[str, Any]]]
    # By gdb alone.
    nodes: dict[str, dict[str, Any]]
    homes: dict[str, int]
    # What a compiler keeps in a register that no callee saves is gone once
    # the coroutine is suspended; gcc has none of what is asked for there.
    may_be_gone: bool

    def values(self, frames: Iterable[dict[str, Any]], kind: str, name: str,
               otherwise: list[Any]) -> list[Any]:
        """A variable's value in each frame, in order; where it may be gone,
        and is in all of them, what it would have been."""
        told = [frame[kind][name] for frame in frames]
        if self.may_be_gone and set(told) == {None}:
            return otherwise
        return sorted(told)

    @property
    def core(self) -> str:
        """The core's path; empty for a process."""
        return "" if self.target[0] == "-p" else self.target[1]

    def gdb(self, *commands: str) -> list[str]:
        """What each command prints."""
        return gdbrun.gdb(*self.target, commands=commands,
                          qhang=qhang_program())

    def frames(self, function: str, called: str) -> dict[str, dict[str, Any]]:
        """Of each coroutine with `function` on its stack the frame of
        `called`, by the coroutine's address."""
        found = {}
        for address, stack in self.stacks.items():
            if any(parked.bare(f["function"]) == function for f in stack):
                found[address] = next(
                    f for f in stack if parked.bare(f["function"]) == called)
        return found


# Those that build.py has made with --clang and --O0 as well.
BUILDS = [*lab_build.FIRST,
          *(name for name in ("clang", "O0")
            if lab_build.stand(lab_build.lab_folder(), [name]))]


@pytest.fixture(name="there", scope="module", params=BUILDS)
def fixture_there(request: pytest.FixtureRequest, lab: Path
                  ) -> Iterator[parked.Parked]:
    """The daemon."""
    with parked.parked(lab, request.param) as there:
        check_clean(there.diagnosis)
        yield there


@pytest.fixture(name="seen", scope="module", params=["live", "core"])
def fixture_seen(request: pytest.FixtureRequest, there: parked.Parked,
                 tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """It, or its core, through gdb."""
    exe = there.qemu.exe
    if request.param == "live":
        target = ["-p", str(there.pid)]
        outside = there.diagnosis.report
    else:
        core = gcore(there.pid, tmp_path_factory.mktemp("core"))
        target = [str(exe), str(core)]
        outside = diagnose_core(core, exe).report
    addresses = [c["address"] for c in outside["coroutines"]
                 if c["registers"]]
    told = gdbrun.gdb(*target, qhang=qhang_program(), commands=[
        "python tell(nodes())", "python tell(homes())",
        f"python tell(stacks({addresses}))", REPORT])
    nodes, homes, stacks, inside = map(json.loads, told)
    return Seen(target, outside, inside, stacks, nodes, homes,
                may_be_gone=exe.parent.name == "clang")


def test_frame_by_frame(seen: Seen, record_property: Any) -> None:
    """Every coroutine's stack, down to its start, is what the program says."""
    told = [c for c in seen.outside["coroutines"] if c["registers"]]
    frames = sum(same_stack(c, seen.stacks[c["address"]]) for c in told)
    assert len(told) >= sum(parked.WANTED.values()) - parked.READERS
    record_property("coroutines", len(told))
    record_property("frames", frames)
    print(f"figures: {len(told)} coroutines, {frames} frames, "
          f"{max(map(len, seen.stacks.values()))} at most")


def test_comutex(seen: Seen) -> None:
    """The writers: one holds s->lock in I/O, the others wait for it; each has
    the offset in its arguments that the test has asked for."""
    q1 = seen.nodes["q1"]
    waiting = {
        address: frame for address, frame in seen.frames(
            parked.WAITER, "qemu_co_mutex_lock").items()
        if frame["args"]["mutex"] == q1["qcow2_lock"]["address"]}
    holding = seen.frames(parked.HOLDER, "qcow2_co_pwritev_part")
    assert [int(address, 16) for address in holding] == [
        q1["qcow2_lock"]["holder"]]
    assert len(waiting) + 1 == q1["qcow2_lock"]["locked"] == parked.WRITERS
    writing = seen.frames("qcow2_co_pwritev_part", "qcow2_co_pwritev_part")
    assert writing.keys() == {*waiting, *holding}
    assert {int(address, 16) for address in writing} == set(q1["requests"])
    asked = [frame["args"] for frame in writing.values()]
    assert sorted(args["offset"] for args in asked) == [
        i * parked.CLUSTER for i in range(parked.WRITERS)]
    assert {args["bytes"] for args in asked} == {parked.CLUSTER}
    assert {args["bs"] for args in asked} == {q1["bs"]}
    assert {frame["locals"]["s"] for frame in writing.values()} == {
        q1["opaque"]}


def test_in_io(seen: Seen) -> None:
    """The readers, whose answers are on their way."""
    for node, function in (("n1", parked.READER), ("z0", parked.SLEEPER)):
        frames = seen.frames(function, "bdrv_aligned_preadv")
        assert ({int(address, 16) for address in frames}
                == set(seen.nodes[node]["requests"]))
        for name, wanted in (
                ("offset", [parked.READ_AT + i * parked.READ_BYTES
                            for i in range(parked.READERS)]),
                ("bytes", parked.READERS * [parked.READ_BYTES])):
            assert wanted == seen.values(frames.values(), "args", name,
                                         wanted)
        assert {frame["locals"]["bs"] for frame in frames.values()} == {
            seen.nodes[node]["bs"]}


def test_sleepers(seen: Seen) -> None:
    """Cache cleaners in the main thread, readers in the iothread."""
    told = {s["coroutine"]: s for s in seen.outside["sleepers"]}
    asleep = seen.frames("qemu_co_sleep_ns_wakeable",
                         "qemu_co_sleep_ns_wakeable")
    assert asleep.keys() == told.keys()
    cleaners = seen.frames(parked.CLEANER, parked.CLEANER)
    assert {frame["locals"]["s"] for frame in cleaners.values()} == {
        seen.nodes["q0"]["opaque"], seen.nodes["q1"]["opaque"]}
    contexts = {c["address"]: c["tid"] for c in seen.outside["contexts"]}
    homes = {c["address"]: contexts[c["context"]]
             for c in seen.outside["coroutines"] if c["context"]}
    main = seen.outside["target"]["pid"]
    for address, frame in asleep.items():
        seconds = 600 if address in cleaners else 3600
        ns = [seconds * 10**9]
        assert seen.values([frame], "args", "ns", ns) == ns
        assert frame["args"]["w"] == int(told[address]["wake_address"], 16)
        assert (homes[address] == main) == (address in cleaners)


def lasting(value: Any) -> Any:
    """A part of a report without what passes."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in PASSING}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def test_views_agree(seen: Seen) -> None:
    """Within gdb the program says what it says outside; both what gdb finds
    by itself."""
    for part in ("findings", "coroutines", "sleepers", "contexts", "timers",
                 "graph_lock"):
        assert (lasting(seen.inside[part]) == lasting(seen.outside[part])
                ), part
    assert ({str(c["tid"]): int(c["address"], 16)
             for c in seen.inside["contexts"] if c["tid"]} == seen.homes)
    if seen.core:
        assert lasting(seen.inside) == lasting(seen.outside)
        exe, core = seen.target
        after = diagnose_core(Path(core), Path(exe)).report
    else:
        after = diagnose_pid(int(seen.target[1])).report
    for part in ("findings", "coroutines", "sleepers", "contexts"):
        assert lasting(after[part]) == lasting(seen.outside[part]), part


# Each with its error.
COMMANDS = {
    **{f"qhang {name}": "" for name in ("diagnose", "threads", "contexts",
                                        "coroutines", "sleepers", "timers")},
    "qhang coroutine apply all bt full": "",
    "qhang coroutine apply all thread 2": "",
    "qhang coroutine apply all no-such-command": "Undefined command",
    "qhang coroutine apply all ctrl-c": "KeyboardInterrupt",
    "qhang coroutine 99": "no coroutine 99",
    "qhang nonsense": "Undefined qhang command",
}
PLACES = (["thread 3", "frame 1"], ["thread 1", "qhang coroutine 1",
                                    "frame 3"])


def digest(path: str) -> str:
    """SHA-256 of a file, if there is one."""
    if not path:
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_nothing_changes(seen: Seen) -> None:
    """Memory, registers, thread, frame, signals and files are what they
    were."""
    commands = []
    for place in PLACES:
        commands += [*place, *(f"python tell(compare({text!r}, "
                               f"{seen.core!r}))" for text in COMMANDS)]
    before = digest(seen.core)
    told = [line for text in seen.gdb(*commands)
            for line in text.splitlines() if line.startswith('{"command"')]
    assert digest(seen.core) == before
    looks = [json.loads(line) for line in told]
    assert len(looks) == len(PLACES) * len(COMMANDS)
    for look in looks:
        error = COMMANDS[look["command"]]
        assert look["changed"] == [], look
        assert error in look["error"] if error else not look["error"], look
    print(f"figures: {looks[0]['bytes']} bytes, {looks[0]['registers']} "
          f"registers, {len(looks)} times")


def test_printers(seen: Seen) -> None:
    """Each of the seven structs in one line, from the right values."""
    q1, main = seen.nodes["q1"], seen.homes[str(seen.outside["target"]["pid"])]
    holder, = seen.frames(parked.HOLDER, parked.HOLDER)
    cleaner = next(s for s in seen.outside["sleepers"] if s["user"])
    timer = seen.outside["timers"][0]
    told = [line.split(" = ", 1)[1].strip() for line in seen.gdb(
        f"qhang coroutine {holder}",
        "frame function qemu_co_queue_wait_impl",
        f"p *(struct Coroutine *){holder}",
        f"p *(QemuCoSleep *){cleaner['wake_address']}",
        f"p *(CoMutex *){q1['qcow2_lock']['address']}",
        "p *queue",
        f"p *(BlockDriverState *){q1['bs']}",
        f"p *(AioContext *){main}",
        f"p *(QEMUTimer *){timer['address']}")[2:]]
    assert told[:5] == [
        f"Coroutine nbd_trip, scheduled: none, ctx {main:#x}",
        f"QemuCoSleep of coroutine {cleaner['coroutine']}",
        f"CoMutex, locked {parked.WRITERS}, held by {holder}",
        f"CoQueue, first {holder}",
        "BlockDriverState q1 (qcow2), in_flight "
        f"{q1['in_flight']}, quiesced 0"]
    assert told[5].startswith("AioContext aio-context, notify_me ")
    assert told[6].startswith(f"QEMUTimer {timer['callback']}, expires at ")


def test_variables(seen: Seen) -> None:
    """Rows, numbers and addresses lead to the same coroutine."""
    sleeper = seen.inside["sleepers"][0]["coroutine"]
    number = 1 + [c["address"] for c in seen.inside["coroutines"]
                  ].index(sleeper)
    told = seen.gdb("thread 2", "qhang sleepers", "output/x $q1",
                    "qhang coroutines", f"output/x $q{number}",
                    f"output/x $qhang_coroutine({number})",
                    "output/x $qhang_sleeper(1)", "p $q1->ctx",
                    "qhang coroutine $qhang_sleeper(1)", "output/x $pc",
                    f"qhang coroutine {number}", "output/x $pc",
                    "qhang thread", "output/x $pc")
    assert {told[i].strip() for i in (2, 4, 5, 6)} == {sleeper}
    assert "(AioContext *) 0x" in told[7]
    pc = next(c for c in seen.inside["coroutines"]
              if c["address"] == sleeper)["frames"][0]["pc"]
    assert told[9].strip() == told[11].strip() == pc
    assert told[13].strip() != pc
