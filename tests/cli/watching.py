"""A watch that goes on, and victims that hang when they are told to.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import select
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import LIMIT_S, QHANG, VICTIMS, task_states, under, wait_until

# Short, so that the tests are: what counts is which comes first.
AFTER_S, INTERVAL_S = 0.5, 0.05
# The watch of a healthy victim lasts so many times --after.
PATIENCE = 6


class Watch:
    """A watch that goes on; `metrics` is its file."""

    def __init__(self, folder: Path, *args: str, **kwargs: Any) -> None:
        self.metrics = folder / "qhang.prom"
        self.metrics.unlink(missing_ok=True)
        argv = [*under(), str(QHANG), "watch", "--after", str(AFTER_S),
                "--interval", str(INTERVAL_S), "--metrics",
                str(self.metrics), *args]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, **kwargs)
        wait_until(lambda: self.metrics.exists() or self.child.poll()
                   is not None, "the watch begins")

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        print(self.told())

    def told(self) -> str:
        """What it has said."""
        return self.log.read_text()

    def end(self) -> int:
        """Its exit status after a SIGTERM."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(LIMIT_S)

    def samples(self) -> dict[str, float]:
        """Values of the metrics, by name; a rule stands behind the name."""
        found = {}
        for family in families(self.metrics.read_text()):
            for sample in family.samples:
                rule = sample.labels.get("rule")
                found[sample.name + (f" {rule}" if rule else "")] = \
                    sample.value
        return found

    def sees(self, rule: str) -> bool:
        """Whether a hang of that rule is told."""
        return self.samples().get(f"qhang_hangs_total {rule}", 0) > 0


def families(text: str) -> list[Any]:
    """The metrics, as Prometheus's own parser reads them."""
    parser = pytest.importorskip(
        "prometheus_client.parser",
        reason="no python3-prometheus-client here to read the metrics with")
    return list(parser.text_string_to_metric_families(text))


@contextmanager
def held_back(scenario: str, before: tuple[str, ...] = ()
              ) -> Iterator[tuple[int, subprocess.Popen]]:
    """A victim that is well until a byte comes on its stdin: pid and child."""
    with subprocess.Popen([*before, str(VICTIMS / "victim"), "--scenario",
                           scenario, "--when-told"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:
        assert child.stdout
        try:
            ready, _, _ = select.select([child.stdout], [], [], 60)
            words = child.stdout.readline().split() if ready else []
            assert words[:1] == [b"waiting"], words
            yield int(words[1]), child
        finally:
            child.kill()


def begin(child: subprocess.Popen) -> None:
    """Lets the hang begin, and waits until it is there."""
    assert child.stdin and child.stdout
    child.stdin.write(b".")
    child.stdin.flush()
    ready, _, _ = select.select([child.stdout], [], [], 60)
    assert ready and child.stdout.readline().startswith(b"ready ")


def sleeps(pid: int) -> int:
    """How often the threads have left the CPU: a stop wakes all of them."""
    told = [(task / "status").read_text()
            for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(count) for text in told
               for count in re.findall(r"ctxt_switches:\t(\d+)", text))


def sleeps_at_rest(pid: int) -> int:
    """The same once all are asleep: the last to print is still on its way."""
    seen = [sleeps(pid)]

    def rests() -> bool:
        time.sleep(0.05)
        seen.append(sleeps(pid))
        return (seen[-1] == seen[-2] and
                set(task_states(pid).values()) == {"S"})

    wait_until(rests, "all are asleep")
    return seen[-1]
