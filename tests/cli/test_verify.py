"""qhang verify: programs by both compilers, at many levels, and no programs.

SPDX-License-Identifier: GPL-2.0-or-later

verify_fixture.c is built here with each sleep of cfix; tests/lab/test_verify.py
has real QEMUs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import CHECKOUT, QHANG, qhang

SAFE, VULNERABLE, UNDETERMINED, FAILED, USAGE = 0, 1, 2, 3, 64
SCHEMA = json.loads((CHECKOUT / "docs/qhang-verify-1.json").read_text())
CFIX = CHECKOUT / "cfix"
# Each sleep, and whether it can lose a wake-up.
SLEEPS = {
    "co_sleep.c": SAFE,
    "qemu/util/qemu-coroutine-sleep.c": SAFE,
    "legacy/co_sleep_mark.c": SAFE,
    "legacy/co_sleep.c": VULNERABLE,
    "legacy/co_sleep_tick.c": VULNERABLE,
}
LEVELS = ["-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -no-pie -fno-pie"]
MUTATIONS = 150


def build(folder: Path, compiler: str, level: str, sleep: str) -> Path:
    """The fixture as a stripped program.

    What does not depend on the sleep is compiled once for each folder,
    compiler and level.
    """
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    compile_ = [compiler, *level.split(), "-w", "-D_GNU_SOURCE", f"-I{CFIX}",
                f"-I{CFIX}/qemu/host", "-pthread"]
    objects = folder / f"{compiler}{level}".replace(" ", "")
    if not objects.exists():
        objects.mkdir()
        sources = [CHECKOUT / "tests/cli/verify_fixture.c",
                   CFIX / "graph_lock.c", *(CFIX / "runtime").glob("*.c")]
        subprocess.run([*compile_, "-c", *sources], check=True, cwd=objects)
    program = folder / "program"
    subprocess.run([*compile_, "-s", CFIX / sleep, *objects.glob("*.o"), "-o",
                    program], check=True)
    return program


def verify(*args: "str | Path") -> tuple[int, dict[str, Any]]:
    """Exit status and report, which must be valid and agree."""
    done = qhang("verify", "--json", *args)
    assert done.stderr == "", done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    assert report["verdict"] == ("safe", "vulnerable",
                                 "undetermined")[done.returncode]
    return done.returncode, report


def check_named(report: dict[str, Any], name: str) -> dict[str, Any]:
    """One check of the report."""
    found: dict[str, Any] = next(c for c in report["checks"]
                                 if c["name"] == name)
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_each_sleep(tmp_path: Path, compiler: str, level: str) -> None:
    """Without symbols, at any level: what is faulty, and what is not."""
    for sleep, wanted in SLEEPS.items():
        _, report = verify(build(tmp_path, compiler, level, sleep))
        for name in ("sleep-wake", "sleep-arm"):
            check = check_named(report, name)
            assert (sleep, check["verdict"]) == (
                sleep, "safe" if wanted == SAFE else "vulnerable"), check
            assert check["code"] and check["copies"] >= 1


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_link_time_optimised(tmp_path: Path, compiler: str) -> None:
    """All in one piece: never is a faulty one called safe, nor the reverse."""
    for sleep, wanted in SLEEPS.items():
        _, report = verify(build(tmp_path, compiler, "-O2 -flto", sleep))
        for name in ("sleep-wake", "sleep-arm"):
            wrong = "vulnerable" if wanted == SAFE else "safe"
            assert check_named(report, name)["verdict"] != wrong


@pytest.fixture(name="faulty", scope="module")
def fixture_faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A faulty program."""
    return build(tmp_path_factory.mktemp("faulty"), "gcc", "-O2",
                 "legacy/co_sleep.c")


def test_text(faulty: Path) -> None:
    """The verdict comes first, in 80 columns, with the instructions."""
    done = qhang("verify", faulty)
    assert done.returncode == VULNERABLE
    assert done.stdout.startswith("VULNERABLE  ")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "movq $0, (%rdi)" in done.stdout and "fixed in" in done.stdout


def test_junit(faulty: Path, tmp_path: Path) -> None:
    """A CI server sees what failed."""
    xml = tmp_path / "verify.xml"
    assert qhang("verify", "--junit", xml, faulty).returncode == VULNERABLE
    suite = ElementTree.parse(xml).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == ("2", "1")
    assert qhang("verify", "--junit", tmp_path / "no/x", faulty
                 ).returncode == FAILED


