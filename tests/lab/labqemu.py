"""The lab's QEMUs, as the forcing driver of gdbscripts/race starts them.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "gdbscripts"))

# pylint: disable=wrong-import-position
from race import qemu as race_qemu
from race.qemu import FILE_NODE, IOTHREAD, QCOW2_NODE
from race.qmp import QmpError, QmpTimeout
from race.stress import Stress

__all__ = ["DAEMON", "FILE_NODE", "IOTHREAD", "QCOW2_NODE", "SYSTEM", "Qemu",
           "QmpError", "QmpTimeout", "Stress"]

DAEMON = "qemu-storage-daemon"
SYSTEM = "qemu-system-x86_64"


class Qemu(race_qemu.Qemu):
    """A running storage daemon or `-M none` system emulator of the lab."""

    def __init__(self, lab: Path, build: str, system: bool = False,
                 extra: Sequence[str] = (),
                 exe: Optional[Path] = None) -> None:
        """Starts it and waits for QMP; `extra` are further options.

        `exe` is run in place of the build's own program.
        """
        folder = lab / "bin" / build
        self.img = folder / "qemu-img"
        self.io = folder / "qemu-io"
        if not self.img.is_file():
            self.img = lab / "bin" / "stock" / "qemu-img"
        # A path below the checkout may be too long for sun_path.
        self._short = Path(tempfile.mkdtemp(prefix="qh-"))
        self.nbd_socket = self._short / "nbd"
        runs = lab / "run"
        runs.mkdir(exist_ok=True)
        super().__init__(exe or folder / (SYSTEM if system else DAEMON),
                         self.img, runs, system, extra, cores=True)

    def end(self) -> None:
        """Kills it, by its own id, and removes its files."""
        super().end()
        shutil.rmtree(self._short, ignore_errors=True)
