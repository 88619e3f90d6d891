#!/usr/bin/python3
"""Mutants: the fixed sources with one line or one ordering made wrong.

SPDX-License-Identifier: LGPL-2.1-or-later

Each must be killed by cfix-check, with the violation that stands here.  One
that survives means that the line is not needed, or that the checker does not
see what it is needed for.

    mutants.py names             the names, one a line
    mutants.py table             as the table of docs/cfix.md
    mutants.py generate OUT      mutant_NAME.c for each, and mutants.c
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

CFIX = Path(__file__).resolve().parent.parent

SLEEP = "co_sleep.c"
GRAPH = "graph_lock.c"
KICK = "runtime/aio_wait.c"

# How each is named in check.h.
VIOLATIONS = {
    "deadlock": "CHECK_DEADLOCK",
    "heals by timer": "CHECK_HEALS_BY_TIMER",
    "claim": "CHECK_CLAIM",
    "abort": "CHECK_ABORT",
    "freed": "CHECK_FREED",
}


@dataclass(frozen=True)
class Mutant:
    """`old` stands in `source` exactly once and becomes `new`; so does each
    pair of `also`."""

    name: str
    what: str
    source: str
    old: str
    new: str
    program: str
    model: str
    violation: str
    also: tuple[tuple[str, str], ...] = ()

    @property
    def primitive(self) -> str:
        """Which kind of subject it is: sleep or graph."""
        return "sleep" if self.source == SLEEP else "graph"

    @property
    def variable(self) -> str:
        """The C name of the subject."""
        return "mutant_" + self.name.replace("-", "_")


MUTANTS = [
    # --- sleep: lines ---
    Mutant("wake-splits", "load and store instead of one exchange", SLEEP,
           "found = cfix_cmpxchg(&w->to_wake, seen, desired);",
           "found = seen; cfix_store(&w->to_wake, desired);",
           "split-wake", "sc", "deadlock"),
    Mutant("wake-forgets", "a wake that finds nobody leaves nothing", SLEEP,
           "is_sleeper(seen) ? NULL : QEMU_CO_SLEEP_PENDING;", "NULL;",
           "wake-timer", "sc", "heals by timer"),
    Mutant("wake-gives-up", "a wake whose exchange fails does not retry",
           SLEEP, "        seen = found;\n    }\n",
           "        return;\n    }\n",
           "wake-timer", "sc", "heals by timer"),
    Mutant("wake-skips-pending",
           "a wake that is pending already is left as it is", SLEEP,
           "    for (;;) {\n        struct Coroutine *desired",
           "    for (; seen != QEMU_CO_SLEEP_PENDING;) {\n"
           "        struct Coroutine *desired",
           "two-wakers", "tso", "heals by timer"),
    Mutant("wake-leaves-mark", "a parked sleeper is handed over as pending",
           SLEEP, "is_sleeper(seen) ? NULL : QEMU_CO_SLEEP_PENDING;",
           "QEMU_CO_SLEEP_PENDING;", "upgrade", "sc", "claim"),
    Mutant("wake-drops", "the sleeper is taken and not scheduled", SLEEP,
           "    unclaim(co);\n    aio_co_wake(co);", "    unclaim(co);",
           "wake", "sc", "deadlock"),
    Mutant("wake-keeps-claim", "the claim is not given up before scheduling",
           SLEEP, "    unclaim(co);\n    aio_co_wake(co);",
           "    (void)unclaim;\n    aio_co_wake(co);", "wake", "sc", "abort"),
    Mutant("wake-schedules-first", "scheduled before the claim is given up",
           SLEEP, "    unclaim(co);\n    aio_co_wake(co);",
           "    aio_co_wake(co);\n    unclaim(co);", "wake", "sc", "abort"),
    Mutant("arm-overwrites", "the sleeper is stored, whatever was there",
           SLEEP, "cfix_cmpxchg(&w->to_wake, NULL, co) == "
           "QEMU_CO_SLEEP_PENDING",
           "cfix_exchange(&w->to_wake, co) == NULL && false",
           "wake-timer", "sc", "heals by timer"),
    Mutant("arm-looks-first", "load, then store instead of one exchange",
           SLEEP, "cfix_cmpxchg(&w->to_wake, NULL, co) == "
           "QEMU_CO_SLEEP_PENDING",
           "cfix_load(&w->to_wake) == QEMU_CO_SLEEP_PENDING || "
           "(cfix_store(&w->to_wake, co), false)",
           "wake-timer", "sc", "heals by timer"),
    Mutant("pending-yields", "a sleep that finds a wake parks all the same",
           SLEEP, "        cfix_store_relaxed(&co->scheduled, NULL);\n"
           "        return;\n", "",
           "wake", "sc", "deadlock"),
    Mutant("pending-kept", "a sleep that finds a wake leaves it", SLEEP,
           "        (void)cfix_exchange(&w->to_wake, NULL);\n", "",
           "late-timer", "sc", "claim"),
    Mutant("pending-stored", "it is taken by a store, not an exchange", SLEEP,
           "(void)cfix_exchange(&w->to_wake, NULL);",
           "cfix_store_relaxed(&w->to_wake, NULL);",
           "two-wakers", "tso", "heals by timer"),
    Mutant("pending-keeps-claim", "and the claim is kept", SLEEP,
           "        cfix_store_relaxed(&co->scheduled, NULL);\n", "",
           "rearm", "sc", "abort"),
    Mutant("timer-wakes", "a timer that expires late counts as a wake", SLEEP,
           "    if (is_sleeper(co) && cfix_cmpxchg(&w->to_wake, co, NULL) == "
           "co) {\n        hand_over(co);\n    }\n",
           "    (void)co;\n    qemu_co_sleep_wake(w);\n",
           "late-timer", "sc", "claim"),
    Mutant("timer-splits", "the timer takes in two steps", SLEEP,
           "cfix_cmpxchg(&w->to_wake, co, NULL) == co) {",
           "(cfix_store(&w->to_wake, NULL), true)) {",
           "late-timer", "sc", "abort"),
    Mutant("timer-idle", "the timer does nothing", SLEEP,
           "if (is_sleeper(co) && cfix", "if (false && cfix",
           "timer", "sc", "deadlock"),
    Mutant("timer-kept", "the timer stays armed after the sleep", SLEEP,
           "    timer_del(&ts);\n", "", "wake-timer", "sc", "freed"),
    # --- sleep: orderings ---
    Mutant("wake-relaxed", "the waker's exchange orders nothing", SLEEP,
           "found = cfix_cmpxchg(&w->to_wake, seen",
           "found = cfix_cmpxchg_relaxed(&w->to_wake, seen",
           "wake", "c11", "claim"),
    Mutant("arm-relaxed",
           "neither the sleeper's claim nor its exchange orders anything",
           SLEEP, "cfix_cmpxchg(&w->to_wake, NULL, co) == ",
           "cfix_cmpxchg_relaxed(&w->to_wake, NULL, co) == ",
           "handover", "c11", "abort",
           (("cfix_cmpxchg(&co->scheduled, NULL, qemu_co_sleep_ns__scheduled)",
             "cfix_cmpxchg_relaxed(&co->scheduled, NULL, "
             "qemu_co_sleep_ns__scheduled)"),)),
    Mutant("pending-relaxed", "nor does the one that takes a wake", SLEEP,
           "(void)cfix_exchange(&w->to_wake, NULL);",
           "(void)cfix_exchange_relaxed(&w->to_wake, NULL);",
           "two-wakers", "c11", "heals by timer"),
    # --- graph lock: lines ---
    Mutant("unlock-silent", "the last reader does not kick", GRAPH,
           "     * writer raises before it looks at the counts. */\n"
           "    aio_wait_kick();\n",
           "     * writer raises before it looks at the counts. */\n",
           "last-reader", "sc", "deadlock"),
    Mutant("unlock-asks-writer", "it kicks only if has_writer is set", GRAPH,
           "     * writer raises before it looks at the counts. */\n",
           "     * writer raises before it looks at the counts. */\n"
           "    if (cfix_load(&has_writer))\n",
           "last-reader", "sc", "deadlock"),
    Mutant("unlock-kicks-first", "it kicks before it counts itself out",
           GRAPH, "    cfix_at(CFIX_RDUNLOCK_ENTERED);\n"
           "    count_reader((uint32_t)-1);\n"
           "    cfix_at(CFIX_RDUNLOCK_COUNTED);\n",
           "    aio_wait_kick();\n    count_reader((uint32_t)-1);\n"
           "    return;\n",
           "last-reader", "sc", "deadlock"),
    Mutant("lock-keeps-count", "it steps back without counting itself out",
           GRAPH, "        count_reader((uint32_t)-1);\n"
           "        if (cfix", "        if (cfix",
           "last-reader", "sc", "claim"),
    Mutant("lock-queues-blindly", "it queues without looking again", GRAPH,
           "        if (cfix_load(&has_writer)) {", "        {",
           "last-reader", "sc", "deadlock"),
    Mutant("lock-ignores-writer", "a reader goes in whoever is there", GRAPH,
           "if (!cfix_load(&has_writer)) {",
           "if (!cfix_load(&has_writer) || true) {",
           "last-reader", "sc", "claim"),
    Mutant("write-trusts", "the writer does not count again", GRAPH,
           "        if (reader_count() == 0) {\n            return;",
           "        if (true) {\n            return;",
           "last-reader", "sc", "claim"),
    Mutant("write-retreats-alone",
           "a retreating writer leaves queued readers where they are", GRAPH,
           "         * lock a second time. */\n"
           "        bdrv_graph_wrunlock();\n",
           "         * lock a second time. */\n"
           "        cfix_store(&has_writer, 0);\n",
           "recursive", "sc", "deadlock"),
    Mutant("write-stays", "the writer's unlock leaves has_writer set", GRAPH,
           "    cfix_store(&has_writer, 0);\n", "",
           "last-reader", "sc", "deadlock"),
    Mutant("write-restarts-nobody", "it does not let queued readers go on",
           GRAPH, "    qemu_co_queue_restart_all(&readers);\n", "",
           "last-reader", "sc", "deadlock"),
    # --- graph lock: orderings ---
    Mutant("count-released", "the reader's count is only released", GRAPH,
           "    cfix_store(&graph->reader_count,",
           "    cfix_store_release(&graph->reader_count,",
           "last-reader", "tso", "claim"),
    Mutant("writer-released", "has_writer is only released", GRAPH,
           "        cfix_store(&has_writer, 1);",
           "        cfix_store_release(&has_writer, 1);",
           "last-reader", "c11", "claim"),
    Mutant("writer-acquired", "the reader only acquires has_writer", GRAPH,
           "if (!cfix_load(&has_writer)) {",
           "if (!cfix_load_acquire(&has_writer)) {",
           "last-reader", "c11", "claim"),
    Mutant("count-acquired", "the writer only acquires the counts", GRAPH,
           "cfix_load(&graph->reader_count);",
           "cfix_load_acquire(&graph->reader_count);",
           "last-reader", "c11", "claim"),
    Mutant("kick-acquired", "the kick only acquires num_waiters", KICK,
           "cfix_load(&global_aio_wait.num_waiters)",
           "cfix_load_acquire(&global_aio_wait.num_waiters)",
           "last-reader", "c11", "deadlock"),
]


def mutated(mutant: Mutant) -> str:
    """The whole file of the mutant: subject.h, the sources, its end."""
    sources = [SLEEP] if mutant.primitive == "sleep" else [GRAPH, KICK]
    parts = [f"/* Made by mutants.py: {mutant.what}. */\n"
             f"#define SUBJECT {mutant.variable}\n"
             '#include "check/subject.h"\n']
    for source in sources:
        if source != mutant.source:
            parts.append(f'#include "{source}"\n')
            continue
        text = (CFIX / source).read_text(encoding="utf-8")
        for old, new in ((mutant.old, mutant.new), *mutant.also):
            if text.count(old) != 1:
                sys.exit(f"mutants.py: {mutant.name}: its old text stands "
                         f"{text.count(old)} times in {source}")
            text = text.replace(old, new)
        parts.append(text)
    parts.append(f'#include "check/subject_{mutant.primitive}.h"\n')
    return "".join(parts)


def table() -> str:
    """mutants.c: the list for the program."""
    lines = ["/* Made by mutants.py. */", '#include "check/programs.h"',
             '#include "check/subject.h"', ""]
    lines += [f"extern const struct {m.primitive}_subject {m.variable};"
              for m in MUTANTS]
    lines.append("const struct check_mutant check_mutants[] = {")
    lines += [f'    {{ "{m.name}", "{m.what}", &{m.variable}, '
              f'"{m.primitive}", "{m.program}", CHECK_{m.model.upper()}, '
              f"{VIOLATIONS[m.violation]} }}," for m in MUTANTS]
    lines += ["    { 0 },", "};", ""]
    return "\n".join(lines)


def main() -> int:
    """Command line; see the top."""
    match sys.argv[1:]:
        case ["names"]:
            print("\n".join(m.name for m in MUTANTS))
        case ["table"]:
            print("| mutant | what it breaks | check | dies of |\n"
                  "|---|---|---|---|")
            for m in MUTANTS:
                print(f"| {m.name} | {m.source}: {m.what} | "
                      f"{m.primitive}/.../{m.program}/{m.model} | "
                      f"{m.violation} |")
        case ["generate", out]:
            for m in MUTANTS:
                (Path(out) / f"mutant_{m.name}.c").write_text(
                    mutated(m), encoding="utf-8")
            (Path(out) / "mutants.c").write_text(table(), encoding="utf-8")
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    return 0


if __name__ == "__main__":
    sys.exit(main())
