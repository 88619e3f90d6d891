"""`meson install` puts a qhang in place that runs from there.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("QHANG_BUILD") or CHECKOUT / "build").absolute()


@pytest.fixture(name="installed", scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What an install brought, by its path below the prefix."""
    root = tmp_path_factory.mktemp("install")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild",
                    "--destdir", root], check=True, capture_output=True)
    options = json.loads(
        (BUILD / "meson-info/intro-buildoptions.json").read_text())
    prefix = next(o["value"] for o in options if o["name"] == "prefix")
    below = root / prefix.lstrip("/")
    every = [path for path in root.rglob("*") if path.is_file()]
    assert every, "nothing was installed"
    strays = [path for path in every if not path.is_relative_to(below)]
    assert not strays, "installed outside of the prefix"
    return {str(path.relative_to(below)): path for path in every}


def test_program_runs(installed: dict[str, Path]) -> None:
    """The installed program starts by itself and knows its version."""
    told = subprocess.run([installed["bin/qhang"], "--version"], check=True,
                          capture_output=True, text=True, cwd="/").stdout
    project = json.loads(
        (BUILD / "meson-info/intro-projectinfo.json").read_text())
    assert project["version"] in told


def test_repair_runs(installed: dict[str, Path]) -> None:
    """The installed repair finds its own files, and no tree here."""
    assert {"share/qhang/repair/parts.py", "share/qhang/repair/journal.py",
            "share/qhang/repair/util/qemu-coroutine-sleep.c"} <= set(installed)
    done = subprocess.run(
        [installed["share/qhang/repair/repair.py"], "check", "."],
        check=False, text=True, capture_output=True)
    assert done.returncode == 2 and "QEMU source tree" in done.stderr


def test_gdb_finds_the_program(installed: dict[str, Path]) -> None:
    """The installed script loads, and runs the installed program."""
    script = installed["share/qhang/gdb/qhang-gdb.py"]
    told = subprocess.run(
        ["gdb", "-nx", "-batch", "-ex", f"source {script}", "-ex",
         "show qhang-program"], check=True, text=True, capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/"}).stdout
    assert str(installed["bin/qhang"].resolve()) in told


def test_race_runs(installed: dict[str, Path]) -> None:
    """The installed program finds the driver that is installed with it: it is
    the driver that knows what can be raced."""
    sources = (CHECKOUT / "gdbscripts/race").glob("*.py")
    assert {f"share/qhang/gdb/race/{path.name}" for path in sources} <= set(
        installed)
    done = subprocess.run(
        [installed["bin/qhang"], "verify", "--race", "/bin/true"], text=True,
        check=False, capture_output=True, cwd="/")
    assert done.returncode == 2
    assert "neither a storage daemon" in " ".join(done.stdout.split())


def test_manual_pages(installed: dict[str, Path]) -> None:
    """Each man page of docs/man is there, as it stands in the checkout."""
    pages = sorted(path.name for path in (CHECKOUT / "docs/man").glob("*.1"))
    assert "qhang.1" in pages
    for page in pages:
        assert f"share/man/man1/{page}" in installed


def test_completion(installed: dict[str, Path]) -> None:
    """Bash finds the completion under the program's name."""
    path = installed["share/bash-completion/completions/qhang"]
    subprocess.run(["bash", "-n", path], check=True)


def test_nothing_of_the_tests(installed: dict[str, Path]) -> None:
    """Victims and test programs stay in the build folder."""
    names = {Path(name).name for name in installed}
    assert not names & {"victim"}
    assert not [name for name in names if name.startswith("test")]
