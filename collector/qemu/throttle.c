/* The timer that lets a throttled request go.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: block/throttle-groups.c. Of all members of a group one has
 * the token for reads and one that for writes, and the group's next request in
 * that direction goes when that member's timer fires
 * (throttle_group_schedule_timer(), timer_cb()).
 */
#include "qemu/co_wait.h"

/* ThrottleDirection: THROTTLE_READ, THROTTLE_WRITE. */
enum { READS, WRITES, DIRECTIONS };

static const enum qh_field_id pending[] = { QH_F_TGM_READS, QH_F_TGM_WRITES };
static const enum qh_field_id tokens[] = { QH_F_GROUP_READ_TOKEN,
                                           QH_F_GROUP_WRITE_TOKEN };
static const enum qh_field_id timers[] = { QH_F_TGM_READ_TIMER,
                                           QH_F_TGM_WRITE_TIMER };

/* Which way the request goes: the function's own parameter (a bool before
 * 8.2), else what the member has pending, if that is of one kind. */
static bool find_direction(struct qh_reader *reader, const struct qh_walk *walk,
                           const struct qh_wait *wait, uint64_t *ret)
{
    static const char *const names[] = { "direction", "is_write" };
    uint64_t counts[DIRECTIONS] = { 0 };

    for (size_t i = 0; i < QH_COUNT(names); i++) {
        if (qh_walk_knows(reader, walk, wait->function, names[i], ret) &&
            *ret < DIRECTIONS) {
            return true;
        }
    }
    for (size_t i = 0; i < DIRECTIONS; i++) {
        struct qh_error *error =
            qh_read_field(reader, wait->object, pending[i], &counts[i]);
        if (error) {
            qh_error_destroy(error);
            return false;
        }
    }
    *ret = counts[WRITES] ? WRITES : READS;
    return !counts[READS] != !counts[WRITES];
}

static struct qh_error *find_timer(struct qh_reader *reader,
                                   struct raddr member, uint64_t direction,
                                   struct raddr *ret)
{
    struct raddr state, token;

    *ret = qh_raddr(0);
    QH_TRY(qh_read_link(reader, member, QH_F_TGM_STATE, &state));
    if (!state.value) {
        return NULL;
    }
    struct raddr group = qh_raddr(
        state.value - reader->layout->fields[QH_F_GROUP_STATE].at.offset);
    QH_TRY(qh_read_link(reader, group, tokens[direction], &token));
    return token.value ? qh_read_link(reader, token, timers[direction], ret)
                       : NULL;
}

struct qh_error *qh_co_throttle_timer(struct qh_reader *reader,
                                      const struct qh_walk *walk,
                                      struct qh_wait *wait)
{
    struct raddr timer;
    uint64_t direction;

    if (!wait->object.value || !qh_has_field(reader, QH_F_TGM_STATE) ||
        !qh_has_field(reader, QH_F_GROUP_STATE) ||
        !find_direction(reader, walk, wait, &direction)) {
        return NULL;
    }
    struct qh_error *error =
        find_timer(reader, wait->object, direction, &timer);
    if (error && error->code == QH_ERR_EXITED) {
        return error;
    }
    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    wait->timer = timer;
    return qh_co_operand_field(reader, wait, "expire_time", timer,
                               QH_F_TIMER_EXPIRE);
}
