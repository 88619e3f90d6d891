"""The HTML page in a real browser: desktop and phone, with and without scripts.

SPDX-License-Identifier: GPL-2.0-or-later

$QHANG_PICTURES is a folder to leave screenshots in, to be looked at.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from browser import Browser, program
from conftest import FINDING, Victim, qhang
from test_html import emitted
from test_schema import WORLDS

DESKTOP, PHONE = 1280, 390
SCENARIOS = ["wake-lost", "mutex-cycle"]
# In CSS pixels, what sticks out at the right of the page.
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
# How near the content of what is unfolded comes to its left edge.
CLEARANCE = ("Math.min(99, ...[...document.querySelectorAll("
             "'details > :not(summary)')].map(e => "
             "e.getBoundingClientRect().left - "
             "e.parentElement.getBoundingClientRect().left))")
COROUTINES = 40


@pytest.fixture(name="pages", scope="module")
def pages_of_victims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page for each scenario, and for snapshots."""
    folder = tmp_path_factory.mktemp("pages")
    for scenario in SCENARIOS:
        with Victim(scenario, "--coroutines", str(COROUTINES)) as victim:
            done = qhang("diagnose", "--html", folder / f"{scenario}.html",
                         str(victim.pid))
            assert done.returncode == FINDING
    for world in WORLDS:
        path = folder / f"world-{world}.html"
        path.write_text(emitted("--html", world))
    return folder


@pytest.fixture(name="browser", scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """It takes seconds to start, so all tests share one."""
    if not program():
        pytest.skip("no chromium here")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("name", SCENARIOS + [f"world-{w}" for w in WORLDS])
def test_fits_and_is_quiet(browser: Browser, pages: Path, name: str,
                           width: int) -> None:
    """Nothing sticks out, not even unfolded; the browser has no complaint, of
    the page's own policy least of all, and asks for nothing but the page."""
    page = pages / f"{name}.html"
    browser.show(page, width)
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.value(OVERFLOW) <= 0
    browser.value("document.querySelectorAll('details')"
                  ".forEach(d => { d.open = true; })")
    assert browser.value(OVERFLOW) <= 0
    assert browser.value(CLEARANCE) > 8
    folder = os.environ.get("QHANG_PICTURES")
    if folder and (name in SCENARIOS or name == "world-markup"):
        browser.show(page, width)
        browser.picture(Path(folder) / f"{name}-{width}.png")


def test_search(browser: Browser, pages: Path) -> None:
    """What has all the words is shown, nothing else; none brings all back."""
    browser.show(pages / "wake-lost.html", DESKTOP)
    assert not browser.value("document.querySelector('.search').hidden")

    def search(words: str) -> list[str]:
        browser.value(f"""(() => {{
            const input = document.querySelector('.search input');
            input.value = {words!r};
            input.dispatchEvent(new Event('input'));
        }})()""")
        return browser.value(
            "[...document.querySelectorAll('[data-find]')]"
            ".filter(e => e.offsetParent).map(e => e.textContent)")

    every = search("")
    assert len(every) > 8
    found = search("QEMU_CO_SLEEP park_co")
    assert 0 < len(found) < len(every)
    assert all("qemu_co_sleep" in text and "park_co_entry" in text
               for text in found)
    assert browser.value("document.querySelector('output').value") \
        == f"{len(found)} of {len(every)}"
    assert search("nothing is called that") == []
    assert search("  ") == every


def test_unfolds(browser: Browser, pages: Path) -> None:
    """A bucket shows its frames and members when it is clicked."""
    browser.show(pages / "wake-lost.html", PHONE)
    shown = "document.querySelector('details.first .members')" \
            ".checkVisibility()"
    browser.value("document.querySelector('.members').closest('details')"
                  ".classList.add('first')")
    assert not browser.value(shown)
    browser.value("document.querySelector('details.first summary').click()")
    assert browser.value(shown)


def test_without_scripts(browser: Browser, pages: Path) -> None:
    """All of it is there but the search, which could do nothing."""
    browser.show(pages / "wake-lost.html", PHONE, scripts=False)
    assert browser.value("document.querySelector('.search').hidden")
    text = browser.value("document.body.innerText")
    for words in ("its wake-up was lost", "main thread", "park_co_entry",
                  "Heals by itself"):
        assert words in text
    assert browser.value("[...document.querySelectorAll('section')]"
                         ".every(s => s.offsetHeight > 0)")
    assert browser.value(OVERFLOW) <= 0


def test_print(browser: Browser, pages: Path, tmp_path: Path) -> None:
    """Printed, the page is dark on white and has no search field."""
    browser.show(pages / "mutex-cycle.html", DESKTOP)
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        assert browser.value("getComputedStyle(document.body)"
                             ".backgroundColor") == "rgb(255, 255, 255)"
        assert browser.value("getComputedStyle(document.body).color") \
            == "rgb(0, 0, 0)"
        assert browser.value("document.querySelector('.search')"
                             ".offsetHeight") == 0
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_dark(browser: Browser, pages: Path) -> None:
    """On a dark screen text is light, in the picture, too."""
    browser.call("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark"}])
    try:
        browser.show(pages / "mutex-cycle.html", DESKTOP)
        for selector, what in (("body", "color"), ("svg .node text", "fill")):
            if selector != "body" and not shutil.which("dot"):
                continue
            light = browser.value(f"getComputedStyle(document.querySelector("
                                  f"'{selector}')).{what}")
            assert min(map(int, re.findall(r"\d+", light)[:3])) > 200
        folder = os.environ.get("QHANG_PICTURES")
        if folder:
            browser.picture(Path(folder) / "mutex-cycle-dark.png")
    finally:
        browser.call("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("name", SCENARIOS + [f"world-{w}" for w in WORLDS])
def test_validates(pages: Path, name: str) -> None:
    """tidy finds nothing wrong."""
    if not shutil.which("tidy"):
        pytest.skip("no tidy here")
    done = subprocess.run(["tidy", "-q", "-e", pages / f"{name}.html"],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
