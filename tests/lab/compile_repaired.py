#!/usr/bin/python3
"""Compiles the files that the repairs change as the lab's QEMU compiles them.

SPDX-License-Identifier: GPL-2.0-or-later

Needs a lab that stands (tests/lab/build.py) and changes nothing of it: status
0 compiled without a warning, 77 no lab, 1 not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import build as lab_build


def compile_one(lab: Path, name: str, source: Path) -> int:
    """Compiles `source` as the tree's file `name`; its warnings count."""
    argv, folder = lab_build.compiling(lab, name, source, Path("/dev/null"))
    return subprocess.run([*argv, "-Werror"], check=False,
                          cwd=folder).returncode


def main() -> int:
    """Command line; see above."""
    lab = lab_build.lab_folder()
    if not (lab / "obj/gcc/compile_commands.json").is_file():
        print(f"no lab in {lab}: tests/lab/build.py makes one")
        return lab_build.EXIT_MISSING
    source = lab_build.Source(lab)
    source.fetch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (*lab_build.SOURCES, lab_build.MACROS):
            (folder / path).parent.mkdir(parents=True)
            kept = lab / "orig" / path
            shutil.copy(kept if kept.is_file() else source.tree / path,
                        folder / path)
        subprocess.run([sys.executable, lab_build.CFIX / "repair.py", "apply",
                        folder], check=True)
        return max(compile_one(lab, path, folder / path)
                   for path in lab_build.SOURCES)


if __name__ == "__main__":
    sys.exit(main())
