"""Starts a QEMU of the lab, talks QMP to it, and ends it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Optional, Sequence

DAEMON = "qemu-storage-daemon"
SYSTEM = "qemu-system-x86_64"
IOTHREAD = "io0"
FILE_NODE = "f0"
QCOW2_NODE = "q0"

# A guest with much RAM touches all of it before it answers.
START_TIMEOUT_S = 120.0

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class QmpError(Exception):
    """The peer answered with an error, or closed the connection."""


class QmpTimeout(QmpError):
    """No answer came in time; it may still come (see Qmp.answer)."""


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """For preexec_fn: a driver that is killed leaves no QEMU behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signum)


def _child_limits() -> None:
    """Before exec: end with the parent, and let abort() leave a core."""
    die_with_parent()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


class Qmp:
    """One QMP connection over a unix socket; events are dropped."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(str(path))
        self._buffer = b""

    def handshake(self) -> None:
        """Takes the greeting and leaves capability negotiation."""
        deadline = time.monotonic() + START_TIMEOUT_S
        greeting = self._line(deadline)
        if "QMP" not in greeting:
            raise QmpError(f"no QMP greeting but {greeting}")
        self.execute("qmp_capabilities", timeout_s=START_TIMEOUT_S)

    def send(self, command: str, arguments: Optional[dict] = None) -> None:
        """Sends a command and does not wait."""
        message: dict[str, Any] = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self._sock.sendall(json.dumps(message).encode() + b"\n")

    def answer(self, timeout_s: float) -> Any:
        """The next answer's `return`; QmpTimeout when there is none yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._line(deadline)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise QmpError(str(message["error"]))

    def answered(self, timeout_s: float) -> bool:
        """Whether the answer that is awaited comes in time; it is taken."""
        try:
            self.answer(timeout_s)
            return True
        except QmpTimeout:
            return False

    def execute(self, command: str, arguments: Optional[dict] = None,
                timeout_s: float = 3.0) -> Any:
        """Sends a command and returns what it returns."""
        self.send(command, arguments)
        return self.answer(timeout_s)

    def close(self) -> None:
        """Ends the connection."""
        self._sock.close()

    def _line(self, deadline: float) -> dict:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready = select.select([self._sock], [], [], max(left, 0))[0]
            if not ready:
                raise QmpTimeout("no answer in time")
            got = self._sock.recv(65536)
            if not got:
                raise QmpError("QEMU closed the QMP connection")
            self._buffer += got
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)


class Qemu:
    """A running storage daemon or `-M none` system emulator of the lab.

    It starts in the caller's session: with the kernel's autogroup a session
    of its own would get a CPU share of its own, and not starve together
    with the stressors.
    """

    def __init__(self, lab: Path, build: str, system: bool = False,
                 extra: Sequence[str] = (),
                 exe: Optional[Path] = None) -> None:
        """Starts it and waits for QMP; `extra` are further options.

        `exe` is run in place of the build's own program.
        """
        self.build = build
        self.system = system
        # The cache cleaner's sleep; None is QEMU's default, 600 s.
        self.cleaner_interval_s: Optional[int] = None
        self.exe = exe or (lab / "bin" / build
                           / (SYSTEM if system else DAEMON))
        self.img = lab / "bin" / build / "qemu-img"
        self.io = lab / "bin" / build / "qemu-io"
        if not self.img.is_file():
            self.img = lab / "bin" / "stock" / "qemu-img"
        runs = lab / "run"
        runs.mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{build}-"))
        self.image = self.folder / "a.qcow2"
        # A path below the checkout may be too long for sun_path.
        self._short = Path(tempfile.mkdtemp(prefix="qh-"))
        self.socket = self._short / "qmp"
        self.nbd_socket = self._short / "nbd"
        self._make_image()
        self.log = self.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(self.exe), *self._options(), *extra], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_child_limits)
        try:
            self.qmp = self._connect()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def _make_image(self) -> None:
        """Makes `image`, before QEMU starts."""
        subprocess.run([self.img, "create", "-q", "-f", "qcow2", self.image,
                        "64M"], check=True)

    def _options(self) -> list[str]:
        chardev = f"socket,path={self.socket},server=on,wait=off,id=c"
        node = f"driver=file,filename={self.image},node-name={FILE_NODE}"
        if self.system:
            return ["-M", "none", "-nodefaults", "-display", "none",
                    "-object", f"iothread,id={IOTHREAD}",
                    "-chardev", chardev, "-mon", "chardev=c,mode=control",
                    "-blockdev", node]
        return ["--object", f"iothread,id={IOTHREAD}", "--chardev", chardev,
                "--monitor", "c", "--blockdev", node]

    def _connect(self) -> Qmp:
        """Connects as soon as the socket is there."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                qmp = Qmp(self.socket)
                qmp.handshake()
                return qmp
            except (FileNotFoundError, ConnectionRefusedError) as error:
                status = self.process.poll()
                if status is not None or time.monotonic() > deadline:
                    raise QmpError(
                        f"{self.exe} gives no QMP (status {status}): "
                        + self.log.read_text(errors="replace")) from error
                time.sleep(0.01)

    def to_iothread(self) -> None:
        """Moves the file node into the iothread."""
        self.qmp.execute("x-blockdev-set-iothread",
                         {"node-name": FILE_NODE, "iothread": IOTHREAD},
                         timeout_s=START_TIMEOUT_S)

    def send_add(self) -> None:
        """Sends the blockdev-add that opens the qcow2 node."""
        node: dict[str, Any] = {"driver": "qcow2", "file": FILE_NODE,
                                "node-name": QCOW2_NODE}
        if self.cleaner_interval_s is not None:
            node["cache-clean-interval"] = self.cleaner_interval_s
        self.qmp.send("blockdev-add", node)

    def add(self, timeout_s: float = 3.0) -> None:
        """Opens the qcow2 node."""
        self.send_add()
        self.qmp.answer(timeout_s)

    def delete(self, timeout_s: float = 3.0) -> None:
        """Closes the qcow2 node."""
        self.qmp.execute("blockdev-del", {"node-name": QCOW2_NODE}, timeout_s)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def end(self) -> None:
        """Kills it, by its own id, and removes its files."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if hasattr(self, "qmp"):
            self.qmp.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self._short, ignore_errors=True)

    def __enter__(self) -> "Qemu":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _has_run(pid: int) -> bool:
    """Whether a process has used CPU time of its own (utime, proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return int(stat.rsplit(")", 1)[1].split()[11]) > 0


class StressError(Exception):
    """stress-ng does not do what it is there for."""


class Stress:
    """stress-ng on every CPU, in the caller's session, for a bounded time."""

    def __init__(self, seconds: int, cpus: Optional[int] = None) -> None:
        """Starts it, and returns when every worker is at it."""
        self._process = subprocess.Popen(
            ["stress-ng", "--quiet", "--cpu", str(cpus or os.cpu_count()),
             "--timeout", f"{seconds}s"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM))
        self._wait_busy(cpus or os.cpu_count() or 1)

    def _wait_busy(self, workers: int) -> None:
        """Until so many of its children have used some CPU time."""
        pid = self._process.pid
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.running():
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            if sum(_has_run(int(child)) for child in children.split()
                   ) >= workers:
                return
            time.sleep(0.01)
        self.stop()
        raise StressError(f"stress-ng does not keep {workers} CPUs busy")

    def running(self) -> bool:
        """Whether it still runs (it ends by itself after its time)."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it; its children end with it."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def __enter__(self) -> "Stress":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
