"""Kicks a QEMU of the lab that hangs, and sees that nothing is lost.

SPDX-License-Identifier: GPL-2.0-or-later

While it hangs by itself and is kicked, a second disk in an iothread of its own
is written and read back all the time over NBD; the first one holds a pattern
from before.  When the QEMU has ended, both must be whole.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional

import build as lab_build
from forced import forced
from guest import Guest
from hang import Hang, hung
from healthy import WorkFailed, run_tool
from labqemu import QCOW2_NODE, Qemu, QmpTimeout
from labqhang import diagnose_pid, qhang_program
from race import HANG, ForcedRace
from race.qemu import IMAGE

KICK_TIMEOUT_S = 60.0
STEP_TIMEOUT_S = 120.0
ANSWER_S = 1.0
PAIRS_AFTER = 10
BLOCK = 256 << 10
SECOND_BYTES = 64 << 20
PATTERN = "write -P 0x5a 8M 4M"
PATTERN_BACK = "read -P 0x5a 8M 4M"
SECOND = "s0"
SECOND_IMAGE = "second.qcow2"
SECOND_IOTHREAD = "io1"


class KickFailed(Exception):
    """The kick did not end the hang, or something was lost."""


UNITS_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Kick:
    """One run of `qhang kick`."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    def took_s(self) -> float:
        """From when the target was let go until its waiter had gone on."""
        told = re.search(r"^UNSTUCK +after ([0-9.]+) (\w+)$", self.stdout,
                         re.MULTILINE)
        if not told:
            raise KickFailed(self.told())
        return float(told[1]) * UNITS_S[told[2]]

    def told(self) -> str:
        """For a failed assertion."""
        return f"{self.stdout}{self.stderr}exit {self.status}"


def kick(pid: int, *options: str) -> Kick:
    """Runs it to its end, without asking."""
    began = time.monotonic()
    done = subprocess.run(
        [str(qhang_program()), "kick", "--yes", *options, str(pid)],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=KICK_TIMEOUT_S)
    return Kick(done.returncode, done.stdout, done.stderr,
                time.monotonic() - began)


