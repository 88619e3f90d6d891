"""The HTML page and the DOT file: sound, self-contained, escaped, whole.

SPDX-License-Identifier: GPL-2.0-or-later

What a browser makes of the page: test_page.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import (BUILD, FAILED, FINDING, USAGE, Victim, qhang, refuses)
from test_schema import WORLDS

EMIT = BUILD / "tests/unit/report_emit"
VOID = {"meta", "input", "br"}
TAGS = {"html", "head", "title", "style", "script", "body", "header", "main",
        "footer", "section", "article", "figure", "figcaption", "div", "p",
        "span", "h1", "h2", "h3", "b", "code", "ul", "ol", "li", "table",
        "thead", "tbody", "tr", "th", "td", "details", "summary",
        "output"} | VOID
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class",
              "type", "aria-label", "placeholder", "hidden", "data-find",
              "data-name"}
NASTY = "</script><b onload='x'>&amp;\\N\"];"


def emitted(form: str, world: str) -> str:
    """The page, the graph or the report of a snapshot that a test wrote by hand."""
    done = subprocess.run([EMIT, form, world], check=True,
                          capture_output=True)
    assert done.stderr == b""
    return done.stdout.decode("utf-8")


class Page(HTMLParser):
    """Asserts that tags are the report's own and stand in pairs; gathers the
    text that is shown, and the content of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.shown = ""
        self.raw = {"style": "", "script": ""}
        self.policy = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str,
                        attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]] += data
        else:
            self.shown += data


@pytest.mark.parametrize("world", WORLDS)
def test_page_is_sound(world: str) -> None:
    """Tags in pairs, none and no attribute that is not the report's own,
    nothing that a terminal or a mail reader should not see."""
    text = emitted("--html", world)
    page = Page(text)
    assert "qhang" in page.shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "http:" not in text and "https:" not in text


def test_policy_names_what_is_in_it() -> None:
    """This style and this script and nothing else, by their hashes."""
    page = Page(emitted("--html", "wake-lost"))
    for name, text in page.raw.items():
        digest = hashlib.sha256(text.encode()).digest()
        hashed = base64.b64encode(digest).decode()
        assert f"{name}-src 'sha256-{hashed}'" in page.policy
    assert page.policy.startswith("default-src 'none';")
    assert "unsafe" not in page.policy


def test_names_are_text() -> None:
    """Markup in a name is shown as it is."""
    page = Page(emitted("--html", "markup"))
    assert page.shown.count(NASTY + "\\x1b\\xff") > 10


def test_page_says_it_all() -> None:
    """Verdict, time to heal, evidence, threads, coroutines."""
    shown = Page(emitted("--html", "wake-lost")).shown
    for words in ("qcow2 cache cleaner: its wake-up was lost", "in 579 s",
                  "10.0.13, 11.1", "to_wake = the sleeper",
                  "iothread io0 (101)", "bdrv_detach_aio_context",
                  "woken by the end of", "timer, fires in 579 s"):
        assert words in shown
    shown = Page(emitted("--html", "quiet")).shown
    assert "No hang found" in shown
    assert "Nobody waits for anybody else." in shown
    shown = Page(emitted("--html", "gaps")).shown
    assert "No hang found in what could be read" in shown


def test_big_graph_is_cut_and_says_so() -> None:
    """Sixty nodes are drawn, the circle among them, of all that wait or are
    waited for."""
    graph = emitted("--dot", "markup")
    edges = json.loads(emitted("--json", "markup"))["graph"]["edges"]
    count = len({edge[end] for edge in edges for end in ("from", "to")})
    assert len(re.findall(r"^  n\d+ \[", graph, re.MULTILINE)) == 60
    assert f'label="60 of {count} nodes"' in graph
    assert count > 100
    assert graph.count('class="thread fault') == 2


@pytest.mark.parametrize("world", WORLDS)
def test_graphviz_takes_the_graph(world: str) -> None:
    """It finds nothing wrong with it, and draws what is in it."""
    if not shutil.which("dot"):
        pytest.skip("no graphviz here")
    graph = emitted("--dot", world)
    done = subprocess.run(["dot", "-Tsvg"], input=graph.encode(), check=True,
                          capture_output=True)
    assert done.stderr == b""
    nodes = re.findall(r"^  n\d+ \[", graph, re.MULTILINE)
    assert done.stdout.count(b'class="node') == len(nodes)


