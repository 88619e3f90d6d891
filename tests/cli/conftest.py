"""What the tests of the program share: qhang, victims, cores, the schema.

SPDX-License-Identifier: GPL-2.0-or-later

$QHANG_BUILD is the build folder (default build/), $QHANG the program when it is
not the one in there; $QHANG_UNDER is put in front of every qhang that is run
(valgrind).
"""

from __future__ import annotations

import json
import os
import resource
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

import jsonschema
import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("QHANG_BUILD") or CHECKOUT / "build").absolute()
QHANG = Path(os.environ.get("QHANG") or BUILD / "collector/qhang").absolute()
VICTIMS = BUILD / "tests/victims"
SCHEMA = json.loads((CHECKOUT / "docs/qhang-report-1.json").read_text())

NOBODY = 65534
CLEAN, FINDING, INCOMPLETE, FAILED, USAGE = 0, 1, 2, 3, 64
# A sanitizer or valgrind that has something to say exits with another one.
VERDICTS = (CLEAN, FINDING, INCOMPLETE, FAILED)
LIMIT_S = 120
# Why a thread of a busy host is not read, and how often it is tried.
UNSTOPPED = "did not get to a CPU"
MOST_LOOKS = 5

JOURNAL = Path("/run/systemd/journal/socket")
WITHOUT_JOURNAL = ["unshare", "-m", "--propagation", "private", "sh", "-c",
                   f'mount -t tmpfs none {JOURNAL.parent} && exec "$@"', "sh"]


def under() -> list[str]:
    """What qhang is run with; where there is a journal, without it, so that
    what it would tell there comes on stderr."""
    return [*(WITHOUT_JOURNAL if JOURNAL.exists() else []),
            *shlex.split(os.environ.get("QHANG_UNDER", ""))]


def qhang(*args: str | Path, **kwargs: Any) -> subprocess.CompletedProcess:
    """Runs qhang to its end; a hang of it fails the test."""
    kwargs.setdefault("stdout", subprocess.PIPE)
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    argv = [*under(), str(QHANG), *map(str, args)]
    done = subprocess.run(argv, stderr=subprocess.PIPE, timeout=LIMIT_S,
                          encoding="utf-8", errors="surrogateescape",
                          **kwargs)
    print(f"$ {shlex.join(argv)}\n{done.stdout or ''}{done.stderr}"
          f"exit {done.returncode}")
    return done


def report(*args: str | Path) -> dict[str, Any]:
    """The JSON report of a diagnosis, valid, with `status` added to it.

    A thread that gets to no CPU in time, as may be on a busy host or under
    valgrind, cannot be stopped, and the report says so; then it is asked for
    again, a few times.
    """
    for _ in range(MOST_LOOKS):
        told = report_once(*args)
        if not any(UNSTOPPED in gap["reason"] for gap in told["incomplete"]):
            break
    return told


def report_once(*args: str | Path) -> dict[str, Any]:
    """The same, whatever the host is at."""
    done = qhang("diagnose", "--json", *args)
    assert done.returncode in (CLEAN, FINDING, INCOMPLETE), done.stderr
    assert done.stderr == ""
    told = json.loads(done.stdout)
    validate(told)
    if done.returncode == FINDING:
        assert told["findings"]
    else:
        assert not told["findings"]
        assert told["complete"] == (done.returncode == CLEAN)
    return {**told, "status": done.returncode}


def validate(told: Any) -> None:
    """Raises unless `told` is a report as docs/ says."""
    jsonschema.Draft202012Validator(SCHEMA).validate(told)


def refuses(status: int, *args: str | Path, words: tuple[str, ...] = (),
            **kwargs: Any) -> str:
    """Asserts that qhang refuses: that status, nothing on stdout, on stderr
    what failed (each of `words` in it) and what to try. Gives stderr back."""
    done = qhang(*args, **kwargs)
    assert done.returncode == status
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith("qhang: ")
    assert lines[-1].startswith("  try   ")
    assert len(lines) <= 3
    for word in words:
        assert word.lower() in done.stderr.lower()
    return done.stderr


