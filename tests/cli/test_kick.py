"""kick: what hangs goes on; where anything is in doubt nothing is written.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import hashlib
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator, Sequence

import pytest
from conftest import (CHECKOUT, CLEAN, FAILED, FINDING, LIMIT_S, QHANG, USAGE,
                      VICTIMS, Victim, qhang, refuses, report, task_states, traced_by,
                      under, wait_until)
from test_diagnose import COMMANDS, FAULTS

RESCUED = ["sleep.wake-lost", "sleep.erased", "graph.writer-unkicked",
           "wait.condition-met", "aio.queued-unnotified",
           "timer.expired-unserved"]
KICKABLE = [name for name, (rule, _, _) in FAULTS.items() if rule in RESCUED]
OTHER_HANGS = ["mutex-cycle", "co-mutex-cycle", "owner-gone", "rcu-stalled"]
HEALTHY = ["idle", "timer-waiting", "wake-lost-twin", "drain-waiting"]
SYS_PIDFD_GETFD, SYS_PROCESS_VM_WRITEV = 438, 311
NEXT_OFFSET = 32  # of QEMUTimer.next in the victim, held against --dry-run
# So many in a test run; 200 have been made: QHANG_KILLS.
KILLS = int(os.environ.get("QHANG_KILLS", 40))


def stack_pointers(pid: int) -> list[int]:
    """Where the threads' own stacks are in use."""
    return [int(words[-2], 16) for task in Path(f"/proc/{pid}/task").iterdir()
            if len(words := (task / "syscall").read_text().split()) > 2]


def memory(pid: int, stacks: Sequence[int] = ()) -> dict[str, str]:
    """memory_now() of a victim that has come to rest. A stop ends its polls,
    and a loop that begins the next one may write to its memory: so one comes
    before."""
    qhang("diagnose", str(pid))
    seen = [memory_now(pid, stacks)]

    def rests() -> bool:
        seen.append(memory_now(pid, stacks))
        return seen[-1] == seen[-2]

    wait_until(rests, "the victim's memory stays as it is")
    return seen[-1]


def memory_now(pid: int, stacks: Sequence[int] = ()) -> dict[str, str]:
    """A digest of each mapping that the process can write to, but for those
    that the kernel itself writes to: the threads' stacks (what is left of a
    ppoll's timeout, and their rseq areas, which tell the CPU) and the main
    thread's TLS (rseq), which the loader puts right before libc. Of a thread
    that runs the kernel does not tell the stack: an address in it is in
    `stacks`."""
    found = {}
    pointers = [*stack_pointers(pid), *stacks]
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line, following in zip(lines, [*lines[1:], ""]):
            span, flags = line.split()[:2]
            start, end = (int(word, 16) for word in span.split("-"))
            if flags[1] != "w" or "[stack]" in line or "libc.so" in following \
                    or any(start <= at < end for at in pointers):
                continue
            digest = hashlib.sha256()
            for at in range(start, end, 1 << 20):
                digest.update(os.pread(mem.fileno(), min(1 << 20, end - at),
                                       at))
            found[span] = digest.hexdigest()
    assert found
    return found


def writes(text: str) -> list[tuple[int, int, int]]:
    """Address, old and new value of each write that a kick tells of."""
    return [(int(at, 16), int(old, 16), int(new, 16)) for at, old, new in
            re.findall(r"(0x\w+)\n +(0x\w+) -> (0x\w+)", text)]


def peek(pid: int, address: int) -> int:
    """The word there."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        return int.from_bytes(os.pread(mem.fileno(), 8, address), "little")


def poke(pid: int, address: int, value: int) -> None:
    """Damages the victim."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as mem:
        os.pwrite(mem.fileno(), value.to_bytes(8, "little"), address)


def dry(victim: Victim) -> list[tuple[int, int, int]]:
    """What a kick would write."""
    done = qhang("kick", "--dry-run", str(victim.pid))
    assert done.returncode == FINDING, done.stderr
    return writes(done.stdout)


def assert_refused(victim: Victim, *words: str,
                   program: list[str] | None = None,
                   stacks: Sequence[int] = ()) -> None:
    """Status 3, each of `words` said, nothing written; `stacks` as of
    memory_now()."""
    before = memory(victim.pid, stacks)
    argv = [*under(), *(program or []), str(QHANG), "kick", "--yes",
            str(victim.pid)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=LIMIT_S, check=False)
    told = done.stdout + done.stderr
    assert memory_now(victim.pid, stacks) == before, told
    assert done.returncode == FAILED, told
    for word in words:
        assert word in " ".join(told.split()), told
    assert "nothing was written" in " ".join(told.split()), told
    assert traced_by(victim.pid) == {0}


