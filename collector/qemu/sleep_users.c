/* Users of the coroutine sleep beside the cache cleaner: block-copy, timeouts.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: block/block-copy.c (block_copy_dirty_clusters() sleeps on
 * BlockCopyCallState.sleep, block_copy_call_cancel() sets `cancelled` and
 * kicks) and util/qemu-co-timeout.c (qemu_co_timeout() sleeps on
 * QemuCoTimeoutState.sleep_state, qemu_co_timeout_entry() sets `marker` and
 * wakes). The frame tells the user, and the QemuCoSleep lies in its state. */
#include "qemu/reader.h"

#include <string.h>

static const struct {
    const char *function; /* whose frame called the sleep */
    enum qh_sleep_user user;
    const char *type, *sleep, *asked;
} users[] = {
    { "block_copy_dirty_clusters", QH_USER_BLOCK_COPY, "BlockCopyCallState",
      "sleep", "cancelled" },
    { "qemu_co_timeout", QH_USER_CO_TIMEOUT, "QemuCoTimeoutState",
      "sleep_state", "marker" },
};

/* The function right outside of the sleep, or NULL. */
static const char *sleeping_for(const struct qh_backtrace *stack)
{
    for (size_t i = 0; i + 1 < stack->count; i++) {
        const char *function = stack->frames[i].function;
        if (function && !strcmp(function, "qemu_co_sleep_ns_wakeable")) {
            return stack->frames[i + 1].function;
        }
    }
    return NULL;
}

/* `*ret_asked` is one byte, and lies beside the sleep: in a page that was read
 * while the target stood still, or it is not told. */
static struct qh_error *read_asked(struct qh_reader *reader, size_t index,
                                   struct qh_sleeper *sleeper)
{
    struct qh_debug *debug = reader->qemu->debug;
    const char *anchor = users[index].function;
    struct qh_field sleep, asked;
    uint8_t value;

    QH_TRY(qh_debug_field(debug, users[index].type, users[index].sleep, anchor,
                          &sleep));
    QH_TRY(qh_debug_field(debug, users[index].type, users[index].asked, anchor,
                          &asked));
    if (asked.bytes != sizeof(value)) {
        return qh_error_new(QH_ERR_INCONSISTENT, "%s.%s is no bool",
                            users[index].type, users[index].asked);
    }
    struct raddr at = qh_raddr_add(sleeper->wake, asked.offset - sleep.offset);
    QH_TRY(qh_target_read(reader->target, at, &value, sizeof(value)));
    sleeper->asked_known = !qh_target_is_late(reader->target, at);
    sleeper->asked_to_wake = value != 0;
    sleeper->asked_address = at;
    return NULL;
}

struct qh_error *qh_find_sleep_user(struct qh_reader *reader,
                                    const struct qh_coroutine *coroutine,
                                    struct qh_sleeper *sleeper)
{
    const char *function = sleeping_for(&coroutine->stack);

    for (size_t i = 0; function && sleeper->wake.value && i < QH_COUNT(users);
         i++) {
        if (!strcmp(function, users[i].function)) {
            sleeper->user = users[i].user;
            return read_asked(reader, i, sleeper);
        }
    }
    return NULL;
}
