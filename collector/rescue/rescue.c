/* Carries a plan out, under one stop.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "rescue/check.h"

#include <string.h>
#include <time.h>

/* A thread that a stop has woken needs a moment to go back to sleep, and one
 * that sets a timer a moment to have done so. */
enum { MAX_ATTEMPTS = 10 };
static const struct timespec attempt_pause = { .tv_nsec = 100000000 };

/* One moment of the stopped target, proved and read. */
struct moment {
    struct qh_snapshot *snapshot;
    struct qh_findings *findings;
};

static void moment_deinit(struct moment *moment)
{
    qh_findings_destroy(moment->findings);
    qh_snapshot_destroy(moment->snapshot);
}

static struct qh_error *take_moment(struct qh_qemu *qemu, struct moment *ret)
{
    QH_TRY(qh_qemu_sample_stopped(qemu, &ret->snapshot));
    return qh_diagnose(ret->snapshot, &ret->findings);
}

/* The finding as this moment has it, or NULL. */
static const struct qh_finding *find_again(const struct moment *moment,
                                           const struct qh_finding *finding)
{
    for (size_t i = 0; i < moment->findings->count; i++) {
        if (qh_finding_is_same(&moment->findings->items[i], finding)) {
            return &moment->findings->items[i];
        }
    }
    return NULL;
}

/* All that the finding rests on must be the same. */
static struct qh_error *check_again(const struct moment *moment,
                                    const struct qh_finding *now,
                                    const struct qh_finding *finding)
{
    static const char otherwise[] = "the process stands otherwise than when it "
                                    "was diagnosed";

    if (!now) {
        return moment->findings->unsettled
                   ? qh_refuse_for_now(finding->coroutine, otherwise)
                   : qh_refuse(finding->coroutine, otherwise);
    }
    return now->fingerprint == finding->fingerprint
               ? NULL
               : qh_refuse(finding->coroutine,
                           "what the finding rests on has changed meanwhile");
}

struct qh_error *qh_rescue_doubt(struct qh_error *error)
{
    if (!error ||
        (error->code != QH_ERR_UNREADABLE &&
         error->code != QH_ERR_INCONSISTENT && error->code != QH_ERR_ABSENT)) {
        return error;
    }
    struct qh_error *refusal =
        qh_refuse(error->has_address ? error->address : qh_raddr(0), "%s",
                  error->message);
    qh_error_destroy(error);
    return refusal;
}

static struct qh_error *plan_sleep(struct qh_qemu *qemu,
                                   const struct moment *moment,
                                   const struct qh_finding *finding,
                                   struct qh_rescue_plan *ret)
{
    const struct qh_sleeper *sleeper =
        qh_snapshot_sleeper(moment->snapshot, finding->coroutine);
    struct qh_rescue_sleep sleep;
    struct qh_rescue_notifier notifier;

    if (!sleeper) {
        return qh_refuse(finding->coroutine, "the sleeper is gone");
    }
    QH_TRY(qh_rescue_doubt(
        qh_qemu_read_sleep(qemu, moment->snapshot, sleeper, &sleep)));
    QH_TRY(qh_rescue_doubt(qh_qemu_read_notifier(
        qemu, moment->snapshot, sleep.list.notifies, &notifier)));
    return qh_rescue_plan(moment->snapshot, finding, &sleep, &notifier, ret);
}

static struct qh_error *make_plan(struct qh_qemu *qemu,
                                  const struct moment *moment,
                                  const struct qh_finding *finding,
                                  struct qh_rescue_plan *ret)
{
    struct qh_rescue_notifier notifier;
    enum qh_kick kick = qh_finding_kick(finding);

    if (kick == QH_KICK_TIMER) {
        return plan_sleep(qemu, moment, finding, ret);
    }
    if (kick == QH_KICK_NONE) {
        return qh_refuse(qh_raddr(0), "no rescue is known for %s",
                         finding->rule);
    }
    QH_TRY(qh_rescue_doubt(qh_qemu_read_notifier(qemu, moment->snapshot,
                                                 finding->context, &notifier)));
    return qh_rescue_plan(moment->snapshot, finding, NULL, &notifier, ret);
}

static bool is_same_write(const struct qh_rescue_write *one,
                          const struct qh_rescue_write *other)
{
    return qh_raddr_equal(one->word.address, other->word.address) &&
           one->word.before == other->word.before &&
           one->word.after == other->word.after;
}

static struct qh_error *check_agreed(const struct qh_rescue_plan *agreed,
                                     const struct qh_rescue_plan *plan)
{
    bool same =
        agreed->write_count == plan->write_count &&
        qh_raddr_equal(agreed->notifier.context, plan->notifier.context) &&
        agreed->notifier.write_fd == plan->notifier.write_fd;

    for (size_t i = 0; same && i < plan->write_count; i++) {
        same = is_same_write(&agreed->writes[i], &plan->writes[i]);
    }
    return same ? NULL
                : qh_refuse(qh_raddr(0),
                            "what would have to be written has changed "
                            "meanwhile");
}

