"""Healthy QEMUs of the lab with work to do, to diagnose in the middle of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Callable, Iterator, Optional

import build as lab_build
from labqemu import IOTHREAD, QCOW2_NODE, Qemu, QmpTimeout, Stress

ANSWER_S = 3.0
STEP_TIMEOUT_S = 60.0
MOST_BEGINNINGS = 20
PATTERN_AT = "32M"
PATTERN_LENGTH = "1M"


class WorkFailed(Exception):
    """The QEMU did not do what it was told; the text says what."""


class Worker:
    """Repeats `step` in a thread and counts; the QEMU's own work."""

    def __init__(self, qemu: Qemu, step: Callable[[], None]) -> None:
        self.qemu = qemu
        self.steps = 0
        self.failure: Optional[Exception] = None
        self._step = step
        self._changed = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop:
            try:
                self._step()
            except Exception as error:  # handed to the test's thread
                self.failure = error
                self._stop = True
            with self._changed:
                self.steps += 1
                self._changed.notify_all()

    def start(self) -> None:
        """Begins, and returns after the first step."""
        self._thread.start()
        self.wait_step()

    def wait_step(self, timeout_s: float = STEP_TIMEOUT_S) -> None:
        """Waits for the end of a step that ends from now on.

        Raises WorkFailed when the work stands still or went wrong.
        """
        with self._changed:
            at = self.steps
            moved = self._changed.wait_for(lambda: self.steps > at
                                           or self.failure, timeout_s)
        if self.failure:
            raise WorkFailed(f"{self.qemu.exe}: {self.failure!r}"
                             ) from self.failure
        if not moved:
            raise WorkFailed(f"{self.qemu.exe}: no step in {timeout_s} s")

    def goes_on(self) -> bool:
        """Whether another step ends well; False when it hung for real."""
        try:
            self.wait_step()
            return True
        except WorkFailed:
            if self.hung():
                return False
            raise

    def hung(self) -> bool:
        """Whether the work ended in a missing answer: a true hang."""
        return isinstance(self.failure, QmpTimeout)

    def stop(self) -> None:
        """Ends after the step that is under way."""
        self._stop = True
        self._thread.join(STEP_TIMEOUT_S)


def run_tool(argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=STEP_TIMEOUT_S)
    if done.returncode != 0 or "Pattern verification failed" in done.stdout:
        raise WorkFailed(f"{' '.join(argv)}:\n{done.stdout}")


def _export(qemu: Qemu, iothread: bool) -> str:
    """Opens the qcow2 node and exports it by NBD; gives its URL.

    It is opened in the main thread, where a faulty build can't hang; an
    export from the iothread takes it along.
    """
    qemu.add(STEP_TIMEOUT_S)
    qemu.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}}})
    export = {"type": "nbd", "id": "e0", "node-name": QCOW2_NODE,
              "name": QCOW2_NODE, "writable": True}
    if iothread:
        export["iothread"] = IOTHREAD
    qemu.qmp.execute("block-export-add", export, STEP_TIMEOUT_S)
    return f"nbd+unix:///{QCOW2_NODE}?socket={qemu.nbd_socket}"


def _churning(stack: ExitStack, lab: Path, build: str, stress: bool,
              system: bool) -> Worker:
    """Starts a QEMU that churns; it may hang at its very first step."""
    qemu = stack.enter_context(Qemu(lab, build, system))

    def step() -> None:
        qemu.add(ANSWER_S)
        qemu.delete(ANSWER_S)

    qemu.to_iothread()
    if stress:
        stack.enter_context(Stress(900))
    worker = Worker(qemu, step)
    stack.callback(worker.stop)
    worker.start()
    return worker


@contextmanager
def churn(build: str, stress: bool, system: bool = False,
          lab: Optional[Path] = None) -> Iterator[Worker]:
    """A QEMU that opens and closes the qcow2 node all the time.

    A faulty build may hang in it even without stressors, on a machine that
    has other things to do, most likely at the first step: then it is begun
    again.  Later on Worker.hung() tells.
    """
    lab = lab or lab_build.lab_folder()
    for _ in range(MOST_BEGINNINGS):
        with ExitStack() as stack:
            try:
                worker = _churning(stack, lab, build, stress, system)
            except WorkFailed as failed:
                if not isinstance(failed.__cause__, QmpTimeout):
                    raise
                continue
            yield worker
            return
    raise WorkFailed(f"{build}: hung at the first step, "
                     f"{MOST_BEGINNINGS} times in a row")


@contextmanager
def busy_io(build: str, stress: bool, iothread: bool = True,
            lab: Optional[Path] = None) -> Iterator[Worker]:
    """A storage daemon that serves reads and writes over NBD all the time.

    In the main thread, with `iothread` false, the cache cleaner's coroutine
    sleeps meanwhile, as it should.  Data written before the work is read
    back when the block ends: it must have come through unharmed.
    """
    lab = lab or lab_build.lab_folder()
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, build))
        url = _export(qemu, iothread)
        client = str(qemu.io)
        run_tool([client, "-f", "raw", "-c",
               f"write -P 0x5a {PATTERN_AT} {PATTERN_LENGTH}", url])
        if stress:
            stack.enter_context(Stress(900))

        def step() -> None:
            for extra in (["-w"], []):
                run_tool([str(qemu.img), "bench", "-f", "raw", "-c", "4000",
                       "-d", "16", "-s", "4096", *extra, url])

        worker = Worker(qemu, step)
        stack.callback(worker.stop)
        worker.start()
        yield worker
        worker.stop()
        run_tool([client, "-f", "raw", "-c",
               f"read -P 0x5a {PATTERN_AT} {PATTERN_LENGTH}", url])


@contextmanager
def throttled_io(build: str, stress: bool, limit: int = 2000,
                 lab: Optional[Path] = None) -> Iterator[Worker]:
    """A storage daemon whose iothread serves a disk of `limit` requests a
    second over NBD, to a client that has more of them."""
    lab = lab or lab_build.lab_folder()
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, build))
        qemu.qmp.execute("object-add", {
            "qom-type": "throttle-group", "id": "tg",
            "limits": {"iops-total": limit}})
        qemu.qmp.execute("blockdev-add", {
            "driver": "throttle", "throttle-group": "tg", "node-name": "t0",
            "file": {"driver": "null-co", "size": 1 << 30}})
        qemu.qmp.execute("nbd-server-start", {
            "addr": {"type": "unix", "data": {"path": str(qemu.nbd_socket)}}})
        qemu.qmp.execute("block-export-add", {
            "type": "nbd", "id": "e0", "node-name": "t0", "name": "t0",
            "writable": True, "iothread": IOTHREAD})
        if stress:
            stack.enter_context(Stress(900))
        url = f"nbd+unix:///t0?socket={qemu.nbd_socket}"

        def step() -> None:
            for extra in (["-w"], []):
                run_tool([str(qemu.img), "bench", "-f", "raw", "-c",
                          str(limit), "-d", "16", "-s", "4096", *extra, url])

        worker = Worker(qemu, step)
        stack.callback(worker.stop)
        worker.start()
        yield worker