def assert_goes_on(victim: Victim, scenario: str) -> None:
    """Its command has returned, if there was one, and it is healthy."""
    if scenario in COMMANDS:
        assert victim.read_line(10) == f"returned {COMMANDS[scenario]}\n"
    told = report(str(victim.pid))
    assert told["findings"] == []
    assert traced_by(victim.pid) == {0}


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
@pytest.mark.parametrize("scenario", KICKABLE)
def test_goes_on(scenario: str, program: str) -> None:
    """Each hang that has a rescue."""
    with Victim(scenario, program=program) as victim:
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert re.search(r"^UNSTUCK +after [0-9.]+ m?s$", done.stdout,
                         re.MULTILINE)
        assert "nothing hangs any more" in done.stdout
        rule = FAULTS[scenario][0]
        assert bool(writes(done.stdout)) == rule.startswith("sleep.")
        assert all(len(line) <= 80 for line in done.stdout.splitlines())
        if not Path("/run/systemd/journal/socket").exists():
            assert f"{rule}: unstuck after" in done.stderr
            assert len(done.stderr.splitlines()) == 2
        assert_goes_on(victim, scenario)


@pytest.mark.parametrize("timers", ["1", "7"])
@pytest.mark.parametrize("scenario", ["wake-lost", "erased", "erased-fired"])
def test_behind_other_timers(scenario: str, timers: str) -> None:
    """The sleeper's timer becomes the first; the others stay, in order."""
    with Victim(scenario, "--timers", timers) as victim:
        before = report(str(victim.pid))["timers"]
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert_goes_on(victim, scenario)
        sleepers = {finding for finding, _, _ in writes(done.stdout)}
        after = report(str(victim.pid))["timers"]

        def others(timers: list[dict]) -> list[tuple]:
            return [(timer["address"], timer["expire_ns"])
                    for timer in timers
                    if int(timer["address"], 16) not in sleepers]

        assert others(after) == others(before)
        assert len(others(after)) >= int(timers)


def test_written_as_shown() -> None:
    """--dry-run writes nothing; what is written then is what it showed."""
    with Victim("erased") as victim:
        before = memory(victim.pid)
        shown = dry(victim)
        assert memory_now(victim.pid) == before
        assert all(peek(victim.pid, at) == old for at, old, _ in shown)
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN
        assert writes(done.stdout) == shown


@pytest.mark.parametrize("scenario", HEALTHY)
def test_healthy(scenario: str) -> None:
    """A process that waits rightly is left alone."""
    with Victim(scenario) as victim:
        assert_refused(victim, "no hang found")


@pytest.mark.parametrize("scenario", OTHER_HANGS)
def test_no_rescue_known(scenario: str) -> None:
    """A hang that nothing written could end."""
    with Victim(scenario) as victim:
        assert_refused(victim, "no rescue is known")


def test_names_that_hurt(tmp_path: Path) -> None:
    """Nothing that the process calls itself gets to the terminal as it is."""
    program = tmp_path / "\x1b[31m\a"
    shutil.copy(VICTIMS / "victim", program)
    with Victim("wake-lost", "--plant", "names",
                executable=program) as victim:
        for options in (["--notify-only"], ["--dry-run"], ["--yes"]):
            done = qhang("kick", *options, str(victim.pid))
            told = done.stdout + done.stderr
            assert all(c.isprintable() or c == "\n" for c in told)
            assert "\\x1b" in told


def test_no_terminal() -> None:
    """Without a terminal and without --yes nothing is begun."""
    with Victim("wake-lost") as victim:
        before = memory(victim.pid)
        refuses(USAGE, "kick", str(victim.pid), words=("terminal", "--yes"))
        assert memory_now(victim.pid) == before


class Terminal:
    """A kick that asks, on a terminal of its own."""

    def __init__(self, pid: int) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            [*under(), str(QHANG), "kick", str(pid)], stdin=slave,
            stdout=slave, stderr=slave, close_fds=True)
        os.close(slave)
        self.text = ""
        self._read_until("[y/N]")

    def _read_until(self, word: str) -> None:
        end = time.monotonic() + LIMIT_S
        while word not in self.text:
            ready, _, _ = select.select([self.master], [], [],
                                        end - time.monotonic())
            assert ready, self.text
            try:
                self.text += os.read(self.master, 4096).decode()
            except OSError:  # the other end is closed
                assert word in self.text, self.text
                return

    def answer(self, text: str) -> int:
        """The exit status after that answer."""
        os.write(self.master, text.encode())
        try:
            while True:
                self.text += os.read(self.master, 4096).decode()
        except OSError:
            pass
        os.close(self.master)
        return self.child.wait(LIMIT_S)


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_no_means_no(answer: str) -> None:
    """No, nothing, the end of the input: nothing is written."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        before = memory(victim.pid)
        assert asking.answer(answer) == FINDING
        assert memory_now(victim.pid) == before


def test_yes_means_yes() -> None:
    """What was shown is done."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        assert asking.answer("y\n") == CLEAN, asking.text
        assert "UNSTUCK" in asking.text
        assert_goes_on(victim, "wake-lost")