class SecondDisk:
    """A disk that is written and read back without a pause."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self._url = f"nbd+unix:///{SECOND}?socket={qemu.nbd_socket}"
        self.path = qemu.folder / SECOND_IMAGE
        self.steps = 0
        self.failure: Optional[Exception] = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._export()

    def _export(self) -> None:
        run_tool([str(self._qemu.img), "create", "-q", "-f", "qcow2",
                  str(self.path), str(SECOND_BYTES)])
        execute = self._qemu.qmp.execute
        execute("object-add", {"qom-type": "iothread", "id": SECOND_IOTHREAD})
        # Without its cleaner: that one is not to be the sleeper.
        execute("blockdev-add", {
            "driver": "qcow2", "node-name": SECOND, "cache-clean-interval": 0,
            "file": {"driver": "file", "filename": SECOND_IMAGE}})
        execute("nbd-server-start", {"addr": {
            "type": "unix", "data": {"path": str(self._qemu.nbd_socket)}}})
        execute("block-export-add", {
            "type": "nbd", "id": SECOND, "node-name": SECOND, "name": SECOND,
            "writable": True, "iothread": SECOND_IOTHREAD})

    @staticmethod
    def _place(step: int) -> tuple[int, int]:
        """Where a step writes, and which byte."""
        return step * BLOCK % SECOND_BYTES, step % 251 + 1

    def _step(self) -> None:
        at, byte = self._place(self.steps)
        before, old = self._place(max(self.steps - 1, 0))
        done = subprocess.run(
            [str(self._qemu.io), "-f", "raw",
             "-c", f"write -P {byte} {at} {BLOCK}",
             "-c", f"read -P {byte} {at} {BLOCK}",
             "-c", f"read -P {old if self.steps else byte} {before} {BLOCK}",
             "-c", "flush", self._url],
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=STEP_TIMEOUT_S)
        if done.returncode or "failed" in done.stdout.lower():
            raise WorkFailed(f"second disk: {done.stdout}")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
                self.steps += 1
        except Exception as error:  # handed to the test's thread
            self.failure = error

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def end(self) -> None:
        """Ends after the step that is under way; raises what went wrong."""
        self._stop.set()
        self._thread.join(STEP_TIMEOUT_S)
        if self._thread.is_alive():
            raise WorkFailed("the second disk's I/O does not go on")
        if self.failure:
            raise WorkFailed(str(self.failure)) from self.failure

    def check(self, io: Path) -> None:
        """That all of it reads back, from the image itself."""
        last = self.steps
        commands: list[str] = []
        for step in range(max(0, last - SECOND_BYTES // BLOCK), last):
            at, byte = self._place(step)
            commands += ["-c", f"read -P {byte} {at} {BLOCK}"]
        run_tool([str(io), "-r", "-f", "qcow2", *commands, str(self.path)])


def _write_pattern(qemu: Qemu) -> None:
    """Into the first disk, which then is closed again."""
    qemu.add(STEP_TIMEOUT_S)
    qemu.qmp.execute("block-export-add", {
        "type": "nbd", "id": "e1", "node-name": QCOW2_NODE,
        "name": QCOW2_NODE, "writable": True})
    run_tool([str(qemu.io), "-f", "raw", "-c", PATTERN,
              f"nbd+unix:///{QCOW2_NODE}?socket={qemu.nbd_socket}"])
    qemu.qmp.execute("block-export-del", {"id": "e1", "mode": "hard"})
    # The export goes when its last client has; then the node can.
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while any(export["id"] == "e1"
              for export in qemu.qmp.execute("query-block-exports")):
        if time.monotonic() > deadline:
            raise WorkFailed("the export stays")
        time.sleep(0.01)
    qemu.delete(STEP_TIMEOUT_S)


@dataclass
class Rescued:
    """What became of one hang that was kicked."""

    kind: str
    pairs: int
    kick: Kick
    answer_s: float  # from when the kick had ended; 0.0: it was there
    more_kicks: int  # while the rounds were finished
    steps: int       # of the second disk, all in all


def _finish_rounds(qemu: Qemu, command: str) -> int:
    """The rest of the rounds; a further hang is kicked, too. Gives those."""
    kicks = 0

    def answered(do: Callable[[], None]) -> None:
        nonlocal kicks
        try:
            do()
        except QmpTimeout:
            kicks += 1
            done = kick(qemu.pid)
            if done.status or not qemu.qmp.answered(ANSWER_S):
                raise KickFailed(done.told()) from None

    if command == "blockdev-add":
        answered(lambda: qemu.delete(3.0))
    for _ in range(PAIRS_AFTER):
        answered(lambda: qemu.add(3.0))
        answered(lambda: qemu.delete(3.0))
    return kicks


def _quit(qemu: Qemu) -> None:
    """Ends it in order: its images are to be closed."""
    qemu.qmp.execute("quit", {}, STEP_TIMEOUT_S)
    status = qemu.process.wait(STEP_TIMEOUT_S)
    if status:
        raise WorkFailed(f"it ended with status {status}")


def _check_images(qemu: Qemu, second: SecondDisk) -> None:
    for image in (qemu.folder / IMAGE, second.path):
        run_tool([str(qemu.img), "check", str(image)])
    run_tool([str(qemu.io), "-r", "-f", "qcow2", "-c", PATTERN_BACK,
              str(qemu.folder / IMAGE)])
    second.check(qemu.io)


def rescue(hang: Hang, second: SecondDisk) -> Rescued:
    """Kicks it and has it finish, and end; then looks at its images."""
    before = second.steps
    done = kick(hang.pid)
    if done.status:
        raise KickFailed(done.told())
    began = time.monotonic()
    if not hang.goes_on(ANSWER_S):
        raise KickFailed(f"no answer {ANSWER_S} s after the kick:\n"
                         + done.told())
    answer_s = time.monotonic() - began
    more = _finish_rounds(hang.qemu, hang.command)
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while second.steps == before and not second.failure:
        if time.monotonic() > deadline:
            raise WorkFailed("the second disk stands still")
        time.sleep(0.01)
    second.end()
    _quit(hang.qemu)
    _check_images(hang.qemu, second)
    return Rescued(hang.kind, hang.pairs, done, answer_s, more, second.steps)


def rescue_natural(build: str, lab: Optional[Path] = None) -> Rescued:
    """Waits for a natural hang of that build, then as rescue()."""
    disks: list[SecondDisk] = []

    @contextmanager
    def begin(qemu: Qemu) -> Iterator[None]:
        disk = SecondDisk(qemu)
        _write_pattern(qemu)
        disk.start()
        disks[:] = [disk]
        yield

    with hung(build, lab=lab, begin=begin) as hang:
        return rescue(hang, disks[0])


def rescue_forced(build: str, interleaving: str, fired: bool = False,
                  lab: Optional[Path] = None) -> Kick:
    """Forces the race, waits for the timer to fire if `fired`, and kicks."""
    with forced(build, interleaving, interval_s=FIRES_S if fired else None,
                lab=lab) as (qemu, outcome):
        if outcome != HANG:
            raise WorkFailed(f"{interleaving} came out as {outcome}")
        if fired:
            _wait_fired(qemu.pid)
        done = kick(qemu.pid)
        if done.status or not qemu.qmp.answered(ANSWER_S):
            raise KickFailed(done.told())
        qemu.delete(STEP_TIMEOUT_S)
        return done


FIRES_S = 2
FIRED_WORDS = "timer has fired"


def _wait_fired(pid: int) -> None:
    """Returns when the sleeper's timer has fired and woken nobody."""
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while not any(FIRED_WORDS in evidence["what"]
                  for finding in diagnose_pid(pid).report["findings"]
                  for evidence in finding["evidence"]):
        if time.monotonic() > deadline:
            raise WorkFailed("the timer does not fire")
        time.sleep(0.1)


