/* Unwinding, backtraces and variables, on stacks of known shape.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "dwarf_child.h"
#include "target/arch.h"

#include <stdio.h>
#include <string.h>

static struct session session;
/* Whether the compiler says how calls' arguments were computed. */
static bool has_call_sites;

/* One stack of the fixture, unwound and named. */
struct trace {
    struct qh_unwound_stack stack;
    struct qh_frame *frames;
    size_t count;
};

static const struct qh_task *task_of(const char *thread)
{
    pid_t tid = (pid_t)number(
        child_named(&session.child, "thread", thread)->words[2]);
    size_t count = 0;
    const struct qh_task *tasks = qh_target_tasks(session.target, &count);

    for (size_t i = 0; i < count; i++) {
        if (tasks[i].tid == tid) {
            return &tasks[i];
        }
    }
    fail_msg("no thread %s", thread);
    return NULL;
}

static void trace_registers(const struct qh_registers *regs,
                            struct trace *ret)
{
    assert_success(
        qh_unwind(session.debug, regs, &session.arena, &ret->stack));
    assert_success(qh_symbolise(session.debug, &ret->stack, &session.arena,
                                &ret->frames, &ret->count));
}

static void trace_thread(const char *thread, struct trace *ret)
{
    trace_registers(&task_of(thread)->regs, ret);
}

/* The registers of the parked coroutine, from its sigjmp_buf. */
static void coroutine_registers(struct qh_registers *ret)
{
    uint64_t env = number(
        child_fact(&session.child, "jmpbuf", NULL)->words[1]);
    uint64_t slots[QH_ARCH_JMPBUF_SLOTS];
    uint64_t guard = 0;

    assert_success(qh_target_read(session.target, qh_raddr(env), slots,
                                  sizeof(slots)));
    assert_success(qh_target_read(
        session.target, qh_arch_pointer_guard(task_of("main")->fs_base),
        &guard, sizeof(guard)));
    qh_arch_jmpbuf(slots, guard, ret);
}

static void print_trace(const struct trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        const struct qh_frame *frame = &trace->frames[i];
        print_error("%2zu 0x%llx %s%s %s:%d\n", frame->unwound,
                    (unsigned long long)frame->pc.value,
                    frame->function ? frame->function : "?",
                    frame->is_inline ? " (inlined)" : "",
                    frame->file ? frame->file : "?", frame->line);
    }
    print_error("cut: %s\n", trace->stack.cut ? trace->stack.cut : "no");
}

/* The line of the backtrace for `function`, or a failure. */
static const struct qh_frame *frame_of(const struct trace *trace,
                                       const char *function)
{
    for (size_t i = 0; i < trace->count; i++) {
        const char *found = trace->frames[i].function;
        if (found && strcmp(found, function) == 0) {
            return &trace->frames[i];
        }
    }
    print_trace(trace);
    fail_msg("%s is not on the stack", function);
    return NULL;
}

/* That these functions follow each other on the stack, with nothing between. */
static void assert_chain(const struct trace *trace,
                         const char *const *functions, size_t count)
{
    const struct qh_frame *first = frame_of(trace, functions[0]);
    size_t start = (size_t)(first - trace->frames);

    for (size_t i = 0; i < count; i++) {
        const char *found = start + i < trace->count
                                ? trace->frames[start + i].function : NULL;
        if (!found || strcmp(found, functions[i]) != 0) {
            print_trace(trace);
            fail_msg("%s instead of %s", found ? found : "nothing",
                     functions[i]);
        }
    }
    if (trace->stack.cut) {
        print_trace(trace);
        fail_msg("cut: %s", trace->stack.cut);
    }
}

static uint64_t value_of(const struct trace *trace, const char *function,
                         const char *name)
{
    uint64_t value = 0;

    assert_success(qh_frame_value(session.debug, &trace->stack,
                                  frame_of(trace, function)->unwound, function,
                                  name, &value));
    return value;
}

