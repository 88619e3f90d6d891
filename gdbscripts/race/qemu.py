"""Starts a QEMU that opens and closes a qcow2 node, and ends it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import ctypes
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Optional, Sequence

from .qmp import START_TIMEOUT_S, Qmp, QmpError

IOTHREAD = "io0"
FILE_NODE = "f0"
QCOW2_NODE = "q0"
# In its folder, in which it runs: no path of ours has a comma for -blockdev.
IMAGE = "a.qcow2"
SOCKET = "qmp"
MOST_WORDS = 400

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
# linux/prctl.h; with yama, gdb could not attach else: it is no ancestor.
_PR_SET_PTRACER = 0x59616d61
_ANY = ctypes.c_ulong(-1)


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """For preexec_fn: a driver that is killed leaves no QEMU behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signum)


def _before_exec(cores: bool) -> None:
    """In the child: what holds for it from the start."""
    die_with_parent()
    _LIBC.prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard if cores else 0, hard))


class Qemu:
    """A running storage daemon or `-M none` system emulator .

    It starts in the caller's session: with the kernel's autogroup a session
    of its own would get a CPU share of its own, and not starve together
    with the stressors.
    """

    def __init__(self, exe: Path, img: Path, runs: Path,
                 system: bool = False, extra: Sequence[str] = (),
                 cores: bool = False) -> None:
        """Starts `exe` and waits for QMP.

        `img` is a qemu-img, which makes the image; what it needs of files is
        in a folder of its own below `runs`, and goes with it.  `system` says
        that it is a system emulator; `extra` are further options.  With
        `cores` an abort may leave a core.
        """
        self.exe = exe
        self.system = system
        # The cache cleaner's sleep; None is QEMU's default, 600 s.
        self.cleaner_interval_s: Optional[int] = None
        self.folder = Path(tempfile.mkdtemp(dir=runs, prefix="qemu-"))
        self.log = self.folder / "log"
        try:
            self._make_image(img)
            self.process = self._start(extra, cores)
            self.qmp = self._connect()
        except BaseException:
            self.end()
            raise

    def _make_image(self, img: Path) -> None:
        done = subprocess.run(
            [str(img), "create", "-q", "-f", "qcow2", IMAGE, "64M"],
            check=False, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise QmpError(f"{img} makes no image: "
                           + done.stdout.decode(errors="replace").strip())

    def _start(self, extra: Sequence[str], cores: bool
               ) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [str(self.exe), *self._options(), *extra], cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: _before_exec(cores))

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def _options(self) -> list[str]:
        chardev = f"socket,path={SOCKET},server=on,wait=off,id=c"
        node = f"driver=file,filename={IMAGE},node-name={FILE_NODE}"
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
                qmp = Qmp(self.folder / SOCKET)
                qmp.handshake()
                return qmp
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if not self.alive() or time.monotonic() > deadline:
                    raise QmpError(f"{self.exe} gives no QMP: "
                                   f"{self.last_words()}") from error
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

    def last_words(self) -> str:
        """The last line that it printed, and its status once it has ended."""
        with self.log.open("rb") as log:
            log.seek(max(self.log.stat().st_size - MOST_WORDS, 0))
            text = log.read(MOST_WORDS).decode(errors="replace").strip()
        status = self.process.poll()
        ended = "" if status is None else f" (it ended with status {status})"
        return text.rpartition("\n")[2] + ended

    def end(self) -> None:
        """Kills it, by its own id, and removes its files."""
        if hasattr(self, "process"):
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        if hasattr(self, "qmp"):
            self.qmp.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Qemu":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
