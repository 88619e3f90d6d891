"""--help, the man pages and the completion tell the same options.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import CHECKOUT, QHANG, SCHEMA, qhang

COMPLETION = CHECKOUT / "docs/completion/qhang.bash"
MAN = CHECKOUT / "docs/man"
RULES = CHECKOUT / "docs/rules"
PAGES = sorted(MAN.glob("*.1"))


def commands() -> list[str]:
    """The commands that `qhang --help` tells."""
    told = qhang("--help").stdout.split("\ncommands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in told.splitlines()]


COMMANDS = ["", *commands()]


def help_of(command: str) -> str:
    """--help of a command, "" for qhang itself."""
    return qhang(*command.split(), "--help").stdout


def options_of_help(command: str) -> dict[str, str]:
    """Options by their name, with the name of the argument or ""."""
    told = re.findall(r"^  (--[a-z-]+)(?: ([A-Z]+)|(\[=[A-Z]+\]))?  ",
                      help_of(command), re.MULTILINE)
    assert told
    return {name: needed or may for name, needed, may in told}


def page_of(command: str) -> str:
    """The source of the command's man page."""
    name = f"qhang-{command}" if command else "qhang"
    return (MAN / f"{name}.1").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_page_has_the_options(command: str) -> None:
    """Each option has an entry in the page, with its argument, and the page
    has no other."""
    told = re.findall(
        r"^\.It Fl (-[a-z-]+)(?: Ar ([A-Z]+)| Ns Op = Ns Ar ([A-Z]+))?$",
        page_of(command), re.MULTILINE)
    assert {f"-{name}": needed or (f"[={may}]" if may else "")
            for name, needed, may in told} == options_of_help(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_synopsis_has_the_options(command: str) -> None:
    """Each option is in the synopsis, and nothing else is."""
    synopsis = page_of(command).split(".Sh SYNOPSIS")[1].split(".Sh")[0]
    told = set(re.findall(r"Fl (-[a-z-]+)", synopsis))
    assert {f"-{name}" for name in told} == set(options_of_help(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_has_the_options(command: str) -> None:
    """Completing a dash offers the options, and nothing else."""
    words = ["qhang", *command.split(), "--"]
    assert set(complete(words)) == set(options_of_help(command))


def test_completion_has_the_commands() -> None:
    """Completing the first word offers the commands, too."""
    assert set(complete(["qhang", ""])) \
        == {*commands(), *options_of_help("")}


def test_main_page_has_the_commands() -> None:
    """The main page tells each command and its page."""
    for command in commands():
        assert f".It Cm {command}" in page_of("")
        assert f".Xr qhang-{command} 1" in page_of("")


def complete(words: list[str], cwd: Path | None = None) -> list[str]:
    """What the completion offers for the last of `words`, run by bash."""
    script = """
        source "$1"; shift
        compopt() { :; }  # only works inside of a completion that is going on
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _qhang
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-euc", script, "bash", COMPLETION, *words],
                          capture_output=True, text=True, check=True, cwd=cwd)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_completion_of_files(tmp_path: Path) -> None:
    """Files where one is named, folders only for --debuginfo; a
    blank or a star in a name does no harm."""
    for name in ("core one", "core*two"):
        (tmp_path / name).touch()
    (tmp_path / "core-folder").mkdir()
    every = {"core one", "core*two", "core-folder"}
    for option in ("--core", "--exe", "--registers", "--html", "--dot"):
        assert set(complete(["qhang", "diagnose", option, "co"],
                            tmp_path)) == every
    assert complete(["qhang", "diagnose", "--debuginfo", "co"],
                    tmp_path) == ["core-folder"]


def test_completion_of_pids(tmp_path: Path) -> None:
    """The pid of a process that is called qemu is offered."""
    program = tmp_path / "qemu-sleep"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "600"]) as child:
        try:
            offered = complete(["qhang", "diagnose", ""])
            assert str(child.pid) in offered
            assert "1" not in offered or \
                "qemu" in Path("/proc/1/comm").read_text()
        finally:
            child.kill()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_sound(page: Path) -> None:
    """groff has no complaint, and nothing is wider than a terminal."""
    if not shutil.which("groff"):
        pytest.skip("no groff here to read man pages with")
    done = subprocess.run(["groff", "-mandoc", "-Tascii", "-ww", "-P-c", page],
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r".\x08", "", done.stdout)
    assert not re.search("<{7}|={7}|>{7}", shown)  # of a merge
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_page_has_the_rules() -> None:
    """Each rule that the code knows is told in the page."""
    rules = rules_of_the_code()
    assert len(rules) >= 3
    for rule in rules:
        assert f".It Cm {rule}" in page_of("diagnose")
        assert rule in SCHEMA["$defs"]["finding"]["properties"]["rule"][
            "description"]


def rules_of_the_code() -> list[str]:
    """The ids in the table of rules."""
    source = (CHECKOUT / "collector/diagnose/rules.c").read_text()
    return re.findall(r'\{ "([a-z.-]+)", qh_rule_', source)


def notes_of_the_code() -> set[str]:
    """The ids of what is told as context."""
    return {found for path in (CHECKOUT / "collector/diagnose").glob("*.c")
            for found in re.findall(r'qh_note_add\(\s*\w+,\s*"([a-z.-]+)"',
                                    path.read_text())}


def test_every_note_is_explained() -> None:
    """So it does of what is told beside the findings."""
    notes = notes_of_the_code()
    assert "stop.changed" in notes and len(notes) >= 8
    assert notes <= set(qhang("explain").stdout.split())


def test_every_rule_is_explained() -> None:
    """`qhang explain` lists each rule of the code and shows its page."""
    listed = [line for line in qhang("explain").stdout.splitlines()
              if not line.startswith(" ")]
    assert set(rules_of_the_code()) <= set(listed)
    assert listed == sorted(page.stem for page in RULES.glob("*.md"))
    for rule in listed:
        done = qhang("explain", rule)
        assert done.returncode == 0 and done.stderr == ""
        page = (RULES / f"{rule}.md").read_text()
        assert done.stdout == page.split("\n", 1)[1]


def test_completion_of_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules, as the program that is on the PATH lists them."""
    monkeypatch.setenv("PATH", f"{QHANG.parent}:{os.environ['PATH']}")
    assert set(rules_of_the_code()) <= set(complete(["qhang", "explain", ""]))
    assert complete(["qhang", "explain", "sleep.e"]) == ["sleep.erased"]
