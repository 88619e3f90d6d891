"""Debian's own QEMU programs, fetched and unpacked, never installed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Sequence

from labapt import PrivateApt

SUITES = ("bookworm", "bookworm-backports", "trixie", "sid")
PACKAGES = ("qemu-utils", "qemu-system-x86", "qemu-system-common")
PROGRAMS = ("qemu-img", "qemu-nbd", "qemu-storage-daemon",
            "qemu-system-x86_64")


def fetch(lab: Path, suite: str) -> tuple[str, Path]:
    """The version that the suite has, and where its usr/bin/ is; once, then
    it stands.  Raises SourceMissing when the archive lacks it."""
    folder = lab / "debs" / suite
    stamp = folder / "version"
    if not stamp.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        apt = PrivateApt(folder / "apt", "deb", suite)
        apt.update()
        for package in PACKAGES:
            apt.unpack(package, folder)
        # Of what was unpacked, not of the index: it says "Version: 1:7.2...".
        shown = apt.run("apt-cache", "show", "--no-all-versions", PACKAGES[0])
        version = next(line.split(": ", 1)[1] for line in shown.splitlines()
                       if line.startswith("Version: "))
        stamp.write_text(version)
    return stamp.read_text(), folder / "usr/bin"


def libraries(lab: Path, suite: str, packages: Sequence[str]) -> Path:
    """The folder with the libraries of some packages, which programs of that
    suite need and this machine lacks; once, then it stands."""
    folder = lab / "debs" / f"{suite}-libraries"
    stamp = folder / "packages"
    where = folder / "usr/lib/x86_64-linux-gnu"
    if not stamp.is_file() or stamp.read_text().split() != list(packages):
        shutil.rmtree(folder, ignore_errors=True)
        apt = PrivateApt(folder / "apt", "deb", suite)
        apt.update()
        for package in packages:
            apt.unpack(package, folder)
        # Some packages still have theirs where they were before /usr was one.
        for old in (folder / "lib/x86_64-linux-gnu").glob("*.so*"):
            where.mkdir(parents=True, exist_ok=True)
            shutil.move(str(old), where / old.name)
        stamp.write_text(" ".join(packages))
    return where
