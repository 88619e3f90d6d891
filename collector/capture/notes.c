/* The notes of the core: those that every core has, and qhang's own.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Source: fs/binfmt_elf.c of Linux for what each holds and for their order;
 * struct elf_prstatus and elf_prpsinfo of <sys/procfs.h>. */
#include "capture/private.h"
#include "target/note.h"

#include <elf.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>

/* Bytes that grow, malloc'd. */
struct bytes {
    char *data;
    size_t count, room;
};

static void bytes_deinit(struct bytes *bytes)
{
    free(bytes->data);
}

static struct qh_error *put(struct bytes *bytes, const void *data, size_t count)
{
    QH_TRY(
        qh_array_reserve(&bytes->data, &bytes->room, bytes->count + count, 1));
    if (count) {
        memcpy(bytes->data + bytes->count, data, count);
    }
    bytes->count += count;
    return NULL;
}

static struct qh_error *align(struct bytes *bytes)
{
    static const char zeros[4];

    return put(bytes, zeros, -bytes->count % 4);
}

static struct qh_error *put_note(struct bytes *out, const char *name,
                                 uint32_t type, const void *desc, size_t count)
{
    const Elf64_Nhdr header = {
        .n_namesz = (Elf64_Word)strlen(name) + 1,
        .n_descsz = (Elf64_Word)count,
        .n_type = type,
    };

    QH_TRY(put(out, &header, sizeof(header)));
    QH_TRY(put(out, name, header.n_namesz));
    QH_TRY(align(out));
    QH_TRY(put(out, desc, count));
    return align(out);
}

/* Of a thread that did not stop, as much as /proc has shown; the rest is 0. */
static struct user_regs_struct registers_of(const struct qh_task *task)
{
    struct user_regs_struct user;
    const uint64_t *dwarf = task->regs.dwarf;

    _Static_assert(sizeof(task->user) == sizeof(user), "register set");
    memcpy(&user, task->user, sizeof(user));
    if (task->stop != QH_TASK_STOPPED) {
        user.rdi = dwarf[QH_REG_RDI];
        user.rsi = dwarf[QH_REG_RSI];
        user.rdx = dwarf[QH_REG_RDX];
        user.r10 = dwarf[QH_REG_R10];
        user.r8 = dwarf[8];
        user.r9 = dwarf[9];
        user.rsp = dwarf[QH_REG_RSP];
        user.rip = dwarf[QH_REG_RIP];
        user.orig_rax = (unsigned long long)task->orig_rax;
    }
    return user;
}

static struct qh_error *put_thread(struct bytes *out,
                                   const struct qh_task *task)
{
    struct elf_prstatus status = { .pr_pid = task->tid };
    struct user_regs_struct user = registers_of(task);

    _Static_assert(sizeof(user) == sizeof(status.pr_reg), "register set");
    memcpy(&status.pr_reg, &user, sizeof(user));
    return put_note(out, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

/* The main thread first: debuggers begin with that one. */
static struct qh_error *put_threads(const struct qh_capture *capture,
                                    struct bytes *out)
{
    pid_t pid = qh_target_process(capture->target)->pid;
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(capture->target, &count);

    for (int others = 0; others <= 1; others++) {
        for (size_t i = 0; i < count; i++) {
            if (tasks[i].stop != QH_TASK_GONE &&
                (tasks[i].tid != pid) == others) {
                QH_TRY(put_thread(out, &tasks[i]));
            }
        }
    }
    return NULL;
}

static long status_field(const char *status, const char *key)
{
    const char *at = strstr(status, key);

    return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

static struct qh_error *put_process(const struct qh_capture *capture,
                                    struct bytes *out)
{
    const struct qh_process *process = qh_target_process(capture->target);
    struct elf_prpsinfo info = { .pr_pid = process->pid, .pr_sname = 'T' };
    const char *status = capture->status, *arguments = capture->arguments;
    size_t bytes = capture->arguments_bytes;

    info.pr_ppid = (pid_t)status_field(status, "\nPPid:");
    info.pr_uid = (unsigned)status_field(status, "\nUid:");
    info.pr_gid = (unsigned)status_field(status, "\nGid:");
    memcpy(info.pr_fname, process->name,
           strnlen(process->name, sizeof(info.pr_fname) - 1));
    if (bytes > sizeof(info.pr_psargs) - 1) {
        bytes = sizeof(info.pr_psargs) - 1;
    }
    for (size_t i = 0; i < bytes; i++) {
        bool end = !arguments[i];
        info.pr_psargs[i] = arguments[i];
        if (end) {
            info.pr_psargs[i] = i + 1 < bytes ? ' ' : '\0';
        }
    }
    return put_note(out, "CORE", NT_PRPSINFO, &info, sizeof(info));
}

static struct qh_error *put_files(const struct qh_capture *capture,
                                  struct bytes *out)
{
    QH_CLEANUP(bytes_deinit) struct bytes desc = { 0 };
    QH_CLEANUP(bytes_deinit) struct bytes names = { 0 };
    uint64_t head[2] = { 0, QH_CAPTURE_PAGE };
    size_t count;
    const struct qh_mapping *maps = qh_target_mappings(capture->target, &count);

    QH_TRY(put(&desc, head, sizeof(head)));
    for (size_t i = 0; i < count; i++) {
        const uint64_t entry[3] = { maps[i].start, maps[i].end,
                                    maps[i].file_offset / QH_CAPTURE_PAGE };
        if (maps[i].path[0] == '/') {
            QH_TRY(put(&desc, entry, sizeof(entry)));
            QH_TRY(put(&names, maps[i].path, strlen(maps[i].path) + 1));
            head[0]++;
        }
    }
    memcpy(desc.data, head, sizeof(head));
    QH_TRY(put(&desc, names.data, names.count));
    return put_note(out, "CORE", NT_FILE, desc.data, desc.count);
}

/* What may grow comes last. */
static struct qh_error *put_all(struct qh_capture *capture, struct bytes *out)
{
    const char *facts;

    QH_TRY(qh_facts_make(capture, &facts));
    QH_TRY(put_process(capture, out));
    QH_TRY(put_threads(capture, out));
    QH_TRY(put_note(out, "CORE", NT_AUXV, capture->auxv, capture->auxv_bytes));
    QH_TRY(
        put_note(out, QH_NOTE_NAME, QH_NOTE_FACTS, facts, strlen(facts) + 1));
    QH_TRY(put_files(capture, out));
    return put_note(out, QH_NOTE_NAME, QH_NOTE_MAPS, capture->maps,
                    strlen(capture->maps) + 1);
}

struct qh_error *qh_notes_prepare(struct qh_capture *capture)
{
    struct qh_target *target = capture->target;
    struct qh_arena *arena = &capture->arena;
    size_t bytes;

    QH_TRY(qh_raw_file(target, "status", arena, &capture->status, &bytes));
    QH_TRY(qh_raw_file(target, "cmdline", arena, &capture->arguments,
                       &capture->arguments_bytes));
    return qh_raw_file(target, "auxv", arena, &capture->auxv,
                       &capture->auxv_bytes);
}

struct qh_error *qh_notes_make(struct qh_capture *capture, void **ret,
                               size_t *ret_bytes)
{
    QH_CLEANUP(bytes_deinit) struct bytes out = { 0 };

    QH_TRY(put_all(capture, &out));
    *ret = qh_arena_alloc(&capture->arena, out.count);
    if (!*ret) {
        return qh_error_no_memory();
    }
    memcpy(*ret, out.data, out.count);
    *ret_bytes = out.count;
    return NULL;
}
