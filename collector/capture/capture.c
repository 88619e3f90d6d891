/* A capture, start to end: look, stop, read, resume, write.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/private.h"
#include "target/arch.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* The stop itself interrupts an io_uring_enter that has submitted something,
 * and hides whether it was asleep (target/arch.h). The thread then calls again
 * with nothing to submit: a second stop, so much later, is sure of it. And a
 * thread that was in state D, or got to no CPU, and so was not stopped and went
 * on while the others were read, may stop next time. */
enum { MAX_STOPS = 3 };
static const struct timespec between_stops = { .tv_nsec = 20000000 };

static void capture_deinit(struct qh_capture *capture)
{
    if (capture->buffer) {
        munmap(capture->buffer, capture->buffer_bytes);
    }
    free(capture->vms);
    free(capture->extra);
    free(capture->touched.items);
    free(capture->wanted.items);
    free(capture->runs);
    free(capture->left_out);
    qh_arena_deinit(&capture->arena);
}

/* All that can be known and read before the stop; of the memory only so that it
 * is quick to read again. */
static struct qh_error *prepare(struct qh_capture *capture,
                                const struct qh_new_file *file)
{
    capture->maps_before =
        qh_arena_strdup(&capture->arena, qh_raw_maps(capture->target));
    if (!capture->maps_before) {
        return qh_error_no_memory();
    }
    QH_TRY(qh_notes_prepare(capture));
    QH_TRY(qh_vm_learn(capture));
    QH_TRY(qh_choose_build_ids(capture));
    QH_TRY(qh_raw_eventfds(capture->target, &capture->arena, &capture->eventfds,
                           &capture->eventfd_count));
    QH_TRY(qh_choose(capture));
    QH_TRY(qh_new_file_room(file, qh_pages_total(capture)));
    return qh_pages_read(capture);
}

static bool is_sure(const struct qh_capture *capture)
{
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(capture->target, &count);
    const char *name;

    for (size_t i = 0; i < count; i++) {
        if (tasks[i].stop == QH_TASK_IN_KERNEL ||
            qh_arch_wait(&tasks[i], &name) == QH_WAIT_UNSURE) {
            return false;
        }
    }
    return true;
}

static void note_pause(struct qh_capture *capture)
{
    int64_t pause_ns = qh_target_pause_ns(capture->target);

    if (pause_ns > capture->pause_ns) {
        capture->pause_ns = pause_ns;
    }
}

static struct qh_error *stop(struct qh_capture *capture)
{
    for (int stops = 1;; stops++) {
        QH_TRY(qh_target_stop(capture->target));
        if (stops == MAX_STOPS || is_sure(capture)) {
            return NULL;
        }
        qh_target_resume(capture->target);
        note_pause(capture);
        nanosleep(&between_stops, NULL);
    }
}

/* After the memory: a thread that could not be stopped queues first, and writes
 * the eventfd then. */
static void count_eventfds(struct qh_capture *capture)
{
    for (size_t i = 0; i < capture->eventfd_count; i++) {
        struct qh_eventfd *eventfd = &capture->eventfds[i];
        struct qh_error *error = qh_target_eventfd_count(
            capture->target, eventfd->fd, &eventfd->count);
        eventfd->counted = !error;
        qh_error_destroy(error); /* closed meanwhile */
    }
}

static struct qh_error *read_stopped(struct qh_capture *capture)
{
    QH_TRY(stop(capture));
    QH_CLEANUP(qh_target_resume_guard)
    struct qh_target *stopped __attribute__((unused)) = capture->target;

    QH_TRY(qh_choose(capture));
    QH_TRY(qh_pages_read(capture));
    count_eventfds(capture);
    return NULL;
}

/* What is new in the map since the first look may be guest RAM. The stop may
 * have been the end of the process, which waited for nothing else; then there
 * is no second look, but all is well when there was nothing new. */
static struct qh_error *learn_again(struct qh_capture *capture)
{
    struct qh_error *error = qh_vm_learn(capture);

    if (error && error->code != QH_ERR_MEMORY &&
        !strcmp(capture->maps, capture->maps_before)) {
        qh_error_destroy(error);
        return NULL;
    }
    return error;
}

/* The target runs again; its map and tasks are those of the stop. */
static struct qh_error *finish(struct qh_capture *capture,
                               struct qh_new_file *file, uint64_t *ret_bytes)
{
    struct qh_target *target = capture->target;

    note_pause(capture);
    capture->maps = qh_raw_maps(target);
    QH_TRY(qh_target_clock(target, CLOCK_MONOTONIC, &capture->monotonic_ns));
    QH_TRY(qh_target_clock(target, CLOCK_REALTIME, &capture->realtime_ns));
    QH_TRY(learn_again(capture));
    QH_TRY(qh_pages_prune(capture));
    QH_TRY(qh_core_write(capture, file, ret_bytes));
    return qh_new_file_commit(file);
}

static void tell(const struct qh_capture *capture, uint64_t file_bytes,
                 struct qh_capture_result *ret)
{
    size_t count;
    const struct qh_task *tasks = qh_target_tasks(capture->target, &count);

    *ret = (struct qh_capture_result){ .file_bytes = file_bytes,
                                       .pause_ns = capture->pause_ns };
    for (size_t i = 0; i < count; i++) {
        ret->thread_count += tasks[i].stop != QH_TASK_GONE;
        ret->unstopped_count += tasks[i].stop == QH_TASK_IN_KERNEL;
    }
    for (size_t i = 0; i < capture->left_out_count; i++) {
        const struct qh_left_out *item = &capture->left_out[i];
        uint64_t bytes = item->end - item->start;
        switch (item->why) {
        case QH_OUT_UNREADABLE:
            ret->unreadable_bytes += bytes;
            break;
        case QH_OUT_RAM:
        case QH_OUT_LARGE:
        case QH_OUT_SHARED:
            ret->ram_bytes += bytes;
            break;
        default:
            break;
        }
    }
}

struct qh_error *qh_capture(struct qh_target *target, const char *path,
                            const struct qh_capture_options *options,
                            struct qh_capture_result *ret)
{
    QH_CLEANUP(qh_new_file_guard)
    struct qh_new_file file = { .folder = -1, .fd = -1 };
    QH_CLEANUP(capture_deinit)
    struct qh_capture capture = { .target = target, .options = options };
    uint64_t file_bytes = 0;

    QH_TRY(qh_new_file_open(path, &file));
    QH_TRY(prepare(&capture, &file));
    QH_TRY(read_stopped(&capture));
    QH_TRY(finish(&capture, &file, &file_bytes));
    tell(&capture, file_bytes, ret);
    return NULL;
}
