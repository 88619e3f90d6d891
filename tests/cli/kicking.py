"""What the tests of kick share: a victim's memory, and what is told of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Sequence

from conftest import (CHECKOUT, FAILED, FINDING, LIMIT_S, QHANG, Victim, qhang,
                      report, traced_by, under, wait_until)
from test_diagnose import COMMANDS

SYS_PIDFD_GETFD, SYS_PROCESS_VM_WRITEV = 438, 311


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


def assert_untouched(pid: int, before: dict[str, str],
                     stacks: Sequence[int] = (), told: str = "") -> None:
    """The memory is as it was, once each loop that a stop has woken is back in
    its poll: on its way there a few words differ. What a kick writes stays."""
    wait_until(lambda: memory_now(pid, stacks) == before,
               f"the memory is as before; {told}", 10)


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
    assert_untouched(victim.pid, before, stacks, told)
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


class Terminal:
    """A kick that asks, on a terminal of its own."""

    def __init__(self, pid: int, *options: str) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            [*under(), str(QHANG), "kick", *options, str(pid)], stdin=slave,
            stdout=slave, stderr=slave, close_fds=True)
        os.close(slave)
        self.text = ""
        self._read_until_asked(1)

    def _read_until_asked(self, times: int) -> None:
        end = time.monotonic() + LIMIT_S
        while self.text.count("[y/N]") < times:
            ready, _, _ = select.select([self.master], [], [],
                                        end - time.monotonic())
            assert ready, self.text
            try:
                self.text += os.read(self.master, 4096).decode()
            except OSError:  # the other end is closed
                assert self.text.count("[y/N]") == times, self.text
                return

    def answer_one(self, text: str) -> None:
        """Until it asks again."""
        asked = self.text.count("[y/N]")
        os.write(self.master, text.encode())
        self._read_until_asked(asked + 1)

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


def without(number: int | str) -> list[str]:
    """What runs a program without that system call; see without.py."""
    return ["/usr/bin/python3", str(CHECKOUT / "tests/cli/without.py"),
            str(number)]
