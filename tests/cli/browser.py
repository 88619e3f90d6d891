"""A headless Chromium, driven through its DevTools protocol over a pipe.

SPDX-License-Identifier: GPL-2.0-or-later

Messages are JSON objects with a zero byte behind each; the browser reads from
fd 3 and writes to fd 4 (--remote-debugging-pipe). No network is used.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

LIMIT_S = 120
NAMES = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """The browser of this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one browser, which ends with the with statement."""

    def __init__(self, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()

        def hand_over() -> None:
            # Away from 3 and 4 first: either end may have that number.
            spare = [os.dup(to_read), os.dup(to_write)]
            high = [os.dup(fd) for fd in spare]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._child = subprocess.Popen(
            [program() or "chromium", "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--hide-scrollbars",
             f"--user-data-dir={profile}", "--remote-debugging-pipe",
             "about:blank"],
            preexec_fn=hand_over, pass_fds=(3, 4), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self._unread = b""
        self._last = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t for t in targets if t["type"] == "page")
        self._session = self.call("Target.attachToTarget", flatten=True,
                                  targetId=page["targetId"])["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait()
        os.close(self._write)
        os.close(self._read)

    def _message(self) -> dict[str, Any]:
        """The next message of the browser."""
        end = time.monotonic() + LIMIT_S
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [],
                                        max(0, end - time.monotonic()))
            assert ready, "the browser says nothing"
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has gone"
            self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Calls a method; events that come before its answer are kept."""
        self._last += 1
        request: dict[str, Any] = {"id": self._last, "method": method,
                                   "params": params}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._last:
                assert "error" not in message, message["error"]
                return message["result"]
            self.events.append(message)

    def _wait_event(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message())

    def show(self, page: Path, width: int, height: int = 900,
             scripts: bool = True) -> None:
        """Loads a page in a window of that size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width,
                  height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._wait_event("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to, also with the page's own
        scripts turned off."""
        done = self.call("Runtime.evaluate", expression=expression,
                         returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def complaints(self) -> list[str]:
        """What the page's loading had the browser complain about."""
        return [event["params"]["entry"]["text"] for event in self.events
                if event.get("method") == "Log.entryAdded"] \
            + [str(event["params"]["exceptionDetails"])
               for event in self.events
               if event.get("method") == "Runtime.exceptionThrown"]

    def requests(self) -> list[str]:
        """The addresses that it asked for."""
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def picture(self, path: Path) -> None:
        """A screenshot of the whole page, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                         clip={"x": 0, "y": 0, "width": size["width"],
                               "height": size["height"], "scale": 1})
        path.write_bytes(base64.b64decode(shot["data"]))
