"""Every JSON report is as docs/qhang-report-1.json says; nothing else is.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import copy
import json
import subprocess
from typing import Any, Iterator

import jsonschema
import pytest
from conftest import BUILD, SCHEMA, validate

EMIT = BUILD / "tests/unit/report_emit"
WORLDS = subprocess.run([EMIT, "--list"], check=True, capture_output=True,
                        text=True).stdout.split()


def emitted(world: str) -> Any:
    """The report of a snapshot that a test wrote by hand."""
    done = subprocess.run([EMIT, world], check=True, capture_output=True)
    assert done.stderr == b""
    return json.loads(done.stdout)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object schema within `schema`."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_schema_is_sound() -> None:
    """It is a valid schema of its draft."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_schema_is_strict_and_told() -> None:
    """No object takes members that it does not list, all listed ones must be
    there, and each is described."""
    found = list(objects(SCHEMA))
    assert len(found) > 10
    for item in found:
        assert item["additionalProperties"] is False
        assert sorted(item["required"]) == sorted(item["properties"])
        for name, member in item["properties"].items():
            assert "description" in member or "$ref" in member, name


@pytest.mark.parametrize("world", WORLDS)
def test_report_is_valid(world: str) -> None:
    """Whatever the snapshot holds, its report is valid."""
    validate(emitted(world))


def test_every_member_is_seen() -> None:
    """The worlds together fill every array, so that every schema is used."""
    reports = [emitted(world) for world in WORLDS]
    for name, member in SCHEMA["properties"].items():
        if member.get("type") == "array":
            assert any(told[name] for told in reports), name


def test_bytes_read() -> None:
    """Told as the snapshot has them."""
    assert emitted("full")["bytes_read"] == 4097
    assert emitted("empty")["bytes_read"] == 0


@pytest.mark.parametrize("world", WORLDS)
def test_graph_holds_together(world: str) -> None:
    """Ids are places, edges lead along the chain and around the cycles, and
    what points to a finding or a cycle points to one that is there."""
    report = emitted(world)
    graph = report["graph"]
    edges = {(edge["from"], edge["to"]) for edge in graph["edges"]}
    ids = range(len(graph["nodes"]))
    assert [node["id"] for node in graph["nodes"]] == list(ids)
    assert all(end in ids for edge in edges for end in edge)
    assert edges.issuperset(zip(graph["chain"], graph["chain"][1:]))
    for number, cycle in enumerate(graph["cycles"]):
        around = cycle["nodes"]
        assert edges.issuperset(zip(around, around[1:] + around[:1]))
        assert all(graph["nodes"][i]["cycle"] == number for i in around)
    for root in graph["roots"]:
        assert not any(edge[0] == root for edge in edges)
    findings = [node["finding"] for node in graph["nodes"]]
    assert all(i is None or i < len(report["findings"]) for i in findings)
    # One of each finding is in it, at least the thread.
    assert set(findings) - {None} == set(range(len(report["findings"])))


def test_registers_of_a_coroutine() -> None:
    """Each under its name (numbers: System V ABI, figure 3.36), and none of a
    coroutine that runs or of which none are known."""
    numbers = {"rbx": 3, "rbp": 6, "rsp": 7, "r12": 12, "r13": 13, "r14": 14,
               "r15": 15, "rip": 16}

    def cleaner(world: str) -> Any:
        [found] = [c for c in emitted(world)["coroutines"]
                   if c["entry"] == "cache_clean_timer"]
        return found

    assert cleaner("full")["registers"] == {
        name: hex(0x100 + number) for name, number in numbers.items()}
    assert cleaner("full")["frames"][0]["sp"] == "0x9000"
    assert cleaner("running")["registers"] is None
    assert cleaner("erased")["registers"] is None


def test_place() -> None:
    """`at` passes over how one waits, as the text report does."""
    told = emitted("wake-lost")
    main = next(t for t in told["threads"] if t["role"] == "main")
    assert main["at"] == "cache_clean_timer_del_and_wait"
    assert told["coroutines"][0]["at"] == "qemu_co_sleep"
    assert [t["at"] for t in emitted("unknown")["threads"]] == [None] * 3


def test_time_left_of_timers() -> None:
    """Told of the clock whose time is known, and of no other; and not when
    the difference is no number of 64 bits."""
    for world, clock, left_ns in (("full", "host", None),
                                  ("running", "realtime", -30),
                                  ("hostile", "realtime", None)):
        [timer] = emitted(world)["timers"]
        assert (timer["clock"], timer["left_ns"]) == (clock, left_ns)


def test_mutants_are_refused() -> None:
    """A report with a member more, less, or of another type is not valid."""
    told = emitted("full")
    for name in SCHEMA["properties"]:
        mutant = copy.deepcopy(told)
        del mutant[name]
        with pytest.raises(jsonschema.ValidationError):
            validate(mutant)
        mutant = copy.deepcopy(told)
        mutant[name] = {"nonsense": 1}
        with pytest.raises(jsonschema.ValidationError):
            validate(mutant)
    for part in ("threads", "coroutines", "sleepers", "findings", "timers",
                 "waits"):
        mutant = copy.deepcopy(told)
        mutant[part][0]["nonsense"] = 1
        with pytest.raises(jsonschema.ValidationError):
            validate(mutant)
    told["findings"][0]["coroutine"] = 4711
    with pytest.raises(jsonschema.ValidationError):
        validate(told)


def test_hostile_names_are_harmless() -> None:
    """No byte of a report drives a terminal that shows it."""
    done = subprocess.run([EMIT, "hostile"], check=True, capture_output=True)
    told = done.stdout.decode("utf-8")
    bad = [c for c in told if c != "\n" and not c.isprintable()]
    assert bad == []
    assert "\\u001b[2J" in told
