"""What is no core, or only some of one: a clear error, and never a clean bill.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import (FAILED, FINDING, INCOMPLETE, QHANG, VERDICTS, VICTIMS,
                      Victim, as_nobody, qhang, refuses, report)


def elf_core(machine: int, bits: int = 64) -> bytes:
    """The header of a core of another architecture, and nothing behind it."""
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    if bits == 64:
        return ident + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0,
                                   0, 64, 56, 0, 0, 0, 0)
    return ident + struct.pack("<HHIIIIIHHHHHH", 4, machine, 1, 0, 52, 0, 0,
                               52, 32, 0, 0, 0, 0)


EM_386, EM_AARCH64, EM_X86_64 = 3, 183, 62
NO_CORES = {
    "empty": (b"", ("empty",)),
    "text": (b"this is no core\n" * 100, ("core",)),
    "one-byte": (b"\x7f", ("core",)),
    "magic-only": (b"\x7fELF", ("core",)),
    "aarch64": (elf_core(EM_AARCH64) + bytes(4096), ("x86-64",)),
    "i386": (elf_core(EM_386, 32) + bytes(4096), ("x86-64",)),
    "no-notes": (elf_core(EM_X86_64), ("core",)),
    "zstd-of-nothing": (b"\x28\xb5\x2f\xfd", ("core",)),
}


@pytest.mark.parametrize("name", NO_CORES)
def test_no_core(name: str, tmp_path: Path) -> None:
    """Says what it is instead, with its path."""
    content, words = NO_CORES[name]
    path = tmp_path / "core"
    path.write_bytes(content)
    refuses(FAILED, "diagnose", "--core", path, words=(*words, str(path)))


def test_core_that_is_a_program() -> None:
    """An executable is no core."""
    refuses(FAILED, "diagnose", "--core", QHANG,
            words=("no core", str(QHANG), "what made it with --exe"))


def test_core_that_is_no_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, nothing: refused at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/zero"), tmp_path / "none"):
        refuses(FAILED, "diagnose", "--core", path,
                words=(str(path), "give the path of a core"))


def test_core_of_something_else(sleeper: subprocess.Popen,
                                tmp_path: Path) -> None:
    """A sound core, but not of a QEMU."""
    subprocess.run(["gcore", "-o", tmp_path / "core", str(sleeper.pid)],
                   check=True, capture_output=True, timeout=120)
    refuses(FAILED, "diagnose", "--core", tmp_path / f"core.{sleeper.pid}",
            words=("no QEMU", "give the core of a qemu-system-*"))


def test_core_of_another_user(open_folder: Path) -> None:
    """A core that may not be read is not one that is not there."""
    if os.getuid():
        pytest.skip("needs root, to be another user")
    core = open_folder / "core"
    core.touch(0o600)
    done = as_nobody([open_folder / "qhang", "diagnose", "--core", core])
    assert done.returncode == FAILED
    assert "Permission denied" in done.stderr
    assert "sudo" in done.stderr and "core_pattern" not in done.stderr


@pytest.fixture(name="core", scope="module")
def core_of_victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gcore of a victim whose cleaner's wake was lost."""
    with Victim("wake-lost") as victim:
        return victim.gcore(tmp_path_factory.mktemp("core"))


def test_wrong_executable(core: Path, tmp_path: Path) -> None:
    """Names both build-ids; and what is no executable at all."""
    refuses(FAILED, "diagnose", "--core", core, "--exe",
            VICTIMS / "victim-fixed", words=("build-id",))
    text = tmp_path / "text"
    text.write_text("no program\n")
    for path in (text, tmp_path / "none", tmp_path):
        told = refuses(FAILED, "diagnose", "--core", core, "--exe", path,
                       words=(str(path), "build-id"))
        assert "its build-id is" not in told  # it has none
    right = report("--core", core, "--exe", VICTIMS / "victim")
    assert right["status"] == FINDING


def cut_places(core: Path, cut: Path) -> set[int]:
    """Diagnoses `core` cut at 20 places; the exit statuses."""
    content = core.read_bytes()
    seen = set()
    for i in range(20):
        cut.write_bytes(content[:len(content) * i // 20])
        done = qhang("diagnose", "--core", cut)
        assert done.returncode in (FINDING, INCOMPLETE, FAILED)
        if done.returncode == FAILED:
            assert done.stderr.startswith("qhang: ")
        else:
            assert "INCOMPLETE" in done.stdout
        seen.add(done.returncode)
    return seen


def test_core_cut_short(core: Path, tmp_path: Path) -> None:
    """Cut anywhere it is refused, or says that it is not whole: never clean.
    gcore writes the notes last, so none of its can be more than refused."""
    cut_places(core, tmp_path / "cut")


def test_kernel_core_cut_short(tmp_path: Path) -> None:
    """The kernel writes the notes first: some of it can be examined."""
    with Victim("wake-lost", cwd=tmp_path) as victim:
        core = victim.kernel_core(tmp_path)
    seen = cut_places(core, tmp_path / "cut")
    assert seen & {FINDING, INCOMPLETE}, "not one could be examined"


def test_core_with_flipped_bytes(core: Path, tmp_path: Path) -> None:
    """Damage in the headers and notes ends in a verdict or an error."""
    content = bytearray(core.read_bytes())
    damaged = tmp_path / "core"
    random.seed(2)
    for _ in range(30):
        copy = bytearray(content)
        for _ in range(8):
            copy[random.randrange(16, 8192)] = random.randrange(256)
        damaged.write_bytes(copy)
        assert qhang("diagnose", "--core", damaged).returncode in VERDICTS
