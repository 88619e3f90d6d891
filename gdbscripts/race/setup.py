"""What a trial needs beside the program itself, and what is missing.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .qemu import Qemu

VERSION_TIMEOUT_S = 30.0
DIAGNOSE_TIMEOUT_S = 60.0
# What `qhang diagnose` ends with when it has a report.
REPORTED = (0, 1, 2)
# How the first line of --version begins, and whether it is an emulator.
KINDS = {"qemu-storage-daemon version": False, "QEMU emulator version": True}


class Unfit(Exception):
    """No trial of this program can be made here, and what to do about it."""


@dataclass(frozen=True)
class Setup:
    """A program on trial; qhang is what examines it when it hangs."""

    program: Path
    qhang: Path
    work: Path
    img: Path
    system: bool

    def start(self) -> Qemu:
        """A fresh process of it."""
        return Qemu(self.program, self.img, self.work, self.system)

    def diagnose(self, pid: int) -> list[str]:
        """The rules of the findings in a process; Unfit without a report."""
        try:
            done = subprocess.run(
                [str(self.qhang), "diagnose", "--json", str(pid)],
                check=False, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                timeout=DIAGNOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise Unfit("qhang diagnose does not come to an end") from error
        if done.returncode not in REPORTED:
            raise Unfit("qhang cannot examine it: "
                        + _one_line(done.stderr.decode(errors="replace")))
        report: dict[str, Any] = json.loads(done.stdout)
        return [finding["rule"] for finding in report["findings"]]


def _one_line(told: str) -> str:
    """An error of qhang's: what failed, and what to try."""
    lines = [line.strip() for line in told.strip().splitlines()]
    head = lines[0].removeprefix("qhang: ") if lines else "it says nothing"
    tries = [line.removeprefix("try").strip() for line in lines
             if line.startswith("try ")]
    return "; ".join([head, *tries[:1]])


def _is_system(program: Path) -> bool:
    """Whether it is a system emulator; Unfit unless that or a daemon."""
    try:
        done = subprocess.run([str(program), "--version"], check=False,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              timeout=VERSION_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise Unfit("it does not come to an end when asked for its version"
                    ) from error
    except OSError as error:
        raise Unfit(f"it cannot be run: {error.strerror}") from error
    told = done.stdout.decode(errors="replace").strip()
    for beginning, system in KINDS.items():
        if told.startswith(beginning):
            return system
    if done.returncode:
        raise Unfit("it does not run here: "
                    f"{told.partition(chr(10))[0][:200]}")
    raise Unfit("it is neither a storage daemon nor a system emulator: give "
                "one of these")


def _find_img(program: Path) -> Path:
    """The qemu-img beside the program, in its build folder, or of PATH."""
    home = Path(os.path.realpath(program)).parent
    for folder in (home, home.parent):
        found = folder / "qemu-img"
        if os.access(found, os.X_OK) and found.is_file():
            return found
    on_path = shutil.which("qemu-img")
    if on_path:
        return Path(on_path)
    raise Unfit(f"no qemu-img in {home} nor on the PATH: install qemu-utils")


def prepare(program: Path, qhang: Path, work: Path) -> Setup:
    """Looks at what there is; Unfit when something is missing."""
    system = _is_system(program)
    return Setup(program, qhang, work, _find_img(program), system)