class RacingGuest(Guest):
    """A guest beside whose disk the race can be forced on a second image.

    Its own disk has no cleaner: the one sleeper that starts is the second's.
    """

    def _options(self) -> list[str]:
        options = [word.replace(f"node-name={QCOW2_NODE}",
                                f"node-name={QCOW2_NODE},"
                                "cache-clean-interval=0")
                   for word in super()._options()]
        return [*options, "-object", f"iothread,id={SECOND_IOTHREAD}",
                "-blockdev", f"driver=file,filename={SECOND_IMAGE},"
                "node-name=f1"]

    def _make_image(self, img: Path) -> None:
        super()._make_image(img)
        subprocess.run([img, "create", "-q", "-f", "qcow2",
                        self.folder / SECOND_IMAGE, "64M"], check=True)

    def second_to_iothread(self) -> None:
        """Moves the second image's file node into its iothread."""
        self.qmp.execute("x-blockdev-set-iothread", {
            "node-name": "f1", "iothread": SECOND_IOTHREAD}, STEP_TIMEOUT_S)

    def send_second(self) -> None:
        """Sends the blockdev-add that opens the second image."""
        self.qmp.send("blockdev-add", {"driver": "qcow2", "file": "f1",
                                       "node-name": SECOND})


@contextmanager
def racing_guest(interleaving: str,
                 lab: Optional[Path] = None) -> Iterator[RacingGuest]:
    """A booted guest whose QEMU hangs in that race."""
    lab = lab or lab_build.lab_folder()
    with RacingGuest(lab, "graphfix") as guest:
        guest.second_to_iothread()
        outcome = ForcedRace(guest.pid, interleaving, guest.send_second,
                             guest.qmp.answered).run()
        if outcome != HANG:
            raise WorkFailed(f"{interleaving} came out as {outcome}")
        yield guest