def test_gone_while_it_asked() -> None:
    """Another has kicked it meanwhile: there is nothing left to do."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        assert qhang("kick", "--yes", str(victim.pid)).returncode == CLEAN
        assert_goes_on(victim, "wake-lost")
        before = memory(victim.pid)
        assert asking.answer("y\n") == FAILED, asking.text
        assert "REFUSED" in asking.text
        assert memory_now(victim.pid) == before


def test_changed_while_it_asked() -> None:
    """The timer has been set to another time since."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        (at, old, _), = writes(asking.text.replace("\r\n", "\n"))
        poke(victim.pid, at, old + 1)
        before = memory(victim.pid)
        assert asking.answer("y\n") == FAILED, asking.text
        assert "has changed" in asking.text
        assert memory_now(victim.pid) == before


@pytest.mark.parametrize("to_itself", [True, False])
def test_corrupted_timer_list(to_itself: bool) -> None:
    """A list that runs in a circle, or out of memory."""
    with Victim("wake-lost", "--timers", "1") as victim:
        moved = {at: old for at, old, _ in dry(victim)}
        # The last timer of the list is the sleeper's: its next is NULL.
        ends = [at for at, old in moved.items() if not old]
        assert len(ends) == 1
        timer = ends[0] - NEXT_OFFSET
        assert timer in moved.values()
        poke(victim.pid, ends[0], timer if to_itself else 0xdead0000)
        assert_refused(victim, "circle" if to_itself else "0xdead0000")


def test_inside_timer_code(tmp_path: Path) -> None:
    """A thread stands at the entry of timer_mod_ns(), as if just called."""
    with Victim("wake-lost") as victim:
        stacks = stack_pointers(victim.pid)  # all threads still sleep
        script = tmp_path / "script"
        script.write_text(f"""
set pagination off
python
for thread in gdb.selected_inferior().threads():
    if thread.ptid[1] == {_iothread(victim.pid, "io1")}:
        thread.switch()
end
set $back = $pc
set $at = (long)&timer_mod_ns
set $rsp = $rsp - 8
set *(long *)$rsp = $back
set $pc = $at
set *(unsigned short *)$at = 0xfeeb
detach
""")
        subprocess.run(["gdb", "-nx", "-q", "-batch", "-iex",
                        "set debuginfod enabled off", "-p", str(victim.pid),
                        "-x", script], check=True, capture_output=True,
                       timeout=LIMIT_S)
        assert_refused(victim, "inside timer", stacks=stacks)


def _iothread(pid: int, name: str) -> int:
    """The tid of that iothread."""
    return next(thread["tid"] for thread in report(str(pid))["threads"]
                if thread["iothread"] == name)


def test_no_pidfd_getfd() -> None:
    """A sandbox that keeps descriptors from us."""
    with Victim("wake-lost") as victim:
        assert_refused(victim, "descriptor", program=_without(
            SYS_PIDFD_GETFD))


def test_no_process_vm_writev() -> None:
    """A sandbox that keeps memory from us: the loop wakes up for nothing."""
    with Victim("wake-lost") as victim:
        shown = dry(victim)
        done = subprocess.run(
            [*_without(SYS_PROCESS_VM_WRITEV), str(QHANG), "kick", "--yes",
             str(victim.pid)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == FAILED, done.stdout + done.stderr
        assert "REFUSED" in done.stdout
        assert all(peek(victim.pid, at) == old for at, old, _ in shown)


def _without(number: int) -> list[str]:
    return ["/usr/bin/python3", str(CHECKOUT / "tests/cli/without.py"),
            str(number)]


def test_no_permission() -> None:
    """Not ours to trace."""
    def nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)

    with Victim("wake-lost") as victim:
        before = memory(victim.pid)
        refuses(FAILED, "kick", "--yes", str(victim.pid),
                words=("not permitted", "sudo"), preexec_fn=nobody)
        assert memory_now(victim.pid) == before


@pytest.mark.parametrize("scenario", ["wake-lost", "erased", "erased-fired"])
def test_cut_short_within_its_words(scenario: str) -> None:
    """Whatever a kick that was killed has left, the next one goes on from."""
    done = 0
    while True:
        with Victim(scenario, "--timers", "2") as victim:
            shown = dry(victim)
            done += 1
            if done == len(shown):
                break
            for at, _, new in shown[:done]:
                poke(victim.pid, at, new)
            told = qhang("kick", "--yes", str(victim.pid))
            assert told.returncode == CLEAN
            assert_goes_on(victim, scenario)
    assert done > 2


def test_thread_in_the_kernel() -> None:
    """A thread in state D: its hang has no rescue, and yet any loop may be
    woken."""
    with Victim("kernel-stuck") as victim:
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == FAILED
        assert "nothing was written" in " ".join(done.stdout.split())
        done = qhang("kick", "--notify-only", str(victim.pid))
        assert done.returncode == CLEAN
        assert "no memory written" in done.stdout


def test_notify_only() -> None:
    """Any loop may be woken: one that was not kicked goes on, one that sleeps
    rightly sleeps on."""
    with Victim("graph-unkicked") as victim:
        done = qhang("kick", "--notify-only", str(victim.pid))
        assert done.returncode == CLEAN
        assert "no memory written" in done.stdout
        assert_goes_on(victim, "graph-unkicked")
    with Victim("wake-lost") as victim:
        shown = dry(victim)
        assert qhang("kick", "--notify-only",
                     str(victim.pid)).returncode == CLEAN
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "all sleep again")
        assert dry(victim) == shown


