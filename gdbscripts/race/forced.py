"""Forces the interleavings that lose a wake-up in a running QEMU.

SPDX-License-Identifier: GPL-2.0-or-later

gdb in non-stop mode holds single threads at single instructions while all
others run; nothing in the target is changed, only the order in which its
threads pass.  A correct QEMU survives every order.  The target is a QEMU
whose file node lives in an iothread; the trigger is the QMP command that
opens a qcow2 node on it.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Callable, Optional

from .mi import Gdb, MiError, Record
from .symbols import Symbols

WAKE_BEFORE_ARM = "wake-before-arm"
ERASED = "erased"
GRAPH = "graph"
INTERLEAVINGS = (WAKE_BEFORE_ARM, ERASED, GRAPH)

HANG = "hang"
SURVIVES = "survives"

STEP_TIMEOUT_S = 20.0
VERDICT_TIMEOUT_S = 3.0
# How long a stop is waited for before the answer is looked for.
LOOK_S = 0.5
# Instructions from the entry of a wake to its first look at the word; -O0
# with stack protector and a nested call needs about 40.
MOST_STEPS = 200

# poll, epoll_wait, ppoll, epoll_pwait, io_uring_enter, epoll_pwait2
_POLL_SYSCALLS = {7, 232, 271, 281, 426, 441}

_MEMORY = re.compile(r"(?<![:\w])(-?0x[0-9a-f]+)?\((%\w+)(?:,(%\w+),(\d))?\)")

# What may stand between bdrv_graph_co_rdunlock() and the function whose
# scope ends there, where the compiler did not inline the lock guard.
_GUARD = re.compile(r"bdrv_graph_co_rdunlock|graph_lockable_|"
                    r"glib_autoptr_|glib_slistautoptr_")


class RaceError(Exception):
    """The interleaving could not be brought about."""


class Unreached(RaceError):
    """This program does not come to where it would be held."""


def operand_address(instruction: str, register: Callable[[str], int]
                    ) -> int | None:
    """The address that an instruction (AT&T syntax) accesses, or None.

    `register` gives the value of a register by its name ("rax").  Operands
    relative to a segment or to rip name no heap object and give None; so
    does lea, which accesses nothing.
    """
    if instruction.startswith("lea") or "%rip" in instruction:
        return None
    match = _MEMORY.search(instruction)
    if not match:
        return None
    offset, base, index, scale = match.groups()
    address = register(base[1:]) + int(offset or "0", 16)
    if index:
        address += register(index[1:]) * int(scale)
    return address & (2**64 - 1)


def is_store(instruction: str) -> bool:
    """A plain move to memory: its memory operand is the last one."""
    return (instruction.startswith("mov")
            and instruction.rstrip().endswith(")"))


def in_poll(pid: int, tid: int) -> bool:
    """Whether a thread sleeps in the kernel in one of the poll calls."""
    try:
        words = Path(f"/proc/{pid}/task/{tid}/syscall").read_text().split()
        stat = Path(f"/proc/{pid}/task/{tid}/stat").read_text()
    except OSError:
        return False
    state = stat.rsplit(")", 1)[1].split()[0]
    return (state == "S" and words[0].isdigit()
            and int(words[0]) in _POLL_SYSCALLS)


class ForcedRace:
    """One forced interleaving in one process.

    `trigger` starts what races (sends the QMP command, does not wait);
    `answered(timeout_s)` says whether its answer came.  run() attaches,
    forces, detaches and returns HANG or SURVIVES; the process is left as it
    then is.
    """

    def __init__(self, pid: int, interleaving: str,
                 trigger: Callable[[], None],
                 answered: Callable[[float], bool]) -> None:
        if interleaving not in INTERLEAVINGS:
            raise ValueError(f"no interleaving {interleaving!r}")
        self.pid = pid
        self.interleaving = interleaving
        self._trigger = trigger
        self._answered = answered
        self._symbols = Symbols(pid)
        # Where the thread is held that the other one passes by.
        self.where: Optional[str] = None

    def run(self, verdict_timeout_s: float = VERDICT_TIMEOUT_S) -> str:
        """Forces it; HANG or SURVIVES.  RaceError when it can't be forced."""
        force = {WAKE_BEFORE_ARM: self._wake_before_arm,
                 ERASED: self._erased, GRAPH: self._graph}
        with Gdb() as gdb:
            try:
                gdb.attach(self.pid)
                force[self.interleaving](gdb)
            except MiError as error:
                raise RaceError(f"{self.interleaving} in {self.pid}: "
                                f"{error}") from error
        return SURVIVES if self._answered(verdict_timeout_s) else HANG

    def _held_at(self, gdb: Gdb, function: str, thread: str) -> None:
        self.where = self._symbols.place(function,
                                         gdb.evaluate(thread, "$pc"))

    # The sleep.

    def _wake_before_arm(self, gdb: Gdb) -> None:
        """The wake passes as a whole before the sleeper arms."""
        sleeper, main = self._hold_both(gdb)
        self._held_at(gdb, "qemu_co_sleep_ns_wakeable", sleeper)
        gdb.resume(main)
        self._until_in_poll(self.pid)
        gdb.resume(sleeper)

    def _erased(self, gdb: Gdb) -> None:
        """The sleeper arms between the wake's load and its store."""
        sleeper, main = self._hold_both(gdb)
        word = gdb.evaluate(main, "$rdi")
        self._past_the_load(gdb, main, word)
        self._held_at(gdb, "qemu_co_sleep_wake", main)
        self._let_arm(gdb, sleeper)
        gdb.resume(main)
        self._until_in_poll(self.pid)
        gdb.resume(sleeper)

    def _hold_both(self, gdb: Gdb) -> tuple[str, str]:
        """Sleeper and waker, each at the entry of its function.

        Both must be about the same QemuCoSleep, which is the first argument
        of either.
        """
        main = gdb.ids_by_tid()[self.pid]
        arm = gdb.breakpoint(self._symbols.entry("qemu_co_sleep_ns_wakeable"))
        wake = gdb.breakpoint(self._symbols.entry("qemu_co_sleep_wake"), main)
        gdb.resume_all()
        self._trigger()
        asleep = self._stop_at(gdb, arm, "qemu_co_sleep_ns_wakeable")
        sleeper = asleep.values["thread-id"]
        if sleeper == main:
            raise RaceError("the sleeper runs in the main thread: is the "
                            "file node in an iothread?")
        self._stop_at(gdb, wake, "qemu_co_sleep_wake")
        gdb.delete(arm, wake)
        words = [gdb.evaluate(thread, "$rdi") for thread in (sleeper, main)]
        if words[0] != words[1]:
            raise RaceError("sleeper and waker are about different sleeps: "
                            f"{words[0]:#x} and {words[1]:#x}")
        return sleeper, main

    def _stop_at(self, gdb: Gdb, number: str, name: str) -> Record:
        """The stop at this breakpoint.

        Unreached when the trigger's answer comes without it.
        """
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            stop = gdb.stopped(LOOK_S,
                               lambda s: s.values.get("bkptno") == number)
            if stop:
                return stop
            if self._answered(0.0):
                raise Unreached(f"{name} is not called where this program "
                                "opens a qcow2 node")
        raise RaceError(f"{name} was not reached in {STEP_TIMEOUT_S:.0f} s")

    def _past_the_load(self, gdb: Gdb, main: str, word: int) -> None:
        """Steps the waker just past its first access to the word.

        That is the load where it has load and store; where it is one atomic
        instruction there is no window, and the sleeper arms right after it.
        """
        for _ in range(MOST_STEPS):
            pc = gdb.evaluate(main, "$pc")
            listing = gdb.command(f"-data-disassemble -s {pc:#x} "
                                  f"-e {pc + 16:#x} -- 0")
            text = listing["asm_insns"][0]["inst"]
            address = operand_address(
                text, lambda name: gdb.evaluate(main, f"${name}"))
            if address == word and is_store(text):
                raise RaceError(f"{text!r} stores before anything is loaded")
            gdb.step_instruction(main)
            if address == word:
                return
        raise RaceError(f"qemu_co_sleep_wake did not look at {word:#x} in "
                        f"{MOST_STEPS} instructions")

    def _let_arm(self, gdb: Gdb, sleeper: str) -> None:
        """Runs the sleeper until it yields, or leaves without yielding."""
        back = gdb.read_word(gdb.evaluate(sleeper, "$rsp"))
        numbers = [
            gdb.breakpoint(self._symbols.entry("qemu_coroutine_yield"),
                           sleeper),
            gdb.breakpoint(back, sleeper)]
        gdb.resume(sleeper)
        stop = gdb.stopped(STEP_TIMEOUT_S,
                           lambda s: s.values.get("thread-id") == sleeper)
        if stop is None:
            raise RaceError("the sleeper neither yields nor returns")
        gdb.delete(*numbers)

    def _until_in_poll(self, tid: int) -> None:
        """Until a thread sleeps in its poll, and stays there."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        quiet = 0
        while quiet < 5:
            quiet = quiet + 1 if in_poll(self.pid, tid) else 0
            if time.monotonic() > deadline:
                raise RaceError(f"thread {tid} does not come to its poll")
            time.sleep(0.01)

    # The graph lock.

    def _graph(self, gdb: Gdb) -> None:
        """The last reader unlocks after the writer has begun to wait."""
        main = gdb.ids_by_tid()[self.pid]
        number = gdb.breakpoint(self._symbols.entry("bdrv_graph_co_rdunlock"))
        gdb.resume_all()
        self._trigger()
        reader = self._hold_last_reader(gdb, main)
        self._held_at(gdb, "bdrv_graph_co_rdunlock", reader)
        gdb.delete(number)
        self._resume_if_stopped(gdb, main)
        self._hold_waiting_writer(gdb, main)
        # The writer stays held until the iothread has nothing left to do:
        # else, once kicked, it would race with the cache cleaner's arming,
        # which is another interleaving.
        tids = {known: tid for tid, known in gdb.ids_by_tid().items()}
        gdb.resume(reader)
        self._until_in_poll(tids[reader])
        gdb.resume(main)

    def _hold_last_reader(self, gdb: Gdb, main: str) -> str:
        """The iothread's thread at the unlock that ends qcow2's open."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            stop = gdb.stopped(1.0)
            if stop is None:
                continue
            thread = stop.values["thread-id"]
            if thread != main and self._is_last_unlock(gdb, thread):
                return thread
            gdb.resume(thread)
        raise RaceError("no reader came to the end of qcow2_open_entry in "
                        f"{STEP_TIMEOUT_S:.0f} s")

    def _is_last_unlock(self, gdb: Gdb, thread: str) -> bool:
        """Whether this unlock ends the coroutine that opens the node.

        At -O2 it is a tail call: the caller's frame is then the trampoline.
        """
        callers = [name for name in gdb.functions(thread, 8)
                   if not _GUARD.match(name)]
        if callers[:1] == ["qcow2_open_entry"]:
            return True
        if callers[:1] != ["coroutine_trampoline"]:
            return False
        entry = gdb.evaluate(thread, "co_tls_current->entry")
        return entry == self._symbols.entry("qcow2_open_entry")

    def _resume_if_stopped(self, gdb: Gdb, thread: str) -> None:
        """The main thread may have stopped at the same breakpoint."""
        for known in gdb.threads():
            if known["id"] == thread and known["state"] == "stopped":
                gdb.resume(thread)

    def _hold_waiting_writer(self, gdb: Gdb, main: str) -> None:
        """Stops the main thread in its poll below bdrv_graph_wrlock()."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while time.monotonic() < deadline:
            self._until_in_poll(self.pid)
            gdb.command(f"-exec-interrupt --thread {main}")
            stop = gdb.stopped(STEP_TIMEOUT_S,
                               lambda s: s.values.get("thread-id") == main)
            if stop is None:
                raise RaceError("the main thread does not stop")
            names = gdb.functions(main, 12)
            if any(n.startswith("bdrv_graph_wrlock") for n in names):
                return
            gdb.resume(main)
        raise RaceError("the main thread does not wait for the graph lock")