static void main_stack(void **state)
{
    static const char *const chain[] = { "block", "forgets", "inner", "middle",
                                         "outer", "main" };
    struct trace trace;

    trace_thread("main", &trace);
    assert_chain(&trace, chain, QH_COUNT(chain));
    assert_true(frame_of(&trace, "middle")->is_inline);
    assert_false(frame_of(&trace, "outer")->is_inline);
    assert_int_equal(frame_of(&trace, "middle")->unwound,
                     frame_of(&trace, "outer")->unwound);
    assert_true(trace.stack.frames[0].is_activation);
    assert_false(trace.stack.frames[1].is_activation);
    for (size_t i = 0; i + 1 < trace.stack.count; i++) {
        const struct qh_unwound *frame = &trace.stack.frames[i];
        assert_int_equal(frame->cfa, frame[1].regs.dwarf[QH_REG_RSP]);
        /* Where the call left the return address. */
        uint64_t back = 0;
        assert_success(qh_target_read(session.target, qh_raddr(frame->cfa - 8),
                                      &back, sizeof(back)));
        assert_int_equal(back, frame[1].regs.dwarf[QH_REG_RIP]);
    }
}

static void lines(void **state)
{
    struct trace trace;
    const char *const functions[] = { "middle", "outer" };

    trace_thread("main", &trace);
    for (size_t i = 0; i < QH_COUNT(functions); i++) {
        const struct qh_frame *frame = frame_of(&trace, functions[i]);
        const struct fact *fact =
            child_named(&session.child, "line", functions[i]);
        assert_int_equal(frame->line, number(fact->words[2]));
        assert_non_null(strstr(frame->file, "dwarf_fixture.c"));
    }
    assert_non_null(
        strstr(frame_of(&trace, "block")->file, "dwarf_fixture_hidden.c"));
}

static void variables(void **state)
{
    struct trace trace;
    struct qh_variable variable;
    uint64_t here = number(
        child_named(&session.child, "memory", "main")->words[4]);

    trace_thread("main", &trace);
    assert_int_equal(value_of(&trace, "inner", "kept"), 1234 * 3);
    assert_int_equal(value_of(&trace, "inner", "box"), here);
    assert_int_equal(value_of(&trace, "middle", "in_middle"), 1234);
    assert_int_equal(value_of(&trace, "middle", "in_block"), 4321);
    assert_int_equal(value_of(&trace, "middle", "here"), here);
    assert_success(qh_frame_variable(
        session.debug, &trace.stack, frame_of(&trace, "outer")->unwound,
        "outer", "point_here", &variable));
    assert_true(variable.in_memory);
    assert_int_equal(variable.address.value, here);
    assert_int_equal(variable.bytes, 2 * sizeof(int));
}

/* A parameter that died at the call: the caller's call site still tells it. */
static void value_on_entry(void **state)
{
    struct trace trace;
    struct qh_variable variable;
    struct qh_error *error = NULL;

    trace_thread("main", &trace);
    error = qh_frame_variable(session.debug, &trace.stack,
                              frame_of(&trace, "forgets")->unwound, "forgets",
                              "gone", &variable);
    if (error) {
        /* Some compilers describe no call sites: then it must say so. */
        assert_error(error, QH_ERR_ABSENT, "`gone` of forgets()");
        assert_false(has_call_sites);
    } else {
        assert_int_equal(value_of(&trace, "forgets", "gone"), 1234 * 3);
    }
}

static void no_such_variable(void **state)
{
    struct trace trace;
    uint64_t value = 0;

    trace_thread("main", &trace);
    size_t index = frame_of(&trace, "inner")->unwound;
    assert_error(qh_frame_value(session.debug, &trace.stack, index, "inner",
                                "nothing", &value),
                 QH_ERR_ABSENT, "no such variable");
    assert_error(qh_frame_value(session.debug, &trace.stack, index, "outer",
                                "point_here", &value),
                 QH_ERR_ABSENT, "not in that function");
    assert_error(qh_frame_value(session.debug, &trace.stack, 9999, "inner",
                                "kept", &value),
                 QH_ERR_ABSENT, "no frame 9999");
}

static void thread_stack(void **state)
{
    static const char *const chain[] = { "block", "run_block", "thread_main" };
    struct trace trace;

    trace_thread("plain", &trace);
    assert_chain(&trace, chain, QH_COUNT(chain));
}

static void coroutine_stack(void **state)
{
    static const char *const chain[] = { "yield_to_caller", "entry",
                                         "coroutine_trampoline" };
    struct qh_registers regs;
    struct trace trace;

    coroutine_registers(&regs);
    trace_registers(&regs, &trace);
    assert_chain(&trace, chain, QH_COUNT(chain));
    assert_string_equal(trace.frames[trace.count - 1].function,
                        "coroutine_trampoline");
    assert_int_equal(value_of(&trace, "entry", "in_coroutine"), 777);
    assert_true(trace.stack.frames[trace.stack.count - 1].cfa != 0);
}

