#!/usr/bin/python3
"""What each sleep costs, how soon it is woken, how soon a cleaner is stopped.

SPDX-License-Identifier: GPL-2.0-or-later

Runs tests/bench/sleep_cost.c and cancel.c from $QHANG_BUILD (default: build/),
the twins in turns, and keeps results/sleep.{json,md,svg}.  About six minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import RESULTS, columns, keep
from svg import Series, survival

CHECKOUT = Path(__file__).resolve().parents[2]
FAULTY = "legacy"
TWINS = {
    "legacy": "faulty",
    "tick": "tick of 1 s",
    "mark": "QEMU's repair",
    "fixed": "fixed",
    "qemu": "drop-in",
}
# What a sleep may cost at most, as a ratio to the faulty one.
MOST = {"bare": 1.20, "timer": 1.05}
MEANS = ("bare", "timer", "switch", "cmpxchg")
TICKS = 10
CANCEL_TURNS = 20
INTERVAL_S = 3
# A close that takes longer than this is taken for one that never ends: the
# interval has passed, and a timer would have ended it.
NEVER_S = INTERVAL_S + 2


def folder() -> Path:
    """Where the programs are."""
    build = Path(os.environ.get("QHANG_BUILD", CHECKOUT / "build"))
    return build / "tests/bench"


def cost(twin: str, rounds: int, latencies: int) -> dict[str, Any]:
    """One run of sleep_cost, on the CPUs that it gets."""
    done = subprocess.run(
        [str(folder() / f"sleep_cost_{twin}"), str(rounds), str(latencies)],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def costs(turns: int, rounds: int) -> dict[str, Any]:
    """All twins in turns: medians, and medians of each turn's ratios."""
    quick = [twin for twin in TWINS if twin != "tick"]
    # Each begins in turn: whoever comes first may find a CPU not awake yet.
    runs = [{twin: cost(twin, rounds, 2000)
             for twin in quick[i % len(quick):] + quick[:i % len(quick)]}
            for i in range(turns)]
    found: dict[str, Any] = {"tick": cost("tick", 0, TICKS)}
    for twin in quick:
        row = found[twin] = {
            name: statistics.median(run[twin][name] for run in runs)
            for name in MEANS}
        for name in MOST:
            row[f"{name}_ratio"] = statistics.median(
                run[twin][name] / run[FAULTY][name] for run in runs)
        for where in ("same", "other"):
            row[where] = {
                "p50": statistics.median(r[twin][where]["p50"] for r in runs),
                "p99": statistics.median(r[twin][where]["p99"] for r in runs),
                "max": max(r[twin][where]["max"] for r in runs)}
    return found


@dataclass
class Cancels:
    """How long the closes took, in ns, and how many did not end."""

    times_ns: list[int] = field(default_factory=list)
    never: int = 0

    @property
    def count(self) -> int:
        """All of them."""
        return len(self.times_ns) + self.never

    def quantile_ns(self, share: float) -> float:
        """With those that never ended at the end; they count as infinite."""
        ordered = [*sorted(self.times_ns), *[float("inf")] * self.never]
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def cancel_until_stuck(twin: str, most: int, seed: int, into: Cancels) -> None:
    """Closes `most` times, or until one does not end; that one is killed."""
    argv = [str(folder() / f"cancel_{twin}"), str(most), str(INTERVAL_S),
            str(seed)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, text=False,
                          bufsize=0, stdout=subprocess.PIPE) as child, \
            selectors.DefaultSelector() as selector:
        assert child.stdout
        selector.register(child.stdout, selectors.EVENT_READ)
        told = b""
        while selector.select(NEVER_S):
            got = os.read(child.stdout.fileno(), 1 << 16)
            if not got:
                break
            told += got
        else:
            into.never += 1
            child.kill()
        into.times_ns += [int(line) for line in told.split()]
    if child.returncode not in (0, -9):
        raise subprocess.CalledProcessError(child.returncode, argv)


