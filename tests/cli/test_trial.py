"""qhang verify --race and --stress: what the driver may do to it.

SPDX-License-Identifier: GPL-2.0-or-later

The driver is replaced here ($QHANG_RACE); tests/lab/test_trial.py has the real
one on real QEMUs.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import CHECKOUT, QHANG, qhang, wait_until

sys.path.insert(0, str(CHECKOUT / "gdbscripts"))

# pylint: disable=wrong-import-position
from race import stress as race_stress
from race.trial import (NO_FINDING, SAFE, UNDETERMINED, UNEXAMINED, VULNERABLE,
                        Tally, race_verdict, rounds_for, stress_verdict)

STATUS_SAFE, STATUS_VULNERABLE, STATUS_UNDETERMINED, USAGE = 0, 1, 2, 64
SCHEMA = json.loads((CHECKOUT / "docs/qhang-verify-1.json").read_text())
# Any ELF program; what the code says of it does not matter here.
PROGRAM = Path("/bin/true").resolve()
RACES = ("race.wake-before-arm", "race.erased", "race.graph-unlock")
CALM = {"verdict": "safe", "where": None, "why": "it went on", "rounds": 3,
        "hung": 0, "agreed": 0, "late": 0, "seconds": 1.5, "at_most": None}
STUCK = {**CALM, "verdict": "vulnerable", "where": "f+0x3 (0x1234)",
         "why": "it hung", "hung": 3, "agreed": 2}
BEGIN = """
import json, os, signal, sys, time
told = sys.argv[1:]
checks = [b for a, b in zip(told, told[1:]) if a == "--check"]
work = told[told.index("--work") + 1]
def say(message):
    print(message if isinstance(message, str) else json.dumps(message),
          flush=True)
"""


@pytest.fixture(name="driver")
def fixture_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a driver with this body in place of the real one."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("QHANG_RACE", str(tmp_path / "driver.py"))

    def put(body: str) -> Path:
        (tmp_path / "driver.py").write_text(BEGIN + body)
        return temporary

    return put


def verify(*args: "str | Path") -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and the checks of a valid report by their names."""
    done = qhang("verify", "--json", *args)
    assert done.stderr == "", done.stderr
    report = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return done.returncode, {c["name"]: c for c in report["checks"]}


def results(**by_name: dict[str, Any]) -> str:
    """A driver's body that gives these results."""
    return "".join(f"say({ {'result': name, **what}!r})\n"
                   for name, what in by_name.items())


def all_races(what: dict[str, Any]) -> str:
    """A driver's body that gives the same result for each race."""
    return results(**{name: what for name in RACES})


def test_results(driver: Any, tmp_path: Path) -> None:
    """What the driver found is in every form of the report."""
    temporary = driver("assert checks == ['race.wake-before-arm=3', "
                       "'race.erased=3', 'race.graph-unlock=3', 'stress=3']\n"
                       + results(**{RACES[0]: STUCK, RACES[1]: CALM,
                                    RACES[2]: CALM, "stress": {
                                        **CALM, "at_most": 0.632}}))
    status, checks = verify("--race", "--stress", "3", "--junit",
                            tmp_path / "x.xml", PROGRAM)
    assert status == STATUS_VULNERABLE
    check = checks[RACES[0]]
    assert (check["verdict"], check["where"], check["why"]) == (
        "vulnerable", "f+0x3 (0x1234)", "it hung")
    assert check["trial"] == {"rounds": 3, "hung": 3, "agreed": 2, "late": 0,
                              "seconds": 1.5, "at_most": None}
    assert checks["stress"]["trial"]["at_most"] == 0.632
    assert checks["sleep-wake"]["trial"] is None
    suite = ElementTree.parse(tmp_path / "x.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("7", "1")
    text = qhang("verify", "--race", "--stress", "3", PROGRAM).stdout
    assert text.startswith("VULNERABLE  ")
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines()
               if line.split()[:1] == [RACES[0]])
    assert row.split()[1:] == ["3", "3", "2", "0", "0.5"]
    assert not list(temporary.iterdir())


def test_only_what_is_asked_for(driver: Any) -> None:
    """The number of rounds is handed on; the other trial is not made."""
    driver("assert checks == ['stress=70']\n"
           + results(stress={**CALM, "rounds": 70}))
    status, checks = verify("--stress", "70", PROGRAM)
    assert status == STATUS_UNDETERMINED  # by the code, of which there is none
    assert checks["stress"]["verdict"] == "safe" and RACES[0] not in checks


