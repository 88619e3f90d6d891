/* What one coroutine waits for, from what refers to it and from its frames.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What refers to the coroutine comes first: the context that has it scheduled,
 * the timer of its sleep, the list of a lock. Then the function that yielded,
 * and the object which that function works on. */
#include "qemu/co_wait.h"

#include <string.h>

/* How far out from the yield a function may stand that tells the wait: helpers
 * lie between, inlined or not. */
enum { MAX_DEPTH = 4 };

/* Coroutine.scheduled of one given to aio_co_schedule(), util/async.c. */
static const char scheduled_by[] = "aio_co_schedule";

static bool is_switch(const char *name)
{
    return !name || !strcmp(name, "qemu_coroutine_switch") ||
           !strcmp(name, "qemu_coroutine_yield") ||
           !strcmp(name, "swapcontext") || strstr(name, "sigsetjmp");
}

/* The index of the line that has yielded, or the count of lines. */
static size_t yielding_line(const struct qh_backtrace *stack)
{
    size_t i = 0;

    while (i < stack->count && is_switch(stack->frames[i].function)) {
        i++;
    }
    return i;
}

static const char *function_at(const struct qh_backtrace *stack, size_t line)
{
    return line < stack->count ? stack->frames[line].function : NULL;
}

static bool is_at(const struct qh_backtrace *stack, size_t line,
                  const char *function)
{
    const char *name = function_at(stack, line);

    return name && !strcmp(name, function);
}

/* The row of one of the lines from `line` on; `*ret` is its function. */
static const struct qh_co_row *
find_row(const struct qh_backtrace *stack, size_t line,
         const struct qh_co_row *(*look)(const char *), const char **ret)
{
    for (size_t i = line; i < stack->count && i < line + MAX_DEPTH; i++) {
        const struct qh_co_row *row = look(stack->frames[i].function);
        if (row) {
            *ret = stack->frames[i].function;
            return row;
        }
    }
    return NULL;
}

static struct raddr object_of(struct qh_reader *reader,
                              const struct qh_walk *walk,
                              const struct qh_co_row *row)
{
    struct raddr object = { 0 };
    struct qh_error *error = NULL;

    if (!row->variable) {
        return object;
    }
    if (row->is_object) {
        error = qh_walk_address(reader, walk, row->function, row->variable,
                                &object);
    } else {
        error = qh_walk_value(reader, walk, row->function, row->variable,
                              &object.value);
    }
    qh_error_destroy(error);
    return object;
}

static struct qh_error *apply_row(struct qh_reader *reader,
                                  const struct qh_walk *walk,
                                  const struct qh_co_row *row,
                                  struct qh_wait *wait)
{
    wait->kind = row->kind;
    wait->object = object_of(reader, walk, row);
    for (size_t i = 0; i < QH_COUNT(row->operands) && row->operands[i].what;
         i++) {
        QH_TRY(qh_co_operand_field(reader, wait, row->operands[i].what,
                                   wait->object, row->operands[i].field));
    }
    return NULL;
}

/* An owner is named only where there is such a coroutine. */
static void set_owner(struct qh_reader *reader, struct qh_wait *wait,
                      struct raddr owner)
{
    if (qh_coroutine_index(reader, owner) != SIZE_MAX) {
        wait->owner_coroutine = owner;
    }
}

static struct raddr variable(struct qh_reader *reader,
                             const struct qh_walk *walk, const char *function,
                             const char *name)
{
    struct raddr value = { 0 };

    qh_walk_knows(reader, walk, function, name, &value.value);
    return value;
}

static struct raddr link_of(struct qh_reader *reader, struct raddr object,
                            enum qh_field_id id)
{
    struct raddr link = { 0 };

    if (object.value && qh_has_field(reader, id)) {
        qh_error_destroy(qh_read_link(reader, object, id, &link));
    }
    return link;
}

/* Notes whether the coroutine still stands in the list of its object. */
static struct qh_error *tell_listed(struct qh_co_waits *waits,
                                    enum qh_co_list kind, size_t index,
                                    struct raddr list, struct qh_wait *wait)
{
    if (!list.value) {
        return NULL;
    }
    QH_TRY(qh_co_list_walk(waits, kind, list));
    return qh_co_operand(waits->reader, wait, "listed",
                         qh_raddr_equal(waits->stands_in[index], list));
}

static struct qh_error *tell_mutex(struct qh_co_waits *waits, size_t index,
                                   struct qh_wait *wait)
{
    struct qh_reader *reader = waits->reader;
    const struct qh_walk *walk = &reader->coroutines[index].walk;

