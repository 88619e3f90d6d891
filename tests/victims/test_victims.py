# Every victim reaches its state, and ends as it should.
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the victims themselves, without any collector.

The folder with the programs is taken from VICTIM_DIR, the sanitizers that they
were built with from VICTIM_SANITIZE (meson's b_sanitize).  What each scenario
promises about memory, the program checks itself before it says `ready`; here
it is checked from outside that it does say so, that the threads are where they
should be, and what happens when it is let go.
"""
import os
import pathlib
import re
import select
import subprocess
import time
from typing import Callable, Dict, Iterator, List, Optional

import pytest

DIR = pathlib.Path(os.environ.get("VICTIM_DIR", "build/tests/victims"))
SANITIZE = os.environ.get("VICTIM_SANITIZE", "none")
PROGRAMS = ["victim", "victim-O0"]
# A victim gives up by itself after 30 s.
READY_LIMIT_S = 60
SKIP = 77
SYS_POLL = 7
SYS_PPOLL = 271
SYS_EPOLL_WAIT = 232
SYS_FUTEX = 202
# Where the main thread is stuck: in a poll, or in a mutex.
HANGS = {"wake-lost": SYS_PPOLL, "erased": SYS_PPOLL,
         "wake-lost-held": SYS_PPOLL, "wake-lost-behind": SYS_PPOLL,
         "graph-unkicked-stirred": SYS_PPOLL,
         "graph-unkicked-halts": SYS_PPOLL,
         "lost-behind-lost": SYS_PPOLL,
         "erased-fired": SYS_PPOLL, "graph-unkicked": SYS_PPOLL,
         "condition-met": SYS_PPOLL, "drain-unkicked": SYS_PPOLL,
         "drain-unread": SYS_PPOLL, "request-lost": SYS_PPOLL,
         "stop-cures": SYS_EPOLL_WAIT,
         "owner-gone": SYS_FUTEX, "owner-self": SYS_FUTEX,
         "stop-unkicked": SYS_FUTEX}
# Something is stuck, and the main thread is not.
SILENT = ["bh-unnotified", "bh-unnotified-busy", "timer-unserved",
          "wake-lost-turning", "rcu-stalled", "copy-lost",
          "timeout-lost", "two-lost", "handoff-lost", "handoff-unwoken",
          "rwlock-stalled", "pool-idle", "throttle-unarmed", "orphan",
          "monitor-suspended"]
TWINS = ["wake-lost-twin", "erased-twin", "graph-unkicked-twin"]
HELD = ["mid-wake", "mid-wake-spin", "mid-wake-entered", "mid-kick",
        "mid-notify", "mid-notify-wake", "runnable", "runnable-late",
        "runnable-starved"]
CYCLES = ["mutex-cycle", "co-mutex-cycle", "bql-cycle"]
# What they say when they are let go.
WAITS = {"drain-waiting": ["returned x-drain"],
         "stop-cures-twin": ["returned x-drain"],
         "owner-asleep": ["returned x-lock"],
         "bql-asleep": ["returned x-drain"],
         "kernel-stuck": ["returned x-lock"],
         "kernel-alone": [], "rcu-running": [],
         "mid-handoff": [], "handoff-behind": [], "handoff-queued": [],
         "mid-rwlock": [], "stop-busy": ["returned x-stop"],
         "mid-stop": [], "pool-busy": [], "mid-pool": [],
         "throttle-armed": [], "mid-throttle": [],
         "mutex-order": ["returned x-lock-a"],
         "co-mutex-order": ["returned x-co-lock"],
         "bql-order": ["returned x-flush"]}
HEALTHY = ["idle", "timer-waiting", "busy", "condition-met-twin", "bh-idle",
           "timer-served", "copy-twin", "timeout-twin",
           "handoff-twin", "rwlock-twin", "orphan-kept",
           "orphan-taken", "orphan-kernel"]
# Its coroutines are what there is to see: tests/cli/test_waits.py.
COROUTINES = ["waits"]


def listed() -> Dict[str, Optional[int]]:
    """Scenario -> coroutines in use when ready; None where that varies."""
    out = subprocess.run([DIR / "victim", "--list"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    pairs = (line.split() for line in out.splitlines())
    return {name: None if n == "-" else int(n) for name, n in pairs}


class Victim:
    """A running victim that has said `ready`; skips the test on status 77."""

    def __init__(self, program: str, *args: str, stdin: int = subprocess.PIPE):
        self.args = [str(DIR / program), *args]
        self.proc = subprocess.Popen(
            self.args, stdin=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.unread = b""
        line = self.line(READY_LIMIT_S)
        if line is None:
            stderr = self.proc.communicate(timeout=READY_LIMIT_S)[1].decode()
            if self.proc.returncode == SKIP:
                pytest.skip(stderr.strip())
            raise AssertionError(f"not ready: {' '.join(self.args)}: {stderr}")
        match = re.fullmatch(r"ready (\d+) coroutines=(\d+) pooled=(\d+)",
                             line)
        assert match, (self.args, line)
        self.pid, self.in_use, self.pooled = map(int, match.groups())
        assert self.pid == self.proc.pid

    def line(self, limit_s: float) -> Optional[str]:
        """The next line of stdout; None at its end.  Fails after limit_s."""
        end = time.monotonic() + limit_s
        while b"\n" not in self.unread:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.proc.stdout], [], [],
                                             left)[0]:
                self.proc.kill()
                raise AssertionError(f"silent: {' '.join(self.args)}")
            piece = os.read(self.proc.stdout.fileno(), 4096)
            if not piece:
                return None
            self.unread += piece
        line, _, self.unread = self.unread.partition(b"\n")
        return line.decode()

    def let_go(self) -> List[str]:
        """Closes stdin; the rest of stdout.  Checks the exit status."""
        raw_out, raw_err = self.proc.communicate(timeout=READY_LIMIT_S)
        out, err = (self.unread + raw_out).decode(), raw_err.decode()
        expected = self.expected_status()
        assert self.proc.returncode == expected, (self.args, err)
        if expected:
            # The very race that the scenario is about, and no other.
            races = set(re.findall(r"SUMMARY: .* in (\w+)", err))
            assert races == {"qemu_co_sleep_wake"}, err
        return out.splitlines()

    def expected_status(self) -> int:
        """66 where ThreadSanitizer has to find the fault as a data race: the
        waker's store and the timer's load, with nothing between them."""
        return 66 if "thread" in SANITIZE and "erased-fired" in self.args else 0

    def task(self, tid: int, name: str) -> str:
        """A file of /proc/PID/task/TID."""
        return pathlib.Path(
            f"/proc/{self.pid}/task/{tid}/{name}").read_bytes().decode(
                "utf-8", "replace")

    def threads(self) -> Dict[str, int]:
        """comm -> TID."""
        tids = map(int, os.listdir(f"/proc/{self.pid}/task"))
        return {self.task(tid, "comm").rstrip("\n"): tid for tid in tids}

    def state(self, tid: int) -> str:
        """The state letter of a thread."""
        return self.task(tid, "stat").rpartition(")")[2].split()[0]

    def syscall(self, tid: int) -> Optional[int]:
        """The system call that a thread sleeps in; None if it is running."""
        first = self.task(tid, "syscall").split()[0]
        return None if first == "running" else int(first)


def settles(holds: Callable[[], bool]) -> bool:
    """Whether `holds()` comes true: a thread that is on its way to sleep may
    still be seen running."""
    end = time.monotonic() + READY_LIMIT_S
    while not holds():
        if time.monotonic() > end:
            return False
    return True


@pytest.fixture(name="start")
def start_fixture() -> Iterator:
    """A function that starts a victim, which is ended after the test."""
    started: List[Victim] = []

    def start(program: str, *args: str, **kwargs) -> Victim:
        started.append(Victim(program, *args, **kwargs))
        return started[-1]

    yield start
    for victim in started:
        try:
            # Those that wait on stdin let go; the others are killed.
            limit = READY_LIMIT_S if victim.proc.stdin else 0
            victim.proc.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            victim.proc.kill()
            victim.proc.communicate()


def test_every_scenario_is_tested() -> None:
    """The lists above name all that there are."""
    assert sorted(listed()) == sorted([*HANGS, *SILENT, *TWINS, *HELD, *WAITS,
                                       *HEALTHY, *CYCLES, *COROUTINES])


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", list(listed()))
def test_reaches_ready_with_the_coroutines_it_lists(start, program, scenario):
    """Also that it goes, with status 0, when told to."""
    victim = start(program, "--scenario", scenario)
    expected = listed()[scenario]
    if expected is not None:
        assert victim.in_use == expected
    victim.let_go()


@pytest.mark.parametrize("scenario", HANGS)
def test_hangs_and_nothing_returns(start, scenario):
    """Main thread and iothreads sleep; no CPU time is used."""
    victim = start("victim", "--scenario", scenario)
    for name in ("IO io0", "IO io1"):
        assert victim.syscall(victim.threads()[name]) == SYS_PPOLL
    assert victim.syscall(victim.pid) == HANGS[scenario]
    assert victim.state(victim.pid) == "S"
    assert victim.let_go() == []


@pytest.mark.parametrize("scenario", TWINS)
def test_twin_goes_on(start, scenario):
    """The same interleaving with the fixed primitives: the command returns."""
    victim = start("victim", "--scenario", scenario)
    assert os.readlink(f"/proc/{victim.pid}/exe").endswith("-fixed")
    assert victim.line(READY_LIMIT_S) == "returned blockdev-del"
    assert settles(lambda: victim.syscall(victim.pid) == SYS_PPOLL)
    assert victim.let_go() == []


@pytest.mark.parametrize("scenario", HELD)
def test_held_instant_goes_on_when_released(start, scenario):
    """It was a passing state: let go, the command returns."""
    victim = start("victim", "--scenario", scenario)
    assert victim.let_go() == ["returned blockdev-del"]


@pytest.mark.parametrize("scenario", CYCLES)
def test_circle_never_returns(start, scenario):
    """Nobody in it, nor the command behind it, goes on."""
    victim = start("victim", "--scenario", scenario)
    assert victim.state(victim.pid) == "S"
    assert victim.let_go() == []


@pytest.mark.parametrize("scenario", WAITS)
def test_wait_ends_when_released(start, scenario):
    """It waited rightly: let go, the command returns, if there was one."""
    victim = start("victim", "--scenario", scenario)
    assert victim.let_go() == WAITS[scenario]


@pytest.mark.parametrize("scenario", ["kernel-stuck", "kernel-alone"])
def test_kernel_is_state_d(start, scenario):
    """One thread is in state D, and stays."""
    victim = start("victim", "--scenario", scenario)
    stuck = victim.threads()["stuck"]
    for _ in range(20):
        assert victim.state(stuck) == "D"
    victim.let_go()


@pytest.mark.parametrize("scenario", [s for s in HELD if "runnable" in s])
def test_runnable_is_runnable(start, scenario):
    """State R, and in no system call that it sleeps in."""
    victim = start("victim", "--scenario", scenario)
    for _ in range(20):
        assert victim.state(victim.pid) == "R"
        assert victim.syscall(victim.pid) is None


def test_starved_is_still_inside_its_poll(start):
    """It uses no CPU at all: not one tick, not one switch."""
    victim = start("victim", "--scenario", "runnable-starved")
    before = victim.task(victim.pid, "schedstat").split()
    # Time is what this is about: a tenth of a second on the other CPU.
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        assert victim.state(victim.pid) == "R"
    after = victim.task(victim.pid, "schedstat").split()
    assert (before[0], before[2]) == (after[0], after[2])


def test_starved_dies_when_killed(start):
    """And its hog with it: the main thread needs the CPU to die."""
    victim = start("victim", "--scenario", "runnable-starved")
    children = victim.task(victim.threads()["script"], "children").split()
    assert len(children) == 1
    victim.proc.kill()
    victim.proc.wait(READY_LIMIT_S)
    hog = pathlib.Path(f"/proc/{children[0]}/stat")
    end = time.monotonic() + READY_LIMIT_S
    while hog.exists() and hog.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_lost_wake_heals_with_the_timer(start):
    """Armed and not kicked: the cleaner wakes after its second."""
    victim = start("victim", "--scenario", "wake-lost", "--interval", "2")
    assert victim.line(READY_LIMIT_S) == "returned blockdev-del"
    assert victim.let_go() == []


def test_busy_works(start):
    """All three threads use CPU time."""
    victim = start("victim", "--scenario", "busy")
    tids = [victim.pid, victim.threads()["IO io0"], victim.threads()["IO io1"]]

    def used(tid: int) -> int:
        return int(victim.task(tid, "schedstat").split()[0])

    before = {tid: used(tid) for tid in tids}
    end = time.monotonic() + READY_LIMIT_S
    while any(used(tid) == before[tid] for tid in tids):
        assert time.monotonic() < end
        time.sleep(0.01)
    victim.let_go()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("scenario", ["idle", "wake-lost", "erased-twin"])
def test_parks_as_many_more_as_told(start, scenario, count):
    """And all of them end, where the scenario can end in order."""
    victim = start("victim", "--scenario", scenario, "--coroutines", str(count))
    assert victim.in_use == listed()[scenario] + count
    victim.let_go()


def test_parks_a_thousand(start):
    """As many as the collector is tried with; each has its own mapping."""
    victim = start("victim", "--scenario", "timer-waiting",
                   "--coroutines", "1000")
    assert victim.in_use == 1002
    maps = pathlib.Path(f"/proc/{victim.pid}/maps").read_text()
    guards = re.findall(r"^\w+-\w+ ---p 00000000 00:00 0 *$", maps, re.M)
    assert len(guards) >= 1002
    assert victim.let_go() == ["returned blockdev-add"]


@pytest.mark.parametrize("plant", ["timer-loop", "queue-loop", "names"])
@pytest.mark.parametrize("scenario", ["wake-lost", "timer-waiting"])
def test_planted_is_ready_and_quiet(start, scenario, plant):
    """No thread runs into the damage."""
    victim = start("victim", "--scenario", scenario, "--plant", plant)
    assert victim.in_use == listed()[scenario] + 8
    for name, tid in victim.threads().items():
        assert settles(lambda t=tid: victim.state(t) == "S"), name
    if plant == "names":
        assert any("\x1b[31m" in name for name in victim.threads())
    victim.let_go()


def test_stays_when_stdin_is_dev_null(start):
    """A shell gives /dev/null to what it starts in the background."""
    victim = start("victim", "--scenario", "idle", stdin=subprocess.DEVNULL)
    script = victim.threads()["script"]
    assert settles(lambda: victim.syscall(script) == SYS_POLL)
    assert victim.proc.poll() is None


@pytest.mark.parametrize("args", [
    [], ["--scenario", "nothing"], ["--scenario"], ["--nothing"],
    ["--scenario", "idle", "--coroutines", "-1"],
    ["--scenario", "idle", "--coroutines", "many"],
    ["--scenario", "idle", "--plant", "tree"],
    ["--scenario", "idle", "extra"],
])
def test_usage_errors(args) -> None:
    """Status 64 and a word on stderr."""
    done = subprocess.run([DIR / "victim", *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=READY_LIMIT_S, check=False)
    assert done.returncode == 64
    assert done.stderr and not done.stdout


def test_the_fixed_program_refuses_a_faulty_scenario() -> None:
    """It could not reach it: the faulty primitives are not in it."""
    done = subprocess.run([DIR / "victim-fixed", "--scenario", "wake-lost"],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, timeout=READY_LIMIT_S, check=False)
    assert done.returncode == 64
    assert "-fixed" in done.stderr


def test_help_tells_of_every_option_and_scenario() -> None:
    """--help, at most 80 columns."""
    text = subprocess.run([DIR / "victim", "--help"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    for word in ["--scenario", "--coroutines", "--interval", "--plant",
                 "--list", "Example", *listed()]:
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