def task_states(pid: int) -> dict[int, str]:
    """The state letter of each thread, by tid."""
    states = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        stat = (task / "stat").read_bytes()
        states[int(task.name)] = stat.rsplit(b")", 1)[1].split()[0].decode()
    return states


def traced_by(pid: int) -> set[int]:
    """The tracers of a process's threads; {0} when nobody traces it."""
    tracers = set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text(errors="replace").splitlines():
            if line.startswith("TracerPid:"):
                tracers.add(int(line.split()[1]))
    return tracers


class Victim:
    """A victim in its scenario. It ends with this object, or with us: the end
    of its stdin tells it."""

    def __init__(self, scenario: str, *args: str, program: str = "victim",
                 cwd: Path | None = None,
                 executable: Path | None = None,
                 before: list[str] | None = None) -> None:
        # `before`: a command line that ends with the program to run.
        argv = [*(before or [str(executable or VICTIMS / program)]),
                "--scenario", scenario, *args]
        self.child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=cwd,
            preexec_fn=self._allow_core if cwd else None)
        line = self.read_line(60)
        if not line.startswith("ready "):
            _, told = self.child.communicate(timeout=10)
            if self.child.returncode == 77:
                pytest.skip(f"victim {scenario}: {told.strip()}")
            pytest.fail(f"victim {scenario}: {line}{told}")
        words = line.split()
        counts = dict(word.split("=") for word in words[2:])
        self.pid = int(words[1])
        self.in_use = int(counts["coroutines"])
        self.pooled = int(counts["pooled"])

    @staticmethod
    def _allow_core() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,
                                                  resource.RLIM_INFINITY))

    def read_line(self, limit_s: float) -> str:
        """The next line, or "" when none comes within the limit."""
        assert self.child.stdout
        ready, _, _ = select.select([self.child.stdout], [], [], limit_s)
        return self.child.stdout.readline() if ready else ""

    def __enter__(self) -> "Victim":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.communicate()

    def gcore(self, folder: Path) -> Path:
        """A core that gdb's gcore writes; the victim lives on."""
        subprocess.run(["gcore", "-o", folder / "core", str(self.pid)],
                       check=True, capture_output=True, timeout=LIMIT_S)
        return folder / f"core.{self.pid}"

    def kernel_core(self, folder: Path) -> Path:
        """A core that the kernel writes; it is the victim's end. `folder` must
        be its working folder."""
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if pattern.startswith("|") or "/" in pattern:
            pytest.skip(f"core_pattern takes cores elsewhere: {pattern}")
        # Not SIGQUIT: a shell that ran us in the background ignores it.
        self.child.send_signal(signal.SIGABRT)
        self.child.wait(LIMIT_S)
        cores = list(folder.glob("*core*"))
        assert len(cores) == 1, "the kernel wrote no core"
        return cores[0]


def wait_until(holds: Any, what: str, limit_s: float = 30) -> None:
    """Looks every few milliseconds until `holds()`."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def fixture_no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Cores are large: each test's folder goes when the test ends."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(name="sleeper")
def sleeping_process() -> Iterator[subprocess.Popen]:
    """A process that is no QEMU, asleep."""
    child = subprocess.Popen(["sleep", "600"])
    wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_text().strip()
               == "sleep", "sleep runs")
    yield child
    child.kill()
    child.wait()


@pytest.fixture(name="open_folder")
def folder_for_anybody() -> Iterator[Path]:
    """A folder that another user can reach, with a copy of qhang in it."""
    folder = Path(tempfile.mkdtemp(prefix="qhang-test-"))
    folder.chmod(0o755)
    shutil.copy(QHANG, folder)
    yield folder
    shutil.rmtree(folder)


def as_nobody(argv: list[str | Path]) -> subprocess.CompletedProcess:
    """Runs a program as a user that owns nothing."""
    return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                           "--clear-groups", "--", *argv], text=True,
                          capture_output=True, timeout=60)
