"""The closing line of a test run: nothing that went wrong may be lost in it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

TESTS = Path(__file__).resolve().parent.parent


class Run:
    """A test run of its own: records programs, then adds them up."""

    def __init__(self, folder: Path) -> None:
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith(("QHANG_", "PYTEST_", "CMOCKA_"))}
        self.env["QHANG_RESULTS"] = str(folder)
        self.folder = folder

    def record(self, *argv: str) -> int:
        """Calls record.py; returns its exit status."""
        return subprocess.run([sys.executable, TESTS / "record.py", *argv],
                              env=self.env, check=False,
                              capture_output=True).returncode

    def tally(self) -> tuple[str, str, int]:
        """The closing line, what stands above it, and the exit status."""
        done = subprocess.run([sys.executable, TESTS / "tally.py",
                               self.folder], check=False,
                              capture_output=True, text=True)
        assert done.stderr == ""
        *above, last = done.stdout.splitlines()
        return last, "\n".join(above), done.returncode


@pytest.fixture(name="run")
def make_run(tmp_path: Path) -> Run:
    """An empty run."""
    return Run(tmp_path / "results")


@pytest.mark.parametrize("script, limit, expected, text", [
    ("exit 0", None, "1 passed, 0 failed, 0 skipped", ""),
    ("exit 3", None, "0 passed, 1 failed, 0 skipped", "exit status 3"),
    ("kill -SEGV $$", None, "0 passed, 1 failed, 0 skipped",
     "exit status 139"),
    ("kill -KILL $PPID", None, "0 passed, 1 failed, 0 skipped",
     "killed before its end"),
    ("echo no such kernel; exit 77", None, "0 passed, 0 failed, 1 skipped",
     "no such kernel"),
    ("sleep 60", "1", "0 passed, 1 failed, 0 skipped", "time limit"),
])
def test_program(run: Run, script: str, limit: Optional[str], expected: str,
                 text: str) -> None:
    """A program without a JUnit file is one test."""
    run.record(*(["--limit", limit] if limit else []), "--", "sh", "-c",
               script)
    last, above, status = run.tally()
    assert last == expected
    assert text in above
    assert status == (0 if expected.startswith("1") else 1)


def test_pytest_cases_count_singly(run: Run, tmp_path: Path) -> None:
    """Cases count, not files; the failed one can be repeated by itself."""
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "@pytest.mark.parametrize('n', ['a b'])\n"
        "def test_bad(n): assert n == 'never'\n"
        "def test_left(): pytest.skip('the moon is down')\n")
    run.record("--", sys.executable, "-m", "pytest", "-c",
               str(TESTS / "pytest.ini"), str(tmp_path))
    last, above, status = run.tally()
    assert last == "1 passed, 1 failed, 1 skipped"
    assert status == 1
    assert "the moon is down" in above
    assert "test_bad[a b]" in above.split("repeat:")[1]


def test_failure_outside_of_cases_counts(run: Run, tmp_path: Path) -> None:
    """All cases passed, and then the program ended badly."""
    script = tmp_path / "program"
    script.write_text(
        "#!/bin/sh\n"
        "echo '<testsuites><testsuite name=\"s\"><testcase name=\"t\"/>"
        "</testsuite></testsuites>' >\"${CMOCKA_XML_FILE%%%g.xml}s.xml\"\n"
        "exit 9\n")
    script.chmod(0o755)
    assert run.record("--", str(script)) == 9
    assert run.tally()[0] == "1 passed, 1 failed, 0 skipped"


def test_torn_report_counts(run: Run, tmp_path: Path) -> None:
    """A report that ends in the middle is a failure."""
    script = tmp_path / "program"
    script.write_text("#!/bin/sh\n"
                      "echo '<testsuites>' >\"$CMOCKA_XML_FILE\"\n")
    script.chmod(0o755)
    run.record("--", str(script))
    assert run.tally()[0] == "0 passed, 1 failed, 0 skipped"


def test_step(run: Run) -> None:
    """A step counts when it fails, and once only."""
    run.record("--kind", "step", "--", "true")
    assert run.tally()[::2] == ("0 passed, 0 failed, 0 skipped", 1)
    run.record("--kind", "step", "--name", "make it", "--", "false")
    last, above, _ = run.tally()
    assert last == "0 passed, 1 failed, 0 skipped"
    assert "FAILED make it" in above


def test_suite(run: Run) -> None:
    """A suite fails when empty; a failed test of its own explains it."""
    record = f"{sys.executable} {TESTS}/record.py --"
    run.record("--kind", "suite", "--name", "empty", "--", "true")
    last, above, _ = run.tally()
    assert last == "0 passed, 1 failed, 0 skipped"
    assert "ran no test" in above
    run.record("--kind", "suite", "--", "sh", "-c",
               f"{record} true; {record} false; exit 1")
    assert run.tally()[0] == "1 passed, 2 failed, 0 skipped"


def test_left_over_process_keeps_nobody_waiting(run: Run) -> None:
    """A child that lives on with the output open does not stop the run."""
    script = "sleep 30 & echo $!; exit 0"
    assert run.record("--limit", "20", "--", "sh", "-c", script) == 0
    record = next(run.folder.glob("*/output"))
    os.kill(int(record.read_text()), 9)
    assert run.tally()[0] == "1 passed, 0 failed, 0 skipped"
