"""A guest that runs: qemu-system-x86_64 with a disk in an iothread.

SPDX-License-Identifier: GPL-2.0-or-later

The firmware is Debian's seabios; the guest is guest.S, which writes to its
disk, reads back, compares and counts.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator, Optional

import build as lab_build
from healthy import WorkFailed, Worker, run_tool
from labqemu import FILE_NODE, IOTHREAD, QCOW2_NODE, Qemu
from race.qemu import IMAGE, SOCKET

FIRMWARE = Path("/usr/share/seabios")
SOURCE = Path(__file__).resolve().parent / "guest.S"
STEP_TIMEOUT_S = 60.0
DISK_BYTES = 64 << 20
# A job at this speed outlasts all that is done meanwhile.
JOB_BYTES_PER_S = 64 << 10
EXPORT_URL = "nbd+unix:///e0?socket={}"


def assemble(folder: Path) -> bytes:
    """The guest's one sector."""
    flat = folder / "guest.bin"
    subprocess.run(["gcc", "-m16", "-nostdlib", "-c", SOURCE, "-o",
                    folder / "guest.o"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0x7c00",
                    "--oformat=binary", folder / "guest.o", "-o", flat],
                   check=True)
    return flat.read_bytes()


class Guest(Qemu):
    """A booted system emulator; `rounds()` grows while its guest runs."""

    def __init__(self, lab: Path, build: str) -> None:
        """Starts it, and returns when the guest is past its first round."""
        super().__init__(lab, build, system=True)
        try:
            self.wait_round()
        except BaseException:
            self.end()
            raise

    def _make_image(self, img: Path) -> None:
        raw = self.folder / "disk.raw"
        raw.write_bytes(assemble(self.folder))
        with raw.open("r+b") as disk:
            disk.truncate(DISK_BYTES)
        subprocess.run([img, "convert", "-f", "raw", "-O", "qcow2", raw,
                        self.folder / IMAGE], check=True)
        raw.unlink()

    def _options(self) -> list[str]:
        chardev = f"socket,path={SOCKET},server=on,wait=off,id=c"
        return [
            "-M", "pc", "-accel", "tcg", "-L", str(FIRMWARE), "-m", "64",
            "-nodefaults", "-display", "none", "-vga", "none",
            "-object", f"iothread,id={IOTHREAD}",
            "-chardev", chardev, "-mon", "chardev=c,mode=control",
            "-chardev", "file,id=d,path=debug",
            "-device", "isa-debugcon,iobase=0xe9,chardev=d",
            "-blockdev",
            f"driver=file,filename={IMAGE},node-name={FILE_NODE}",
            "-blockdev",
            f"driver=qcow2,file={FILE_NODE},node-name={QCOW2_NODE}",
            "-device", f"virtio-blk-pci,drive={QCOW2_NODE},"
            f"iothread={IOTHREAD},bootindex=0"]

    def rounds(self) -> int:
        """How many rounds the guest has made; each was right."""
        said = (self.folder / "debug").read_bytes()
        if said.strip(b"."):
            raise WorkFailed(f"the guest says {said[-20:]!r}")
        return len(said)

    def wait_round(self) -> None:
        """Returns when the guest has ended a round from now on."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        before = self.rounds()
        while self.rounds() == before:
            if not self.alive() or time.monotonic() > deadline:
                raise WorkFailed("the guest stands still: "
                                 + self.log.read_text(errors="replace"))
            time.sleep(0.001)


def _add_target(guest: Guest) -> str:
    """A second image, as the target of a job; its node's name."""
    path = guest.folder / "target.qcow2"
    subprocess.run([guest.img, "create", "-q", "-f", "qcow2", path,
                    str(DISK_BYTES)], check=True)
    guest.qmp.execute("blockdev-add", {
        "driver": "qcow2", "node-name": "t0",
        "file": {"driver": "file", "filename": str(path)}})
    return "t0"


def _job(guest: Guest, command: str, **more: Any) -> None:
    guest.qmp.execute(command, {
        "job-id": "j0", "device": QCOW2_NODE, "target": _add_target(guest),
        "sync": "full", "speed": JOB_BYTES_PER_S, **more})


def _export(guest: Guest) -> None:
    guest.qmp.execute("nbd-server-start", {
        "addr": {"type": "unix", "data": {"path": str(guest.nbd_socket)}}})
    guest.qmp.execute("block-export-add", {
        "type": "nbd", "id": "e0", "name": "e0", "node-name": QCOW2_NODE})


BEGINNINGS = {
    "I/O": lambda guest: None,
    "mirror": lambda guest: _job(guest, "blockdev-mirror"),
    "backup with a rate limit": lambda guest: _job(guest, "blockdev-backup"),
    "NBD export": _export,
    "stopped": lambda guest: guest.qmp.execute("stop"),
}


def _check_job(guest: Guest) -> None:
    """That the job which was begun is still at it."""
    states = [job["status"]
              for job in guest.qmp.execute("query-jobs")]
    if states not in (["running"], ["ready"]):
        raise WorkFailed(f"the job is {states}")


def _step(guest: Guest, what: str) -> None:
    if what == "stopped":
        guest.qmp.execute("query-status")
        return
    if what == "NBD export":
        run_tool([str(guest.img), "bench", "-f", "raw", "-c", "500", "-d",
                  "16", "-s", "4096", EXPORT_URL.format(guest.nbd_socket)])
    elif what != "I/O":
        _check_job(guest)
    guest.wait_round()


@contextmanager
def at_work(what: str, build: str = "graphfix",
            lab: Optional[Path] = None) -> Iterator[Worker]:
    """A booted guest, busy with its disk, and one of BEGINNINGS beside it.

    When the block ends the guest must still run, or go on when it was
    stopped; each of its rounds compares what it wrote.
    """
    lab = lab or lab_build.lab_folder()
    with ExitStack() as stack:
        guest = stack.enter_context(Guest(lab, build))
        BEGINNINGS[what](guest)
        worker = Worker(guest, lambda: _step(guest, what))
        stack.callback(worker.stop)
        worker.start()
        yield worker
        worker.stop()
        if what == "stopped":
            guest.qmp.execute("cont")
        guest.wait_round()
