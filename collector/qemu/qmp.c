/* The QMP command in progress.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source of facts: qapi/qmp-dispatch.c. The dispatcher is a coroutine; while a
 * command runs it is inside of qmp_dispatch(), whose `cmd` is the QmpCommand.
 * A command that is no coroutine runs in a bottom half meanwhile, and the
 * QmpDispatchBH on that frame names it too, where `cmd` is optimised away. */
#include "qemu/reader.h"

#include <ctype.h>

static bool is_name(const char *text)
{
    size_t length = 0;

    while (text && (isalnum((unsigned char)text[length]) ||
                    text[length] == '-' || text[length] == '_')) {
        length++;
    }
    return length > 0 && text[length] == 0;
}

static const char *name_of(struct qh_reader *reader, struct raddr command)
{
    struct raddr name;
    struct qh_error *error =
        qh_read_link(reader, command, QH_F_QMP_CMD_NAME, &name);

    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    const char *text = qh_read_string(reader, name);
    return is_name(text) ? text : NULL;
}

static const char *from_variable(struct qh_reader *reader,
                                 const struct qh_walk *walk)
{
    struct raddr command;

    return qh_walk_knows(reader, walk, "qmp_dispatch", "cmd", &command.value)
               ? name_of(reader, command)
               : NULL;
}

static const char *from_bottom_half(struct qh_reader *reader,
                                    const struct qh_walk *walk)
{
    struct raddr data, command;
    struct qh_error *error =
        qh_walk_address(reader, walk, "qmp_dispatch", "data", &data);

    if (!error) {
        error = qh_read_link(reader, data, QH_F_QMP_BH_CMD, &command);
    }
    if (error) {
        qh_error_destroy(error);
        return NULL;
    }
    return name_of(reader, command);
}

struct qh_error *qh_find_qmp_command(struct qh_reader *reader)
{
    struct qh_snapshot *snapshot = reader->snapshot;

    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        const struct qh_walk *walk = &reader->coroutines[i].walk;
        if (!qh_backtrace_has(&coroutine->stack, "qmp_dispatch")) {
            continue;
        }
        const char *name = from_variable(reader, walk);
        snapshot->qmp_command = name ? name : from_bottom_half(reader, walk);
        snapshot->qmp_coroutine = coroutine->address;
        if (!snapshot->qmp_command) {
            return qh_snapshot_gap(snapshot, "QMP command in progress",
                                   coroutine->address,
                                   "its name is not in the frames",
                                   "look at the monitor's own log");
        }
    }
    return NULL;
}