/* libdw loses rbx in the innermost frame and could not go on from there. */
static void frame_measured_from_rbx(void **state)
{
    static const char *const chain[] = { "read_by_hand", "uses_rbx",
                                         "calls_by_hand", "thread_main" };
    struct trace trace;

    trace_thread("by_hand", &trace);
    assert_chain(&trace, chain, QH_COUNT(chain));
    assert_int_equal(value_of(&trace, "calls_by_hand", "before"), 888);
}

static void through_a_signal(void **state)
{
    struct trace trace;

    trace_thread("signalled", &trace);
    const struct qh_frame *handler = frame_of(&trace, "handler");
    const struct qh_frame *victim = frame_of(&trace, "interrupted");
    assert_true(handler < victim);
    assert_null(trace.stack.cut);
    frame_of(&trace, "thread_main");
    /* The interrupted code's registers are all known again. */
    bool found = false;
    for (size_t i = handler->unwound + 1; i < victim->unwound; i++) {
        const struct qh_unwound *frame = &trace.stack.frames[i];
        found |= frame->is_activation &&
                 frame->regs.known == (1u << QH_REG_COUNT) - 1;
    }
    assert_true(found);
}

/* Registers that libdw only thinks it knows are not passed off as known. */
static void scratch_registers(void **state)
{
    struct trace trace;

    trace_thread("main", &trace);
    const struct qh_unwound *frame =
        &trace.stack.frames[frame_of(&trace, "outer")->unwound];
    assert_false(frame->regs.known & (1u << QH_REG_RAX));
    assert_true(frame->regs.known & (1u << QH_REG_RBX));
}

static void bad_stacks(void **state)
{
    struct qh_registers regs = task_of("main")->regs;
    struct trace trace;

    regs.dwarf[QH_REG_RIP] = 0x1234;
    trace_registers(&regs, &trace);
    assert_int_equal(trace.stack.count, 1);
    assert_non_null(strstr(trace.stack.cut, "0x1234 is in no known file"));

    regs = task_of("main")->regs;
    regs.dwarf[QH_REG_RSP] = 0x1000;
    regs.dwarf[QH_REG_RBP] = 0x1000;
    trace_registers(&regs, &trace);
    assert_non_null(strstr(trace.stack.cut, "cannot be read"));

    /* Only a stack pointer and nothing to it. */
    regs.known = 0;
    trace_registers(&regs, &trace);
    assert_int_equal(trace.stack.count, 1);
    assert_non_null(trace.stack.cut);
}

/* With registers of a thread that was only looked at, the walk goes on as long
 * as it needs no other, and says which one it lacked. */
static void without_rbp(void **state)
{
    struct trace whole, trace;

    trace_thread("main", &whole);
    for (size_t i = 0; i < whole.stack.count; i++) {
        struct qh_registers regs = whole.stack.frames[i].regs;
        regs.known &= 1u << QH_REG_RSP | 1u << QH_REG_RIP;
        trace_registers(&regs, &trace);
        if (!trace.stack.cut) {
            assert_int_equal(trace.stack.count, whole.stack.count - i);
            continue;
        }
        print_message("frame %zu: %s\n", i, trace.stack.cut);
        assert_non_null(strstr(trace.stack.cut, "is found by rb"));
        assert_non_null(strstr(trace.stack.cut, "which is not known"));
        assert_true(trace.stack.count <= whole.stack.count - i);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(main_stack),
        cmocka_unit_test(lines),
        cmocka_unit_test(variables),
        cmocka_unit_test(value_on_entry),
        cmocka_unit_test(no_such_variable),
        cmocka_unit_test(thread_stack),
        cmocka_unit_test(coroutine_stack),
        cmocka_unit_test(frame_measured_from_rbx),
        cmocka_unit_test(through_a_signal),
        cmocka_unit_test(scratch_registers),
        cmocka_unit_test(bad_stacks),
        cmocka_unit_test(without_rbp),
    };

    if (argc < 2) {
        fprintf(stderr, "usage: %s FIXTURE [call-sites]\n", argv[0]);
        return 64;
    }
    has_call_sites = argc > 2;
    session_open(&session, argv[1]);
    assert_success(qh_target_stop(session.target));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    session_close(&session);
    return failed;
}