def cancels(count: int) -> dict[str, Cancels]:
    """So many closes of each, the twins in turns, in as many processes as it
    takes: how the threads of one are placed on the CPUs is luck."""
    found = {twin: Cancels() for twin in TWINS}
    for turn in range(1, CANCEL_TURNS + 1):
        for twin, so_far in found.items():
            # A third of the tick's take a second each.
            most = count // (20 if twin == "tick" else 1)
            while so_far.count < most * turn // CANCEL_TURNS:
                cancel_until_stuck(
                    twin, most * turn // CANCEL_TURNS - so_far.count,
                    so_far.count + 1, so_far)
    return found


def human(ns: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return "never" if ns == float("inf") else f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def cost_table(found: dict[str, Any]) -> str:
    """Nanoseconds and ratios, and latencies."""
    rows = []
    for twin, title in TWINS.items():
        row = found[twin]
        means = [f"{row[n]:.1f} ns ({row[f'{n}_ratio']:.2f})"
                 if n in row else "" for n in MOST]
        latencies = [" / ".join(human(row[where][q])
                                for q in ("p50", "p99", "max"))
                     for where in ("same", "other")]
        rows.append([f"{title} (`{twin}`)", *means, *latencies])
    return columns(["sleep", "sleep and wake (ratio)",
                    "the same with a timer (ratio)",
                    "wake to run, same thread: p50 / p99 / max",
                    "from another thread"], rows)


def cancel_table(found: dict[str, Cancels]) -> str:
    """The closes."""
    return columns(
        ["sleep", "stopped", "p50", "p99", "p99.9", "longest", "never"],
        [[f"{TWINS[twin]} (`{twin}`)", f"{c.count:,}",
          *(human(c.quantile_ns(q)) for q in (0.5, 0.99, 0.999)),
          human(max(c.times_ns)), str(c.never)]
         for twin, c in found.items()])


def plot(found: dict[str, Cancels]) -> str:
    """The closes as a picture."""
    told = "; ".join(
        f"{TWINS[twin]}: median {human(c.quantile_ns(0.5))}, longest "
        f"{human(max(c.times_ns))}, {c.never} never"
        for twin, c in found.items())
    return survival("Stopping a cache cleaner that is just going to sleep",
                    told, "time from the request to stop until it has stopped",
                    "took longer",
                    [Series(TWINS[twin], c.times_ns, c.never)
                     for twin, c in found.items()])


def main() -> int:
    """Command line: 0 when what was promised is kept, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="example: QHANG_BUILD=build tests/bench/sleep.py --turns 5")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--cancels", type=int, default=5000)
    args = parser.parse_args()
    found = costs(args.turns, args.rounds)
    stopped = cancels(args.cancels)
    kept = all(found[twin][f"{name}_ratio"] <= most
               for twin in ("fixed", "qemu") for name, most in MOST.items())
    floor = found[FAULTY]
    text = (f"{cost_table(found)}\n\nIn the same runs: a coroutine switch "
            f"there and back {floor['switch']:.1f} ns, one locked "
            f"compare-and-swap {floor['cmpxchg']:.1f} ns. Ratios to the "
            "faulty sleep, medians over the turns. The tick's costs are left "
            "out: each of its wakes waits for the next tick.\n\n"
            "## Stopping a cache cleaner\n\n"
            f"At a random instant within 200 µs of its start, its interval "
            f"being {INTERVAL_S} s; all threads dawdle at the instants that "
            "matter. What took more than two seconds beyond the interval "
            f"never ends.\n\n{cancel_table(stopped)}\n\n![](sleep.svg)")
    print(text)
    keep("sleep", "Sleep and wake",
         {"costs": found, "turns": args.turns, "rounds": args.rounds,
          "kept": kept,
          "cancels": {t: {"count": c.count, "never": c.never,
                          "longest_ns": max(c.times_ns),
                          "p50_ns": statistics.median(c.times_ns)}
                      for t, c in stopped.items()}}, text)
    (RESULTS / "sleep.svg").write_text(plot(stopped), encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