    wait->kind = QH_WAIT_CO_MUTEX;
    wait->object = variable(reader, walk, "qemu_co_mutex_lock", "mutex");
    if (!wait->object.value) {
        wait->object =
            variable(reader, walk, "qemu_co_mutex_lock_slowpath", "mutex");
    }
    if (!wait->object.value) {
        return NULL;
    }
    QH_TRY(qh_co_operand_field(reader, wait, "locked", wait->object,
                               QH_F_CO_MUTEX_LOCKED));
    QH_TRY(qh_co_operand_field(reader, wait, "holder", wait->object,
                               QH_F_CO_MUTEX_HOLDER));
    QH_TRY(qh_co_operand_field(reader, wait, "handoff", wait->object,
                               QH_F_CO_MUTEX_HANDOFF));
    set_owner(reader, wait,
              link_of(reader, wait->object, QH_F_CO_MUTEX_HOLDER));
    return tell_listed(waits, QH_LIST_MUTEX, index, wait->object, wait);
}

static struct qh_error *tell_rwlock(struct qh_co_waits *waits, size_t index,
                                    const char *function, struct qh_wait *wait)
{
    struct qh_reader *reader = waits->reader;

    wait->kind = QH_WAIT_CO_RWLOCK;
    wait->object =
        variable(reader, &reader->coroutines[index].walk, function, "lock");
    if (!wait->object.value) {
        return NULL;
    }
    QH_TRY(qh_co_operand_field(reader, wait, "owners", wait->object,
                               QH_F_RWLOCK_OWNERS));
    QH_TRY(qh_co_operand_field(reader, wait, "mutex.locked", wait->object,
                               QH_F_RWLOCK_MUTEX_LOCKED));
    QH_TRY(qh_co_operand_field(
        reader, wait, "first ticket reads",
        link_of(reader, wait->object, QH_F_RWLOCK_TICKETS), QH_F_TICKET_READ));
    return tell_listed(waits, QH_LIST_RWLOCK, index, wait->object, wait);
}

/* Whose end those wait for that queue on a request. Source of facts: block/io.c
 *, block/mirror.c. */
static struct raddr queue_owner(struct qh_reader *reader,
                                const struct qh_walk *walk)
{
    static const char *const serialising[] = {
        "bdrv_wait_serialising_requests_locked",
        "bdrv_wait_serialising_requests",
    };
    static const char *const mirroring[] = {
        "mirror_wait_on_conflicts",
        "mirror_wait_for_free_in_flight_slot",
    };

    for (size_t i = 0; i < QH_COUNT(serialising); i++) {
        struct raddr self = variable(reader, walk, serialising[i], "self");
        struct raddr request = link_of(reader, self, QH_F_REQUEST_FOR);
        if (request.value) {
            return link_of(reader, request, QH_F_REQUEST_CO);
        }
    }
    for (size_t i = 0; i < QH_COUNT(mirroring); i++) {
        struct raddr op = variable(reader, walk, mirroring[i], "op");
        if (op.value) {
            return link_of(reader, op, QH_F_MIRROR_OP_CO);
        }
    }
    return qh_raddr(0);
}

/* Of the graph lock, the writer: a thread, and only the main thread writes. */
static void set_graph_owner(const struct qh_snapshot *snapshot,
                            struct qh_wait *wait)
{
    const struct qh_graph_lock *graph = &snapshot->graph;

    if (graph->readable && graph->has_writer) {
        wait->owner_tid = graph->writer_tid ? graph->writer_tid : snapshot->pid;
    }
}

static struct qh_error *name_object(struct qh_reader *reader,
                                    struct qh_wait *wait, enum qh_field_id id,
                                    bool is_pointer)
{
    struct raddr text = { 0 };

    if (!wait->object.value || !qh_has_field(reader, id)) {
        return NULL;
    }
    text = is_pointer ? link_of(reader, wait->object, id)
                      : qh_field_at(reader, wait->object, id);
    const char *name = qh_read_string(reader, text);
    wait->object_name = name && *name ? name : NULL;
    return NULL;
}