/* Notification first: see rescue.h. */
struct qh_error *qh_rescue_carry_out(struct qh_target *target,
                                     const struct qh_rescue_plan *plan,
                                     enum qh_rescue_mode mode)
{
    QH_CLEANUP(qh_close_guard) int fd = -1;
    struct qh_word words[QH_WORDS_MAX];

    for (size_t i = 0; i < plan->write_count; i++) {
        words[i] = plan->writes[i].word;
    }
    QH_TRY(qh_rescue_doubt(
        qh_target_take_eventfd(target, plan->notifier.write_fd, &fd)));
    if (plan->write_count) { /* to notify takes no standing still */
        QH_TRY(qh_rescue_doubt(
            qh_target_check_words(target, words, plan->write_count)));
    }
    if (mode == QH_RESCUE_DRY) {
        return NULL;
    }
    QH_TRY(qh_rescue_doubt(qh_eventfd_add(fd)));
    return plan->write_count ? qh_rescue_doubt(qh_target_write(
                                   target, words, plan->write_count))
                             : NULL;
}

/* All stands still, and all of it could be read: what is not known may be in
 * the way. */
static struct qh_error *check_all_seen(const struct qh_target *target,
                                       const struct qh_snapshot *snapshot)
{
    if (snapshot->gap_count) {
        return qh_refuse(snapshot->gaps[0].address, "not all could be read: %s",
                         snapshot->gaps[0].what);
    }
    QH_CLEANUP(qh_error_guard)
    struct qh_error *moves = qh_target_check_still(target);

    return moves ? qh_error_tid(
                       qh_refuse_for_now(qh_raddr(0), "%s", moves->message),
                       moves->tid)
                 : NULL;
}

/* What a signal has stopped goes nowhere, whatever is written, and nobody sees
 * whether it would. */
struct qh_error *qh_rescue_check_runs(const struct qh_snapshot *snapshot)
{
    int pid = (int)snapshot->pid;

    return snapshot->halted == QH_HALT_SIGNAL
               ? qh_error_try(qh_refuse(qh_raddr(0),
                                        "process %d is stopped by a signal, "
                                        "and would not go on",
                                        pid),
                              "kill -CONT %d, and the kick again", pid)
               : NULL;
}

/* What is asked for, and what comes of it. */
struct rescue {
    struct qh_target *target;
    struct qh_qemu *qemu;
    const struct qh_finding *finding;
    enum qh_rescue_mode mode;
    const struct qh_rescue_plan *agreed;
    struct qh_rescue_plan plan;
};

static struct qh_error *rescue_stopped(struct rescue *rescue)
{
    QH_CLEANUP(moment_deinit) struct moment moment = { 0 };

    QH_TRY(take_moment(rescue->qemu, &moment));
    QH_TRY(qh_rescue_check_runs(moment.snapshot));
    const struct qh_finding *now = find_again(&moment, rescue->finding);
    QH_TRY(check_again(&moment, now, rescue->finding));
    QH_TRY(make_plan(rescue->qemu, &moment, now, &rescue->plan));
    if (rescue->agreed) {
        QH_TRY(check_agreed(rescue->agreed, &rescue->plan));
    }
    if (rescue->plan.write_count) {
        QH_TRY(check_all_seen(rescue->target, moment.snapshot));
    }
    return qh_rescue_carry_out(rescue->target, &rescue->plan, rescue->mode);
}

static struct qh_error *attempt(struct rescue *rescue)
{
    QH_TRY(qh_target_stop(rescue->target));
    QH_CLEANUP(qh_target_resume_guard)
    struct qh_target *stopped __attribute__((unused)) = rescue->target;

    return rescue_stopped(rescue);
}

struct qh_error *qh_rescue(struct qh_target *target, struct qh_qemu *qemu,
                           const struct qh_finding *finding,
                           enum qh_rescue_mode mode,
                           const struct qh_rescue_plan *agreed,
                           struct qh_rescue_plan *ret_plan)
{
    struct rescue rescue = { .target = target,
                             .qemu = qemu,
                             .finding = finding,
                             .mode = mode,
                             .agreed = agreed };

    for (int attempts = 1;; attempts++) {
        struct qh_error *error = attempt(&rescue);
        if (!error) {
            *ret_plan = rescue.plan;
            return NULL;
        }
        if (!error->passing || attempts == MAX_ATTEMPTS) {
            return error;
        }
        qh_error_destroy(error);
        nanosleep(&attempt_pause, NULL);
    }
}
