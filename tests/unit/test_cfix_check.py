"""cfix-check: all verdicts, the mutants, replays, and its command line.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CHECK = Path(os.environ["QHANG_BUILD"]) / "cfix/check/cfix-check"
MUTANTS_PY = CHECKOUT / "cfix/check/mutants.py"


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """cfix-check with these arguments; hanging is failing."""
    return subprocess.run([str(CHECK), *args], check=False, text=True,
                          capture_output=True, timeout=240)


@pytest.fixture(name="report", scope="module")
def report_of_all() -> dict[str, Any]:
    """What --all --json prints."""
    done = run("--all", "--json")
    report: dict[str, Any] = json.loads(done.stdout)
    wrong = [r for r in report["results"]
             if (r["verdict"], r["violation"])
             != (r["expected"], r["expected_violation"])]
    assert (done.returncode, wrong) == (0, [])
    return report


def chosen(report: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The results whose names begin so; there must be some."""
    found = [r for r in report["results"] if r["name"].startswith(prefix)]
    assert found, prefix
    return found


def test_the_report_is_valid(report: dict[str, Any]) -> None:
    schema = json.loads(
        (CHECKOUT / "docs/cfix-check-1.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(report)


@pytest.mark.parametrize("prefix", ["sleep/fixed/", "sleep/qemu/",
                                    "graph/fixed/"])
def test_the_fixed_sources_lose_nothing(report: dict[str, Any],
                                        prefix: str) -> None:
    for result in chosen(report, prefix):
        assert result["verdict"] == "EXHAUSTED", result
        assert result["schedules"] > 0, result


def test_the_drop_in_is_the_fixed_sleep_step_by_step(
        report: dict[str, Any]) -> None:
    """Written twice, in this project's terms and in QEMU's: as many schedules
    in every program and model."""
    ours = {r["name"].split("/", 2)[2]: r["schedules"]
            for r in chosen(report, "sleep/fixed/")}
    assert ours == {r["name"].split("/", 2)[2]: r["schedules"]
                    for r in chosen(report, "sleep/qemu/")}


def test_the_faulty_sleep_loses_in_both_ways(report: dict[str, Any]) -> None:
    found = {r["violation"] for r in chosen(report, "sleep/legacy/")}
    assert {"heals by timer", "deadlock"} <= found
    for name in ("sleep/legacy/wake-timer/sc", "sleep/legacy/split-wake/sc"):
        assert chosen(report, name)[0]["seconds"] < 1.0


def test_the_faulty_graph_lock_deadlocks(report: dict[str, Any]) -> None:
    for result in chosen(report, "graph/legacy/"):
        assert result["violation"] == "deadlock", result


def test_every_mutant_dies_by_its_name(report: dict[str, Any]) -> None:
    names = subprocess.run([sys.executable, str(MUTANTS_PY), "names"],
                           check=True, text=True,
                           stdout=subprocess.PIPE).stdout.split()
    killed = {r["mutant"] for r in chosen(report, "mutant/")
              if r["violation"] == r["expected_violation"]}
    assert len(names) >= 12
    assert killed == set(names)


def test_the_models_are_as_weak_as_they_should_be(
        report: dict[str, Any]) -> None:
    reached = {r["name"] for r in chosen(report, "litmus/")
               if r["verdict"] == "VIOLATION"}
    assert "litmus/store-buffering/sc" not in reached
    assert {"litmus/store-buffering/tso", "litmus/store-buffering/c11",
            "litmus/message-passing/c11", "litmus/iriw/c11"} <= reached
    assert "litmus/message-passing/tso" not in reached


def test_each_violation_can_be_replayed(report: dict[str, Any]) -> None:
    for result in report["results"]:
        if result["verdict"] != "VIOLATION":
            assert result["replay"] is None
            continue
        done = run("--replay", f"{result['name']}:{result['replay']}")
        assert done.returncode == 0, (result, done.stdout)
        assert f"VIOLATION ({result['violation']})" in done.stdout
        assert result["message"] in done.stdout


def test_a_trace_has_a_line_a_step() -> None:
    done = run("sleep/legacy/split-wake/sc")
    lines = done.stdout.splitlines()
    replay = next(line for line in lines if line.startswith("replay: "))
    choices = replay.rsplit(":", 1)[1]
    steps = [line.split()[0] for line in lines if line[:4].strip().isdigit()]
    assert steps == [str(i + 1) for i in range(len(choices))]
    assert any("sleeper" in line and "waker" in line for line in lines)


def test_a_replay_that_violates_nothing_is_not_as_expected() -> None:
    assert run("--replay", "sleep/legacy/split-wake/sc:a").returncode == 1
    assert run("--replay", "sleep/legacy/split-wake/sc:dddd").returncode == 1


@pytest.mark.parametrize("args", [[], ["no/such/check"], ["--replay", "x"],
                                  ["--nonsense"]])
def test_misuse_is_told(args: list[str]) -> None:
    done = run(*args)
    assert done.returncode == 64
    assert done.stderr


def test_the_documented_mutants_are_these() -> None:
    table = subprocess.run([sys.executable, str(MUTANTS_PY), "table"],
                           check=True, text=True,
                           stdout=subprocess.PIPE).stdout
    assert table in (CHECKOUT / "docs/cfix.md").read_text(encoding="utf-8")