# --- the files ---

@pytest.fixture(name="stuck", scope="module")
def stuck_victim() -> Victim:
    """A victim to be told about."""
    with Victim("wake-lost") as victim:
        yield victim


def test_html_of_a_victim(stuck: Victim, tmp_path: Path) -> None:
    """The page is there beside the report, with the picture if it can be."""
    path = tmp_path / "page.html"
    done = qhang("diagnose", "--html", path, str(stuck.pid))
    assert done.returncode == FINDING
    assert "sleep.wake-lost" in done.stdout
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>") and text.endswith("</html>\n")
    if shutil.which("dot"):
        assert done.stderr == ""
        assert text.count("<svg") == 1
        assert "<!DOCTYPE svg" not in text and "<title>n" not in text
    assert list(tmp_path.iterdir()) == [path]


def test_dot_of_a_victim(stuck: Victim, tmp_path: Path) -> None:
    """The graph is there, and JSON beside it is as ever."""
    path = tmp_path / "waits.dot"
    done = qhang("diagnose", "--json", "--dot", path, str(stuck.pid))
    assert done.returncode == FINDING
    assert done.stdout.startswith("{")
    assert path.read_text().startswith("digraph waits {")


@pytest.mark.parametrize("script", [None, "exit 3", "exec yes", "echo hello",
                                    "kill -SEGV $$"])
def test_graphviz_that_fails(stuck: Victim, tmp_path: Path,
                             script: str | None) -> None:
    """No `dot`, or one that fails, floods or dies: the page has the list."""
    path, programs = tmp_path / "page.html", tmp_path / "bin"
    programs.mkdir()
    if script:
        (programs / "dot").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "dot").chmod(0o755)
    done = qhang("diagnose", "--html", path, str(stuck.pid),
                 env={**os.environ, "PATH": f"{programs}:/nowhere"
                      if not script else f"{programs}:{os.environ['PATH']}"})
    assert done.returncode == FINDING
    if script != "echo hello":
        assert "no picture" in done.stderr and "try " in done.stderr
    page = Page(path.read_text())
    assert "woken by the end of" in page.shown
    assert "<svg" not in path.read_text()


def test_replaces_a_file(stuck: Victim, tmp_path: Path) -> None:
    """One that is there, with its rights those of any new file."""
    path = tmp_path / "page.html"
    path.write_text("old")
    assert qhang("diagnose", "--html", path,
                 str(stuck.pid)).returncode == FINDING
    assert path.read_text().startswith("<!DOCTYPE html>")
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_does_not_follow_a_link(stuck: Victim, tmp_path: Path) -> None:
    """A link becomes the file; what it led to stays as it was."""
    path, precious = tmp_path / "page.html", tmp_path / "precious"
    precious.write_text("mine")
    path.symlink_to(precious)
    assert qhang("diagnose", "--html", path,
                 str(stuck.pid)).returncode == FINDING
    assert precious.read_text() == "mine"
    assert not path.is_symlink()


@pytest.mark.parametrize("option", ["--html", "--dot"])
def test_file_that_cannot_be(stuck: Victim, tmp_path: Path,
                             option: str) -> None:
    """A folder, a device, a folder that is not there: an error that names it,
    after the report."""
    for path, status in ((tmp_path, USAGE), (Path("/dev/null"), USAGE),
                         (tmp_path / "none/page.html", FAILED)):
        done = qhang("diagnose", option, path, str(stuck.pid))
        assert done.returncode == status
        assert "sleep.wake-lost" in done.stdout
        assert str(path) in done.stderr and "try " in done.stderr
    assert Path("/dev/null").is_char_device()
    assert list(tmp_path.iterdir()) == []


def test_usage() -> None:
    """Each takes a file."""
    refuses(USAGE, "diagnose", "--html", words=("--html",))
    refuses(USAGE, "diagnose", "1", "--dot", words=("--dot",))
