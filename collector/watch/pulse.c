/* The pulse of one main loop. Pure.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "watch/pulse.h"

#include <string.h>

static bool is_asleep(const struct qh_reading *reading)
{
    return reading->state == 'S' || reading->state == 'D';
}

static bool has_moved(const struct qh_reading *before,
                      const struct qh_reading *now)
{
    return before->switches != now->switches || before->run_ns != now->run_ns;
}

/* Not by the number of the call: after a stop it is restart_syscall(2)'s. */
static bool is_same_place(const struct qh_reading *before,
                          const struct qh_reading *now)
{
    if (!is_asleep(before)) {
        return false;
    }
    return now->sp ? now->sp == before->sp && now->pc == before->pc
                   : !before->sp && !has_moved(before, now);
}

void qh_pulse_feed(struct qh_pulse *pulse, const struct qh_reading *reading,
                   int64_t now_ns)
{
    if (!pulse->taken || !is_asleep(reading) ||
        !is_same_place(&pulse->last, reading)) {
        pulse->place_ns = now_ns;
        pulse->moved_ns = now_ns;
    } else if (has_moved(&pulse->last, reading)) {
        pulse->moved_ns = now_ns;
    }
    pulse->last = *reading;
    pulse->taken = true;
}

bool qh_pulse_is_home(const struct qh_pulse *pulse)
{
    return pulse->home_sp && pulse->last.sp == pulse->home_sp &&
           is_asleep(&pulse->last);
}

enum qh_suspicion qh_pulse_suspicion(const struct qh_pulse *pulse,
                                     int64_t now_ns, int64_t after_ns)
{
    bool still = now_ns - pulse->moved_ns >= after_ns;

    if (!pulse->taken || !is_asleep(&pulse->last)) {
        return QH_SUSPICION_NONE;
    }
    if (qh_pulse_is_home(pulse)) {
        return still ? QH_SUSPICION_IDLE : QH_SUSPICION_NONE;
    }
    if (still) {
        return QH_SUSPICION_STALLED;
    }
    return now_ns - pulse->place_ns >= after_ns ? QH_SUSPICION_TURNS
                                                : QH_SUSPICION_NONE;
}

int64_t qh_pulse_stalled_ns(const struct qh_pulse *pulse, int64_t now_ns)
{
    return pulse->taken && is_asleep(&pulse->last) && !qh_pulse_is_home(pulse)
               ? now_ns - pulse->place_ns
               : 0;
}

static bool is_function(const struct qh_frame *frame, const char *name)
{
    return frame->function && !strcmp(frame->function, name);
}

/*
 * Whether main_loop_wait() has gone to sleep itself: what it calls dispatches
 * the handlers too, which may sleep in anything. Between it and the system call
 * there is qemu_poll_ns() (util/qemu-timer.c) below os_host_main_loop_wait()
 * (util/main-loop.c), each unless it was inlined without a trace.
 */
static bool rests(const struct qh_backtrace *stack)
{
    size_t at = 0;

    while (at < stack->count &&
           !is_function(&stack->frames[at], "main_loop_wait")) {
        at++;
    }
    if (at == stack->count || at == 0) {
        return false;
    }
    at--;
    if (at && is_function(&stack->frames[at], "os_host_main_loop_wait")) {
        at--;
    }
    return at == 0 || is_function(&stack->frames[at], "qemu_poll_ns");
}

void qh_pulse_learn(struct qh_pulse *pulse, const struct qh_snapshot *snapshot)
{
    const struct qh_thread *thread =
        qh_snapshot_thread(snapshot, snapshot->pid);

    if (thread && thread->state == QH_THREAD_BLOCKED && thread->stack.count &&
        thread->stack.frames[0].sp.value && !thread->polls.value &&
        rests(&thread->stack)) {
        pulse->home_sp = thread->stack.frames[0].sp.value;
    }
}
