/* Loads the members and symbols that the readers use.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/layout.h"

#include <string.h>

static const struct {
    const char *type;
    const char *path;
    const char *name;
    const char *anchor;
    enum qh_presence presence;
} field_specs[] = {
#define QH_FIELD_SPEC(id, type, path, anchor, presence)                        \
    [QH_F_##id] = { type, path, type "." path, anchor, presence },
    QH_QEMU_FIELDS(QH_FIELD_SPEC)
#undef QH_FIELD_SPEC
};

static const struct {
    const char *name;
    enum qh_presence presence;
} symbol_specs[] = {
#define QH_SYMBOL_SPEC(id, name, presence) [QH_S_##id] = { name, presence },
    QH_QEMU_SYMBOLS(QH_SYMBOL_SPEC)
#undef QH_SYMBOL_SPEC
};

const char *qh_layout_field_name(enum qh_field_id id)
{
    return field_specs[id].name;
}

/* Absent is an answer; anything else that went wrong is handed on. */
static struct qh_error *forgive_absent(struct qh_error *error)
{
    if (error &&
        (error->code == QH_ERR_ABSENT || error->code == QH_ERR_NO_DEBUGINFO)) {
        qh_error_destroy(error);
        return NULL;
    }
    return error;
}

static struct qh_error *load_symbols(struct qh_debug *debug,
                                     struct qh_layout *layout)
{
    for (size_t i = 0; i < QH_SYMBOL_COUNT; i++) {
        QH_TRY(forgive_absent(
            qh_debug_symbol(debug, symbol_specs[i].name, &layout->symbols[i])));
    }
    return NULL;
}

static struct qh_error *load_fields(struct qh_debug *debug,
                                    struct qh_layout *layout)
{
    for (size_t i = 0; i < QH_FIELD_COUNT; i++) {
        struct qh_error *error =
            qh_debug_field(debug, field_specs[i].type, field_specs[i].path,
                           field_specs[i].anchor, &layout->fields[i].at);
        layout->fields[i].present = !error;
        if (field_specs[i].presence == QH_REQUIRED) {
            QH_TRY(error);
        }
        QH_TRY(forgive_absent(error));
    }
    return NULL;
}

/* A program without any of these is no QEMU. */
static struct qh_error *check_is_qemu(const struct qh_layout *layout)
{
    if (layout->symbols[QH_S_QEMU_AIO_CONTEXT].value ||
        layout->symbols[QH_S_QEMU_CLOCKS].value) {
        return NULL;
    }
    return qh_error_new(QH_ERR_NOT_QEMU,
                        "the program has no AioContext and no coroutines: "
                        "it is no QEMU");
}

static struct qh_error *check_symbols(const struct qh_layout *layout)
{
    for (size_t i = 0; i < QH_SYMBOL_COUNT; i++) {
        if (symbol_specs[i].presence == QH_REQUIRED &&
            !layout->symbols[i].value) {
            return qh_error_new(QH_ERR_NO_DEBUGINFO, "the symbol %s is missing",
                                symbol_specs[i].name);
        }
    }
    return NULL;
}

struct qh_error *qh_layout_load(struct qh_debug *debug, struct qh_layout *ret)
{
    struct qh_layout layout = { 0 };

    QH_TRY(load_symbols(debug, &layout));
    QH_TRY(check_is_qemu(&layout));
    QH_TRY(check_symbols(&layout));
    QH_TRY(load_fields(debug, &layout));
    QH_TRY(
        qh_debug_sizeof(debug, "QEMUClock", ANCHOR_TIMER, &layout.clock_bytes));
    QH_TRY(qh_debug_sizeof(debug, "CoroutineUContext", ANCHOR_COROUTINE,
                           &layout.ucontext_bytes));
    memcpy(ret, &layout, sizeof(layout));
    return NULL;
}