@pytest.mark.parametrize("line", [
    "rubbish", "", "{", "[]", "3", "null", '{"progress": "race.erased"}',
    '{"progress": "race.erased", "done": 4, "of": 3}',
    '{"progress": "race.other", "done": 1, "of": 3}',
    '{"progress": 1, "done": 1, "of": 3}', "[" * 100000, "x" * 100000,
    "\0", *(json.dumps({"result": "race.erased", **CALM, **wrong})
            for wrong in (
                {"verdict": "fine"}, {"verdict": None}, {"verdict": "absent"},
                {"why": ""}, {"why": None}, {"why": "x" * 3000}, {"where": 3},
                {"rounds": 2}, {"rounds": 4}, {"rounds": -1}, {"rounds": 2.5},
                {"rounds": 2**70}, {"hung": 1}, {"hung": 4}, {"agreed": 1},
                {"late": -1}, {"seconds": -1}, {"seconds": "1"},
                {"seconds": 1e300}, {"at_most": 2}, {"at_most": "x"},
                {"verdict": "vulnerable"}, {"result": "stress"},
                {"result": "race.erasedx"}))])
def test_rubbish(driver: Any, line: str) -> None:
    """What is no result, or contradicts itself, makes nothing safe; what came
    before it stands."""
    temporary = driver(results(**{RACES[0]: CALM}) + f"say({line!r})\n"
                       + results(**{RACES[1]: CALM, RACES[2]: CALM})
                       + "time.sleep(600)\n")
    status, checks = verify("--race", PROGRAM)
    assert status == STATUS_UNDETERMINED
    assert checks[RACES[0]]["verdict"] == "safe"
    for name in RACES[1:]:
        assert checks[name]["verdict"] == "undetermined"
        assert "said what is no result" in checks[name]["why"]
    assert not list(temporary.iterdir())


def test_endless_progress(driver: Any) -> None:
    """A driver that only ever tells of progress is not listened to for
    ever."""
    driver("while True: say({'progress': 'stress', 'done': 1, 'of': 5})")
    _, checks = verify("--stress", "5", PROGRAM)
    assert "no result" in checks["stress"]["why"]


@pytest.mark.parametrize("body, why", [
    ("pass", "ended with status 0"),
    ("sys.exit(3)", "ended with status 3"),
    ("sys.stderr.write('x' * 100000 + '\\nlast words\\n'); sys.exit(1)",
     "ended with status 1: last words"),
    ("1 // 0", "ended with status 1: ZeroDivisionError"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
    ("os.close(1); os.kill(os.getpid(), signal.SIGSEGV)",
     "killed by signal 11"),
])
def test_death(driver: Any, body: str, why: str) -> None:
    """A driver that ends early, and how, is told."""
    temporary = driver(results(**{RACES[0]: CALM}) + body)
    status, checks = verify("--race", PROGRAM)
    assert status == STATUS_UNDETERMINED
    assert checks[RACES[0]]["verdict"] == "safe"
    for name in RACES[1:]:
        assert checks[name]["verdict"] == "undetermined"
        assert why in checks[name]["why"]
        assert checks[name]["trial"]["rounds"] == 0
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("begin", [
    "", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"])
def test_silence(driver: Any, monkeypatch: pytest.MonkeyPatch,
                 begin: str) -> None:
    """A driver that says nothing any more is ended, with what it began."""
    temporary = driver(
        begin + "import subprocess\nchild = subprocess.Popen(['sleep', '600'])"
        "\nopen(os.path.dirname(sys.argv[0]) + '/pid', 'w').write("
        "str(child.pid))\ntime.sleep(600)\n")
    told = temporary.parent / "pid"
    # On a busy machine it may not even have begun within the first limits.
    for limit in ("1", "5", "25", "100"):
        monkeypatch.setenv("QHANG_RACE_LIMIT", limit)
        status, checks = verify("--race", PROGRAM)
        assert status == STATUS_UNDETERMINED
        assert f"said nothing for {limit} s" in checks["race.erased"]["why"]
        assert not list(temporary.iterdir())
        if told.exists() and told.read_text():
            break
    pid = int(told.read_text())
    wait_until(lambda: gone(pid), "its child has ended")


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rsplit(")", 1)[1].split()[0] == "Z"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM,
                                    signal.SIGHUP])
def test_signal(driver: Any, tmp_path: Path, signum: signal.Signals) -> None:
    """Interrupted, it ends by that signal; before, the driver may clean up,
    and all that it began has ended."""
    os.mkfifo(tmp_path / "ready")
    temporary = driver(
        "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
        "here = os.path.dirname(sys.argv[0])\n"
        "def end(*_):\n    open(here + '/cleaned', 'w').close()\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open(work + '/left', 'w').close()\n"
        "open(here + '/ready', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n")
    with subprocess.Popen([QHANG, "verify", "--race", PROGRAM],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(
                              signum, signal.SIG_DFL)) as process:
        pid = int((tmp_path / "ready").read_text())
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-signum, b"", b"")
    assert (tmp_path / "cleaned").exists()
    wait_until(lambda: gone(pid), "the driver's child has ended")
    assert not list(temporary.iterdir())


