/* The notes of a core: threads, process, auxiliary vector, mapped files.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/arch.h"
#include "target/core.h"
#include "target/note.h"

#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>

/* struct elf_prstatus of this architecture is the one of the core: only x86-64
 * is let through. */
static struct qh_error *read_thread(struct qh_target *target, const void *desc,
                                    size_t bytes, size_t *capacity)
{
    struct elf_prstatus status;
    struct user_regs_struct user;

    _Static_assert(sizeof(user) == sizeof(status.pr_reg), "register set");
    if (bytes < sizeof(status)) {
        return NULL;
    }
    struct qh_task *task =
        qh_list_add(&target->arena, &target->tasks, &target->task_count,
                    capacity, sizeof(*task));
    if (!task) {
        return qh_error_no_memory();
    }
    memcpy(&status, desc, sizeof(status));
    memcpy(&user, &status.pr_reg, sizeof(user));
    task->tid = status.pr_pid;
    task->own_tid = status.pr_pid;
    task->stop = QH_TASK_STOPPED;
    qh_arch_registers(&user, &task->regs, &task->fs_base, &task->orig_rax);
    return NULL;
}

static void read_process(struct qh_target *target, const void *desc,
                         size_t bytes)
{
    struct elf_prpsinfo info;

    if (bytes < sizeof(info)) {
        return;
    }
    memcpy(&info, desc, sizeof(info));
    target->process.pid = info.pr_pid;
    memcpy(target->process.name, info.pr_fname, sizeof(info.pr_fname));
    target->process.name[sizeof(info.pr_fname)] = '\0';
}

/* count, page size, then (start, end, page offset) of each, then the names. */
static struct qh_error *read_files(struct qh_target *target, const void *desc,
                                   size_t bytes)
{
    struct qh_core *core = target->core;
    const char *text = desc, *end = text + bytes;
    uint64_t head[2], entry[3];
    size_t capacity = 0;

    if (core->files || bytes < sizeof(head)) {
        return NULL;
    }
    memcpy(head, text, sizeof(head));
    if (head[0] > (bytes - sizeof(head)) / sizeof(entry)) {
        return NULL;
    }
    text += sizeof(head);
    const char *name = text + head[0] * sizeof(entry);
    for (uint64_t i = 0; i < head[0]; i++, text += sizeof(entry)) {
        const char *nul = memchr(name, '\0', (size_t)(end - name));
        if (!nul) {
            break;
        }
        struct qh_core_file *file =
            qh_list_add(&target->arena, &core->files, &core->file_count,
                        &capacity, sizeof(*file));
        if (!file) {
            return qh_error_no_memory();
        }
        memcpy(entry, text, sizeof(entry));
        *file = (struct qh_core_file){ entry[0], entry[1], entry[2] * head[1],
                                       name };
        name = nul + 1;
    }
    return NULL;
}

static struct qh_error *read_note(struct qh_target *target, uint32_t type,
                                  const void *desc, size_t bytes,
                                  size_t *capacity)
{
    switch (type) {
    case NT_PRSTATUS:
        return read_thread(target, desc, bytes, capacity);
    case NT_PRPSINFO:
        read_process(target, desc, bytes);
        return NULL;
    case NT_AUXV:
        target->core->auxv = desc;
        target->core->auxv_bytes = bytes;
        return NULL;
    case NT_FILE:
        return read_files(target, desc, bytes);
    default:
        return NULL;
    }
}

static void read_own_note(struct qh_core *core, uint32_t type, const char *desc,
                          size_t bytes)
{
    if (type == QH_NOTE_FACTS && !core->capture.facts) {
        core->capture.facts = desc;
        core->capture.facts_bytes = bytes;
    } else if (type == QH_NOTE_MAPS && !core->capture.maps) {
        core->capture.maps = desc;
        core->capture.maps_bytes = bytes;
    }
}

static struct qh_error *cut_in_notes(const struct qh_target *target)
{
    return qh_error_path(
        qh_error_new(QH_ERR_BAD_CORE,
                     "the core is cut short before the end of its notes: no "
                     "threads to be found in it"),
        target->process.core);
}

static struct qh_error *read_segment(struct qh_target *target,
                                     const GElf_Phdr *phdr, size_t *capacity)
{
    struct qh_core *core = target->core;
    GElf_Nhdr note;
    size_t name = 0, desc = 0, at = 0;

    if (phdr->p_offset > core->size ||
        phdr->p_filesz > core->size - phdr->p_offset) {
        return cut_in_notes(target);
    }
    Elf_Data *data = elf_getdata_rawchunk(core->elf, (int64_t)phdr->p_offset,
                                          phdr->p_filesz, ELF_T_NHDR);
    while (data && (at = gelf_getnote(data, at, &note, &name, &desc)) > 0) {
        const char *bytes = data->d_buf;
        if (note.n_namesz == 5 && memcmp(bytes + name, "CORE", 5) == 0) {
            QH_TRY(read_note(target, note.n_type, bytes + desc, note.n_descsz,
                             capacity));
        } else if (note.n_namesz == sizeof(QH_NOTE_NAME) &&
                   memcmp(bytes + name, QH_NOTE_NAME, sizeof(QH_NOTE_NAME)) ==
                       0) {
            read_own_note(core, note.n_type, bytes + desc, note.n_descsz);
        }
    }
    return NULL;
}

static int by_tid(const void *a, const void *b)
{
    const struct qh_task *left = a, *right = b;

    return (left->tid > right->tid) - (left->tid < right->tid);
}

static int by_start(const void *a, const void *b)
{
    const struct qh_core_file *left = a, *right = b;

    return (left->start > right->start) - (left->start < right->start);
}

/* A core knows the name of one thread only. */
static void name_main_thread(struct qh_target *target)
{
    for (size_t i = 0; i < target->task_count; i++) {
        if (target->tasks[i].tid == target->process.pid) {
            memcpy(target->tasks[i].name, target->process.name,
                   sizeof(target->tasks[i].name));
        }
    }
}

struct qh_error *qh_core_read_notes(struct qh_target *target)
{
    struct qh_core *core = target->core;
    size_t count = 0, capacity = 0;

    if (elf_getphdrnum(core->elf, &count) < 0) {
        return cut_in_notes(target);
    }
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr phdr;
        if (!gelf_getphdr(core->elf, (int)i, &phdr)) {
            return cut_in_notes(target);
        }
        if (phdr.p_type == PT_NOTE) {
            QH_TRY(read_segment(target, &phdr, &capacity));
        }
    }
    if (!target->task_count) {
        return qh_error_path(qh_error_new(QH_ERR_BAD_CORE, "%s holds no thread",
                                          target->process.core),
                             target->process.core);
    }
    /* The kernel's comes first: the thread that crashed, or the main one. */
    if (!target->process.pid) {
        target->process.pid = target->tasks[0].tid;
    }
    qsort(target->tasks, target->task_count, sizeof(*target->tasks), by_tid);
    if (core->file_count) {
        qsort(core->files, core->file_count, sizeof(*core->files), by_start);
    }
    name_main_thread(target);
    return qh_core_read_facts(target);
}
