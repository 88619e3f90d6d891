/* What the process has asked of the kernel for its memory.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: VmFlags of /proc/PID/smaps, proc(5); fs/proc/task_mmu.c. */
#include "capture/private.h"

#include <string.h>

/* "START-END ..."; other lines begin with letters, which may be hex. */
static bool read_header(const char *line, struct qh_vm *ret)
{
    char *end;
    uint64_t from = strtoull(line, &end, 16);

    if (end == line || *end != '-') {
        return false;
    }
    ret->start = from;
    ret->end = strtoull(end + 1, &end, 16);
    return true;
}

static unsigned read_flags(const char *line)
{
    static const struct {
        char name[4];
        unsigned flag;
    } names[] = {
        { " dc", QH_VM_DONTFORK },
        { " dd", QH_VM_DONTDUMP },
        { " mg", QH_VM_MERGEABLE },
        { " hg", QH_VM_HUGE },
    };
    unsigned flags = 0;

    for (unsigned i = 0; i < QH_COUNT(names); i++) {
        flags |= strstr(line, names[i].name) ? names[i].flag : 0;
    }
    return flags;
}

static int by_start(const void *a, const void *b)
{
    const struct qh_vm *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

/* Only areas with a flag that matters are kept. `*ret_told`: any flags at
 * all. */
static struct qh_error *parse_smaps(struct qh_capture *capture, char *text,
                                    bool *ret_told)
{
    static const char key[] = "VmFlags:";
    struct qh_vm vm = { 0 };

    for (char *end; (end = strchr(text, '\n')); text = end + 1) {
        *end = '\0';
        if (read_header(text, &vm) ||
            strncmp(text, key, sizeof(key) - 1) != 0) {
            continue;
        }
        *ret_told = true;
        vm.flags = read_flags(text + sizeof(key) - 1);
        if (vm.flags) {
            QH_TRY(qh_array_reserve(&capture->vms, &capture->vm_room,
                                    capture->vm_count + 1,
                                    sizeof(*capture->vms)));
            capture->vms[capture->vm_count++] = vm;
        }
    }
    return NULL;
}

struct qh_error *qh_vm_learn(struct qh_capture *capture)
{
    char *text;
    size_t bytes;
    bool told = false;

    QH_TRY(
        qh_raw_file(capture->target, "smaps", &capture->arena, &text, &bytes));
    QH_TRY(parse_smaps(capture, text, &told));
    if (!told) {
        return qh_error_try(
            qh_error_new(QH_ERR_SYSTEM,
                         "this kernel does not tell which memory is the "
                         "guest's (no VmFlags in smaps)"),
            "take a core with gcore; it holds all of the guest's memory");
    }
    if (capture->vm_count) {
        qsort(capture->vms, capture->vm_count, sizeof(*capture->vms), by_start);
    }
    return NULL;
}

/* The flags of all areas that [start, end) overlaps. They are in order of
 * their starts; two looks may have seen different ends. */
unsigned qh_vm_flags(const struct qh_capture *capture, uint64_t start,
                     uint64_t end)
{
    unsigned flags = 0;

    for (size_t i = 0; i < capture->vm_count; i++) {
        const struct qh_vm *vm = &capture->vms[i];
        if (vm->start >= end) {
            break;
        }
        if (start < vm->end) {
            flags |= vm->flags;
        }
    }
    return flags;
}