def test_process(faulty: Path) -> None:
    """By the pid, also when the file is gone: its program is judged."""
    with subprocess.Popen([QHANG, "verify", "--help"], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as over:
        over.wait()
    assert qhang("verify", str(over.pid)).returncode == FAILED
    copy = faulty.with_name("sleeper")
    shutil.copy(shutil.which("sleep") or "", copy)
    with subprocess.Popen([copy, "600"]) as process:
        copy.unlink()
        status, report = verify(str(process.pid))
        process.kill()
    assert status == UNDETERMINED and report["build_id"]


def test_build_folder(faulty: Path, tmp_path: Path) -> None:
    """Every program of a QEMU build is judged; the worst one decides."""
    (tmp_path / "storage-daemon").mkdir()
    shutil.copy("/bin/true", tmp_path / "qemu-img")
    shutil.copy(faulty, tmp_path / "storage-daemon/qemu-storage-daemon")
    (tmp_path / "qemu-options.def").write_text("no program")
    status, report = verify(tmp_path)
    assert status == VULNERABLE
    assert [Path(p["path"]).name for p in report["programs"]] == [
        "qemu-img", "qemu-storage-daemon"]
    assert report["path"].endswith("qemu-storage-daemon")


@pytest.mark.parametrize("content, why", [
    (b"", "no ELF"), (b"#!/bin/sh\n", "no ELF"), (b"\x7fELF", "no ELF"),
])
def test_no_program(tmp_path: Path, content: bytes, why: str) -> None:
    """What is no program is undetermined, and says so."""
    path = tmp_path / "file"
    path.write_bytes(content)
    status, report = verify(path)
    assert status == UNDETERMINED
    assert all(why in check["why"] for check in report["checks"])


def test_other_machine(faulty: Path, tmp_path: Path) -> None:
    """An aarch64 program is told as such."""
    data = bytearray(faulty.read_bytes())
    data[18:20] = (183).to_bytes(2, "little")
    (tmp_path / "arm").write_bytes(data)
    status, report = verify(tmp_path / "arm")
    assert status == UNDETERMINED
    assert "not for x86-64" in report["checks"][0]["why"]


def test_no_qemu() -> None:
    """Another program has nothing of the kind."""
    status, report = verify("/bin/ls")
    assert status == UNDETERMINED
    assert "no coroutine sleep" in report["checks"][0]["why"]


@pytest.mark.parametrize("args, told", [
    (["/no/such/file"], "/no/such/file"), (["/dev/null"], "regular file"),
    (["4194305"], "4194305")])
def test_cannot_be_opened(args: list[str], told: str) -> None:
    """Status 3, with what and where."""
    done = qhang("verify", *args)
    assert done.returncode == FAILED and told in done.stderr
    assert "try" in done.stderr and done.stdout == ""


def test_empty_folder(tmp_path: Path) -> None:
    """A folder without a QEMU program."""
    done = qhang("verify", tmp_path)
    assert done.returncode == FAILED and "no QEMU program" in done.stderr


def test_damaged(faulty: Path, tmp_path: Path) -> None:
    """Cut short or with bytes changed, it is never called safe, and qhang
    never falls over it."""
    dice = random.Random(1)
    good = faulty.read_bytes()
    path = tmp_path / "damaged"
    for _ in range(MUTATIONS):
        data = bytearray(good)
        if dice.random() < 0.3:
            del data[dice.randrange(len(data)):]
        for _ in range(dice.choice((1, 8, 64))):
            if data:
                data[dice.randrange(min(len(data), dice.choice(
                    (64, 1024, len(good)))))] = dice.randrange(256)
        path.write_bytes(data)
        done = qhang("verify", path)
        assert done.returncode in (VULNERABLE, UNDETERMINED), done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission(tmp_path: Path) -> None:
    """A file that may not be read is named."""
    path = tmp_path / "secret"
    path.touch(mode=0)
    assert qhang("verify", path).returncode == FAILED


def test_usage() -> None:
    """No path, or two."""
    assert qhang("verify").returncode == USAGE
    assert qhang("verify", "a", "b").returncode == USAGE
