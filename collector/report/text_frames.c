/* Threads and backtraces in the text report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/escape.h"
#include "report/text.h"

#include <string.h>

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; name && i < count; i++) {
        if (!strcmp(name, names[i])) {
            return true;
        }
    }
    return false;
}

static size_t frame_of(const struct qh_backtrace *stack, const char *function)
{
    size_t i = 0;

    while (i < stack->count &&
           !is_one_of(stack->frames[i].function, &function, 1)) {
        i++;
    }
    return i;
}

/* What a reader need not see: the C library's way into the kernel, and the
 * switch away from a coroutine. */
static bool is_inner_plumbing(const char *name)
{
    static const char *const plumbing[] = {
        "ppoll",           "poll",
        "epoll_wait",      "epoll_pwait",
        "syscall",         "io_uring_enter",
        "futex_wait",      "qemu_coroutine_switch",
        "swapcontext",     "qemu_coroutine_yield",
        "qemu_poll_ns",    "fdmon_io_uring_wait",
        "fdmon_poll_wait", "fdmon_epoll_wait",
    };

    return !name || !strncmp(name, "__", 2) ||
           is_one_of(name, plumbing, QH_COUNT(plumbing));
}

/* Whether the thread serves something from within that aio_poll(), so that it
 * stands further in. */
static bool is_serving(const struct qh_backtrace *stack, size_t poll)
{
    static const char *const serving[] = {
        "aio_bh_poll",           "aio_bh_call",
        "aio_dispatch",          "aio_dispatch_handler",
        "aio_dispatch_handlers", "aio_dispatch_ready_handlers",
        "timerlist_run_timers",  "qemu_aio_coroutine_enter",
    };

    for (size_t i = 0; i < poll; i++) {
        if (is_one_of(stack->frames[i].function, serving, QH_COUNT(serving))) {
            return true;
        }
    }
    return false;
}

size_t qh_text_first_frame(const struct qh_backtrace *stack)
{
    size_t poll = frame_of(stack, "aio_poll");
    size_t first = 0;

    if (poll + 1 < stack->count && !is_serving(stack, poll)) {
        return poll + 1;
    }
    while (first < stack->count &&
           is_inner_plumbing(stack->frames[first].function)) {
        first++;
    }
    return first < stack->count ? first : 0;
}

/* One past the last frame worth showing. */
static size_t last_frame(const struct qh_backtrace *stack, size_t first)
{
    static const char *const outer[] = { "coroutine_trampoline",
                                         "__start_context",
                                         "clone",
                                         "clone3",
                                         "__clone3",
                                         "start_thread",
                                         "_start",
                                         "__libc_start_main",
                                         "__libc_start_call_main" };
    size_t last = stack->count;

    while (last > first + 1 && (!stack->frames[last - 1].function ||
                                is_one_of(stack->frames[last - 1].function,
                                          outer, QH_COUNT(outer)))) {
        last--;
    }
    return last;
}

/* Whether the frame says the same as the one inside of it, as a part that the
 * compiler split off (.part.0) and inlined elsewhere does. */
static bool is_repeated(const struct qh_backtrace *stack, size_t i)
{
    const char *name = stack->frames[i].function;

    return i && name && is_one_of(stack->frames[i - 1].function, &name, 1) &&
           stack->frames[i - 1].is_inline;
}

/* Prints one link of the chain; false, and dots instead, when the last line
 * has no room for it and for dots behind it. */
static bool print_link(struct qh_wrap *wrap, const char *text, bool is_last,
                       size_t max_lines)
{
    static const char dots[] = "<- ...";
    size_t columns = qh_text_columns(text);
    size_t needed = columns + (is_last ? 0 : sizeof(dots));

    if (wrap->lines >= max_lines && qh_wrap_would_break(wrap, needed)) {
        qh_wrap_piece(wrap, dots);
        return false;
    }
    qh_wrap_piece(wrap, text);
    return true;
}

void qh_text_frames(struct qh_wrap *wrap, const struct qh_backtrace *stack,
                    size_t max_lines)
{
    size_t first = qh_text_first_frame(stack);
    size_t last = last_frame(stack, first);

    if (first >= last) {
        return;
    }
    if (wrap->begun) {
        qh_wrap_break(wrap);
    }
    max_lines += wrap->lines - 1;
    for (size_t i = first; i < last; i++) {
        const struct qh_frame *frame = &stack->frames[i];
        char link[512];
        if (i > first && is_repeated(stack, i)) {
            continue;
        }
        snprintf(link, sizeof(link), "%s%s", i == first ? "" : "<- ",
                 frame->function ? frame->function : "?");
        if (!print_link(wrap, link, i + 1 == last && !stack->cut, max_lines)) {
            return;
        }
    }
    if (stack->cut) {
        char link[512];
        snprintf(link, sizeof(link), "<- (cut: %s)", stack->cut);
        print_link(wrap, link, true, max_lines);
    }
}

void qh_text_thread(struct qh_wrap *wrap, const struct qh_thread *thread,
                    const char *behind)
{
    if (thread->role == QH_ROLE_MAIN) {
        qh_wrap_printf(wrap, "main thread %d%s", (int)thread->tid, behind);
    } else if (thread->role == QH_ROLE_IOTHREAD && thread->iothread) {
        qh_wrap_printf(wrap, "iothread %s (%d)%s", thread->iothread,
                       (int)thread->tid, behind);
    } else {
        qh_wrap_printf(wrap, "%s thread %d (%s)%s", qh_role_name(thread->role),
                       (int)thread->tid, thread->name ? thread->name : "?",
                       behind);
    }
}

static bool has_qmp_command(const struct qh_snapshot *snapshot,
                            const struct qh_thread *thread)
{
    return thread->role == QH_ROLE_MAIN && snapshot->qmp_command;
}

static bool holds_graph_lock(const struct qh_snapshot *snapshot,
                             const struct qh_thread *thread)
{
    return thread->role == QH_ROLE_MAIN && snapshot->graph.readable &&
           snapshot->graph.has_writer == 1;
}

bool qh_text_has_burden(const struct qh_snapshot *snapshot,
                        const struct qh_thread *thread)
{
    return has_qmp_command(snapshot, thread) ||
           holds_graph_lock(snapshot, thread) || thread->holds_bql;
}

void qh_text_burden(struct qh_wrap *wrap, const struct qh_snapshot *snapshot,
                    const struct qh_thread *thread)
{
    bool graph = holds_graph_lock(snapshot, thread);

    if (has_qmp_command(snapshot, thread)) {
        qh_wrap_printf(wrap, "QMP command %s%s", snapshot->qmp_command,
                       graph || thread->holds_bql ? "," : "");
    }
    if (graph) {
        qh_wrap_printf(wrap, "holds the graph write lock%s",
                       thread->holds_bql ? "," : "");
    }
    if (thread->holds_bql) {
        qh_wrap_piece(wrap, "holds the BQL");
    }
}