@pytest.fixture(name="journal")
def fixture_journal(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a journal would listen, inside a mount namespace of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(10)
        yield listener


def test_journal(journal: socket.socket, tmp_path: Path) -> None:
    """Before and after are in the journal, with fields of their own."""
    with Victim("erased") as victim:
        shown = dry(victim)
        script = (f"mount -t tmpfs none /run && mkdir -p /run/systemd/journal "
                  f"&& touch /run/systemd/journal/socket "
                  f"&& mount --bind {tmp_path}/socket "
                  f"/run/systemd/journal/socket "
                  f"&& exec {QHANG} kick --yes {victim.pid}")
        done = subprocess.run(["unshare", "-m", "--propagation", "private",
                               "sh", "-c", script], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=LIMIT_S)
        assert done.returncode == CLEAN, done.stdout + done.stderr
        assert done.stderr == ""
        entries = [dict(line.split("=", 1) for line in
                        journal.recv(65536).decode().splitlines())
                   for _ in range(2)]
        for entry in entries:
            assert entry["SYSLOG_IDENTIFIER"] == "qhang"
            assert entry["QHANG_PID"] == str(victim.pid)
            assert entry["QHANG_RULE"] == "sleep.erased"
        assert entries[0]["QHANG_WRITES"] == " ".join(
            f"{at:#x}={old:#x}->{new:#x}" for at, old, new in shown)
        assert entries[1]["QHANG_OUTCOME"] == "unstuck"
        assert_goes_on(victim, "erased")


class Killed:
    """Kicks that are killed at random; whatever they left, is looked at."""

    def __init__(self) -> None:
        seed = int(os.environ.get("QHANG_SEED",
                                  random.SystemRandom().getrandbits(32)))
        print(f"QHANG_SEED={seed}")
        self.random = random.Random(seed)
        self.whole_s = 0.9
        self.rescued = 0
        self.killed = 0

    def kill_one(self, pid: int) -> None:
        """Every other one is killed near its writes: they come right after
        the plan has been shown."""
        late = bool(self.random.getrandbits(1))
        child = subprocess.Popen(
            [str(QHANG), "kick", "--yes", str(pid)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert child.stdout
        if late:
            for line in child.stdout:
                if "notify" in line:
                    break
            time.sleep(self.random.uniform(0, 0.008))
        else:
            time.sleep(self.random.uniform(0, self.whole_s))
        child.send_signal(signal.SIGKILL)
        child.stdout.close()
        self.killed += child.wait(LIMIT_S) == -signal.SIGKILL


def test_killed_at_any_instant() -> None:
    """The target is never left stopped; it hangs as before, or goes on."""
    kills = Killed()
    while kills.killed < KILLS:
        with Victim("erased", "--timers", "2") as victim:
            shown = dry(victim)
            untouched = True
            while untouched and kills.killed < KILLS:
                kills.kill_one(victim.pid)
                wait_until(lambda: traced_by(victim.pid) == {0} and
                           not set(task_states(victim.pid).values())
                           & set("tT"), "all are let go")
                untouched = all(peek(victim.pid, at) == old
                                for at, old, _ in shown)
            if untouched:
                assert qhang("kick", "--yes",
                             str(victim.pid)).returncode == CLEAN
            else:
                kills.rescued += 1
            assert_goes_on(victim, "erased")
    print(f"{kills.killed} killed, {kills.rescued} had been rescued")
    assert kills.rescued