def test_no_python(driver: Any, monkeypatch: pytest.MonkeyPatch,
                   tmp_path: Path) -> None:
    """What is missing is named."""
    driver("")
    monkeypatch.setenv("PATH", str(tmp_path))
    status, checks = verify("--race", PROGRAM)
    assert status == STATUS_UNDETERMINED
    assert "python3 is not installed" in checks["race.erased"]["why"]


def test_one_reason_for_all(driver: Any) -> None:
    """In the text, races with the same reason share a paragraph."""
    driver("sys.exit(7)")
    text = qhang("verify", "--race", PROGRAM).stdout
    assert text.count("status 7") == 1
    assert "race      wake-before-arm, erased, graph-unlock, undetermined:" \
        in text


def test_no_room(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in that is not there."""
    driver("")
    monkeypatch.setenv("TMPDIR", "/no/such/folder")
    _, checks = verify("--stress", "3", PROGRAM)
    assert "no folder to work in" in checks["stress"]["why"]


def test_not_run(driver: Any, tmp_path: Path) -> None:
    """What is no program for x86-64 is not run, not even by its name."""
    driver("open(os.path.dirname(sys.argv[0]) + '/ran', 'w')\n")
    script = tmp_path / "qemu-storage-daemon"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    status, checks = verify("--race", script)
    assert status == STATUS_UNDETERMINED
    assert "no ELF" in checks["race.erased"]["why"]
    assert not (tmp_path / "ran").exists()


def test_build_folder(driver: Any, tmp_path: Path) -> None:
    """Of a build folder, those are tried that can be; each by its path."""
    folder = tmp_path / "build"
    (folder / "storage-daemon").mkdir(parents=True)
    for name in ("qemu-img", "qemu-system-x86_64",
                 "storage-daemon/qemu-storage-daemon"):
        shutil.copy(PROGRAM, folder / name)
    driver("why = told[told.index('--program') + 1]\n"
           + all_races(CALM).replace("'it went on'", "why"))
    done = qhang("verify", "--json", "--race", "build", cwd=tmp_path)
    tried = {Path(p["path"]).name: p["checks"][3:]
             for p in json.loads(done.stdout)["programs"]}
    assert tried["qemu-img"] == []
    for name in ("qemu-system-x86_64", "qemu-storage-daemon"):
        assert {Path(c["why"]) for c in tried[name]} <= {
            folder / name, folder / "storage-daemon" / name}


def test_program_of_a_process(driver: Any, tmp_path: Path) -> None:
    """A process's program is tried as the very file, also when it is gone."""
    copy = tmp_path / "sleeper"
    shutil.copy(shutil.which("sleep") or "", copy)
    driver("why = told[told.index('--program') + 1]\n"
           + all_races(CALM).replace("'it went on'", "why"))
    with subprocess.Popen([copy, "600"]) as process:
        copy.unlink()
        _, checks = verify("--race", str(process.pid))
        process.kill()
    assert checks["race.erased"]["why"] == f"/proc/{process.pid}/exe"


def test_progress_bar(driver: Any) -> None:
    """On a terminal a bar grows and is gone at the end; else there is none."""
    driver("for i in range(4):\n    say({'progress': 'race.erased', "
           "'done': i, 'of': 3})\n" + all_races(CALM))
    ours, theirs = pty.openpty()
    with subprocess.Popen([QHANG, "verify", "--race", PROGRAM], stderr=theirs,
                          stdout=subprocess.DEVNULL) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                got = os.read(ours, 4096)
            except OSError:  # its end, on a terminal
                break
            told += got
    os.close(ours)
    assert process.returncode == STATUS_UNDETERMINED
    shown = told.decode().split("\r\x1b[K")
    assert [line.split("]")[1].strip() for line in shown if "]" in line] == [
        "0 of 3", "1 of 3", "2 of 3", "3 of 3"]
    assert [line.count("#") for line in shown if "]" in line] == [0, 10, 20,
                                                                  30]
    assert shown[-1] == ""


@pytest.mark.parametrize("args", [
    ["--race=0"], ["--race="], ["--race=x"], ["--race=-1"], ["--race=1001"],
    ["--race=99999999999"], ["--stress", "0"], ["--stress", "1.5"],
    ["--stress", "100001"], ["--stress"]])
def test_usage(driver: Any, args: list[str]) -> None:
    """A number of rounds that is none is refused before anything is run."""
    driver("open(os.path.dirname(sys.argv[0]) + '/ran', 'w')\n")
    done = qhang("verify", PROGRAM, *args)
    assert done.returncode == USAGE and done.stdout == ""
    assert "number from 1 to" in done.stderr or "argument" in done.stderr


# The driver's own judgement.

def tally(check: str, rounds: int, hung: int = 0, agreed: int = 0,
          misses: int = 0, **rules: int) -> Tally:
    """Counts as they may come out."""
    found = Tally(check, rounds + misses, rounds, hung, agreed)
    found.misses = ["not reached"] * misses
    for name, count in rules.items():
        found.rules[name] = count
    return found


@pytest.mark.parametrize("found, verdict", [
    (tally("race.erased", 3), SAFE),
    (tally("race.erased", 3, 3, 3), VULNERABLE),
    (tally("race.erased", 3, 1, 1), VULNERABLE),
    (tally("race.erased", 3, 3, 0), UNDETERMINED),
    (tally("race.erased", 2, misses=1), UNDETERMINED),
    (tally("race.erased", 0, misses=2), UNDETERMINED),
    (tally("race.erased", 1, 1, 1, misses=1), VULNERABLE),
])
def test_race_verdict(found: Tally, verdict: str) -> None:
    """Safe only when each round was forced and went on; vulnerable only by
    the fault that was forced."""
    told, why = race_verdict(found)
    assert told == verdict
    assert ("not reached" in why) == bool(found.misses)


@pytest.mark.parametrize("found, verdict, why", [
    (tally("stress", 60), SAFE, "0 of 60 rounds hung: below 5 % at 95 %"),
    (tally("stress", 300), SAFE, "below 1.0 % at 95 %"),
    (tally("stress", 58), UNDETERMINED, "59 rounds would say below 5 %"),
    (tally("stress", 0, misses=1), UNDETERMINED, "not reached"),
    (tally("stress", 70, misses=1), UNDETERMINED, "not reached"),
    (tally("stress", 20, 11, 11), VULNERABLE,
     "11 of 20 rounds hung: below 75 % at 95 %"),
    (tally("stress", 20, 2, 0, **{UNEXAMINED: 2}), VULNERABLE,
     "not examined 2 times"),
    (tally("stress", 20, 1, 0, **{NO_FINDING: 1}), UNDETERMINED,
     "no finding once"),
])
def test_stress_verdict(found: Tally, verdict: str, why: str) -> None:
    """So many clean rounds as leave room for 5 % are safe, fewer are not."""
    told, reason = stress_verdict(found)
    assert told == verdict and why in reason


def test_rounds_for() -> None:
    """The rule of three, exactly."""
    assert [rounds_for(share) for share in (0.5, 0.05, 0.01)] == [5, 59, 299]


def test_own_stressors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without stress-ng, processes of our own keep CPUs busy, and end."""
    monkeypatch.setattr(race_stress.shutil, "which", lambda _: None)
    with race_stress.Stress(600, 2) as stress:
        pid = stress._process.pid  # pylint: disable=protected-access
        workers = [int(child) for child in Path(
            f"/proc/{pid}/task/{pid}/children").read_text().split()]
        assert len(workers) == 2 and stress.running()
    assert not stress.running()
    for worker in workers:
        wait_until(lambda: gone(worker), "the worker has ended")
