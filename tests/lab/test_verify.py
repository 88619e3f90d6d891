"""qhang verify on real QEMUs: Debian's own, and the lab's, stripped too.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import build as lab_build
import stockdebs
from labapt import SourceMissing
from labqhang import Verdicts, qhang_program, verify

SAFE, VULNERABLE = 0, 1


def truth(version: str) -> Verdicts:
    """What is known of a version: LAB.md's and QEMU's own history.

    Both were repaired in 10.0.13 and 11.1; the graph lock is of 8.0.
    """
    found = re.match(r"1:(\d+)\.(\d+)(?:\.(\d+))?", version)
    assert found, version
    number = tuple(int(part or 0) for part in found.groups())
    repaired = number >= (11, 1) or (10, 0, 13) <= number < (10, 1)
    sleep = "safe" if repaired else "vulnerable"
    return {"sleep-wake": sleep, "sleep-arm": sleep,
            "graph-unlock": "absent" if number < (8, 0) else sleep}


@pytest.mark.parametrize("suite", stockdebs.SUITES)
def test_stock(lab: Path, suite: str) -> None:
    """Debian's stripped programs: each check, each program."""
    try:
        version, folder = stockdebs.fetch(lab, suite)
    except SourceMissing as missing:
        pytest.skip(f"not to be had: {missing}")
    wanted = truth(version)
    for name in stockdebs.PROGRAMS:
        status, verdicts, _ = verify(folder / name)
        assert (name, verdicts) == (name, wanted), version
        assert status == (VULNERABLE if "vulnerable" in wanted.values()
                          else SAFE)


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("build, sleep, graph", [
    ("stock", "vulnerable", "vulnerable"),
    ("graphfix", "vulnerable", "safe"),
    ("fixed", "safe", "safe"),
])
def test_lab(lab: Path, tmp_path: Path, build: str, sleep: str, graph: str,
             stripped: bool) -> None:
    """The lab's own builds, with every name and with none."""
    for program in ("qemu-img", "qemu-storage-daemon"):
        path = lab / "bin" / build / program
        if stripped:
            path = tmp_path / program
            subprocess.run(["strip", "-o", path, lab / "bin" / build /
                            program], check=True)
        status, verdicts, report = verify(path)
        assert verdicts == {"sleep-wake": sleep, "sleep-arm": sleep,
                            "graph-unlock": graph}
        assert status == (SAFE if sleep == graph == "safe" else VULNERABLE)
        named = {user["what"] for user in report["users"]}
        if not stripped:
            assert {"qcow2 cache cleaner", "block-copy",
                    "co-timeout"} <= named


def sessions() -> list[tuple[str, str]]:
    """The command and the output of each session in docs/verify.md."""
    text = (lab_build.CHECKOUT / "docs/verify.md").read_text()
    found = re.findall(r"```\n\$ (qhang verify [^\n]*)\n(.*?)```", text, re.DOTALL)
    assert len(found) == 4
    return found


def plain(text: str) -> list[str]:
    """Without what differs from build to build and from run to run:
    addresses, operands, late answers and seconds."""
    lines = [re.sub(r"\b(0x)?[0-9a-f]{4,}\b", "ADDRESS", line)
             for line in text.splitlines()]
    lines = [re.sub(r" +\d+ +\d+\.\d$", "", line) for line in lines]
    return [re.sub(r"(ADDRESS  [a-z ]+) .*", r"\1", line) for line in lines]


@pytest.mark.parametrize("command, output", sessions())
def test_documented_session(lab: Path, command: str, output: str) -> None:
    """docs/verify.md shows what is printed."""
    done = subprocess.run([qhang_program(), *command.split()[1:]],
                          check=False, text=True, cwd=lab / "bin",
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert plain(done.stdout) == plain(output)