static struct qh_error *tell_queue(struct qh_co_waits *waits, size_t index,
                                   size_t line, struct qh_wait *wait)
{
    struct qh_reader *reader = waits->reader;
    const struct qh_walk *walk = &reader->coroutines[index].walk;
    const struct qh_backtrace *stack =
        &reader->snapshot->coroutines[index].stack;
    struct raddr queue =
        variable(reader, walk, "qemu_co_queue_wait_impl", "queue");
    const char *user = function_at(stack, line + 1);
    const struct qh_co_row *row =
        find_row(stack, line + 1, qh_co_queue_row, &user);

    wait->function = user ? user : wait->function;
    if (row) {
        QH_TRY(apply_row(reader, walk, row, wait));
    } else {
        wait->kind = QH_WAIT_CO_QUEUE;
        wait->object = queue;
        set_owner(reader, wait, queue_owner(reader, walk));
    }
    if (queue.value &&
        qh_raddr_equal(queue, qh_symbol(reader, QH_S_READER_QUEUE))) {
        wait->kind = QH_WAIT_GRAPH_READ;
    }
    if (wait->kind == QH_WAIT_GRAPH_READ) {
        wait->object = queue;
        set_graph_owner(reader->snapshot, wait);
    } else if (wait->kind == QH_WAIT_DRAIN) {
        QH_TRY(name_object(reader, wait, QH_F_BLK_NAME, true));
    } else if (wait->kind == QH_WAIT_THROTTLE) {
        QH_TRY(qh_co_throttle_timer(reader, walk, wait));
    }
    return tell_listed(waits, QH_LIST_QUEUE, index, queue, wait);
}

/* "fd 23", behind the channel's own name where QEMU gave it one. */
static struct qh_error *name_channel(struct qh_reader *reader,
                                     struct qh_wait *wait)
{
    const struct qh_operand *fd =
        wait->operand_count ? &wait->operands[wait->operand_count - 1] : NULL;
    const char *name = wait->object_name;

    if (!fd || strcmp(fd->what, "fd") || !fd->known) {
        return NULL;
    }
    wait->object_name =
        qh_arena_printf(&reader->snapshot->arena, "%s%sfd %d", name ? name : "",
                        name ? ", " : "", (int)fd->value);
    return wait->object_name ? NULL : qh_error_no_memory();
}

/* The file descriptor of a channel, which each kind keeps in its own place: by
 * the function of its class that would hand it to an AioContext. One of TLS
 * has the descriptor of its master. Source of facts: io/channel-*.c. */
static struct qh_error *tell_channel(struct qh_reader *reader,
                                     struct qh_wait *wait)
{
    static const struct {
        const char *function;
        enum qh_field_id fd;
    } kinds[] = {
        { "qio_channel_socket_set_aio_fd_handler", QH_F_CHANNEL_SOCKET_FD },
        { "qio_channel_file_set_aio_fd_handler", QH_F_CHANNEL_FILE_FD },
    };
    struct raddr channel = wait->object;

    QH_TRY(name_object(reader, wait, QH_F_CHANNEL_NAME, true));
    for (int layer = 0; layer < 2 && channel.value; layer++) {
        struct raddr class = link_of(reader, channel, QH_F_CHANNEL_CLASS);
        struct raddr handler = link_of(reader, class, QH_F_CHANNEL_CLASS_AIO);
        const char *name =
            handler.value ? qh_function_name(reader, handler) : NULL;
        for (size_t i = 0; name && i < QH_COUNT(kinds); i++) {
            if (!strcmp(name, kinds[i].function)) {
                QH_TRY(qh_co_operand_field(reader, wait, "fd", channel,
                                           kinds[i].fd));
                return name_channel(reader, wait);
            }
        }
        if (!name || strcmp(name, "qio_channel_tls_set_aio_fd_handler")) {
            return NULL;
        }
        channel = link_of(reader, channel, QH_F_CHANNEL_TLS_MASTER);
    }
    return NULL;
}

/* A job sleeps, or it waits to be entered: a timer tells which. */
static struct qh_error *tell_job(struct qh_reader *reader, struct qh_wait *wait)
{
    int64_t expire;

    QH_TRY(name_object(reader, wait, QH_F_JOB_ID, true));
    if (!wait->object.value || !qh_has_field(reader, QH_F_JOB_TIMER_EXPIRE)) {
        return NULL;
    }
    QH_TRY(qh_co_operand_field(reader, wait, "sleep_timer.expire_time",
                               wait->object, QH_F_JOB_TIMER_EXPIRE));
    const struct qh_operand *last = &wait->operands[wait->operand_count - 1];
    expire = last->known ? last->value : -1;
    if (expire >= 0) {
        wait->kind = QH_WAIT_TIMER;
    }
    return NULL;
}

/* The thread that runs a context's loop. */
static pid_t home_of(const struct qh_snapshot *snapshot, struct raddr context)
{
    const struct qh_context *found = qh_snapshot_context(snapshot, context);

    return found ? found->tid : 0;
}

static struct qh_error *tell_yield(struct qh_co_waits *waits, size_t index,
                                   size_t line, struct qh_wait *wait)
{
    struct qh_reader *reader = waits->reader;
    struct qh_snapshot *snapshot = reader->snapshot;
    const struct qh_coroutine *coroutine = &snapshot->coroutines[index];
    const struct qh_co_row *row =
        find_row(&coroutine->stack, line, qh_co_yield_row, &wait->function);

    if (row) {
        QH_TRY(apply_row(reader, &reader->coroutines[index].walk, row, wait));
    } else if (waits->timers[index]) {
        wait->kind = QH_WAIT_TIMER;
        wait->object = waits->timers[index]->address;
        return qh_co_operand(reader, wait, "expire_time",
                             waits->timers[index]->expire_ns);
    } else if (waits->linked[index]) {
        /* qemu_co_queue_wait_impl() without a lock leaves no frame: its yield
         * is a tail call. Which queue, nothing tells. */
        wait->kind = QH_WAIT_CO_QUEUE;
        return qh_co_operand(reader, wait, "listed", 1);
    }
    if (wait->kind == QH_WAIT_JOB_PAUSE) {
        return tell_job(reader, wait);
    }
    if (row && !strcmp(row->function, "qio_channel_yield")) {
        return tell_channel(reader, wait);
    }
    if (wait->kind == QH_WAIT_BH &&
        qh_raddr_equal(snapshot->qmp_coroutine, coroutine->address)) {
        wait->object_name = snapshot->qmp_command;
        wait->owner_tid = snapshot->pid;
    } else if (wait->kind == QH_WAIT_DRAIN) {
        wait->object = link_of(reader, wait->object, QH_F_DRAIN_BS);
        wait->owner_tid = home_of(snapshot, snapshot->main_context);
        return name_object(reader, wait, QH_F_BDS_NODE_NAME, false);
    }
    return NULL;
}

/* Its wait is over; its context's co_schedule_bh has only to enter it. */
static struct qh_error *tell_scheduled(struct qh_co_waits *waits, size_t index,
                                       struct qh_wait *wait)
{
    struct qh_snapshot *snapshot = waits->reader->snapshot;
    struct raddr context = waits->scheduled_in[index];
    bool listed = context.value != 0;

    wait->kind = QH_WAIT_BH;
    wait->object = listed ? context : snapshot->coroutines[index].context;
    wait->owner_tid = home_of(snapshot, wait->object);
    const struct qh_context *found =
        qh_snapshot_context(snapshot, wait->object);
    wait->object_name = found ? found->name : NULL;
    return qh_co_operand(waits->reader, wait, "listed", listed);
}

static struct qh_error *tell_sleep(struct qh_co_waits *waits, size_t index,
                                   struct qh_wait *wait)
{
    const struct qh_sleeper *sleeper = waits->sleepers[index];

    wait->kind = QH_WAIT_SLEEP;
    wait->object = sleeper->wake;
    if (sleeper->has_cleaner) {
        wait->object_name = sleeper->cleaner.node;
    }
    if (sleeper->armed != QH_ARMED_UNKNOWN) {
        QH_TRY(qh_co_operand(waits->reader, wait, "to_wake",
                             (int64_t)sleeper->to_wake.value));
    }
    return sleeper->expire_ns == QH_TIME_UNKNOWN
               ? NULL
               : qh_co_operand(waits->reader, wait, "expire_time",
                               sleeper->expire_ns);
}

struct qh_error *qh_co_tell(struct qh_co_waits *waits, size_t index,
                            struct qh_wait *wait)
{
    const struct qh_coroutine *coroutine =
        &waits->reader->snapshot->coroutines[index];
    const struct qh_backtrace *stack = &coroutine->stack;
    size_t line = yielding_line(stack);
    const char *function = function_at(stack, line);

    wait->kind = QH_WAIT_UNKNOWN;
    wait->coroutine = coroutine->address;
    wait->function = function;
    if (waits->scheduled_in[index].value ||
        (coroutine->scheduled && !strcmp(coroutine->scheduled, scheduled_by))) {
        return tell_scheduled(waits, index, wait);
    }
    if (waits->sleepers[index]) {
        return tell_sleep(waits, index, wait);
    }
    if (!function) {
        return NULL;
    }
    if (is_at(stack, line, "qemu_co_mutex_lock") ||
        is_at(stack, line, "qemu_co_mutex_lock_slowpath")) {
        return tell_mutex(waits, index, wait);
    }
    if (!strncmp(function, "qemu_co_rwlock_", strlen("qemu_co_rwlock_"))) {
        return tell_rwlock(waits, index, function, wait);
    }
    if (is_at(stack, line, "qemu_co_queue_wait_impl")) {
        return tell_queue(waits, index, line, wait);
    }
    return tell_yield(waits, index, line, wait);
}
