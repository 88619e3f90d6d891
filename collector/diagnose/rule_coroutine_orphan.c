/* coroutine.orphan: a suspended coroutine that nothing refers to.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Whoever is to wake a coroutine has its address, or one on its stack: a queue,
 * an AIOCB, a handler of a descriptor, a bottom half, a job, a thread that is
 * about to. qemu/references.c has looked for any such address in all memory and
 * all registers while the target stood still. It knows of no way around that
 * but the kernel's own memory; there may be one in code that it does not know,
 * hence strong and no proof.
 */
#include "diagnose/wait.h"

static const struct qh_wait *wait_of(const struct qh_snapshot *snapshot,
                                     struct raddr address)
{
    for (size_t i = 0; i < snapshot->wait_count; i++) {
        const struct qh_wait *wait = &snapshot->waits[i];
        if (!wait->tid && qh_raddr_equal(wait->coroutine, address)) {
            return wait;
        }
    }
    return NULL;
}

static struct qh_error *judge(const struct qh_snapshot *snapshot,
                              const struct qh_coroutine *coroutine,
                              struct qh_findings *findings)
{
    const struct qh_context *context =
        qh_snapshot_context(snapshot, coroutine->context);
    const struct qh_wait *wait = wait_of(snapshot, coroutine->address);
    struct qh_finding finding = {
        .rule = "coroutine.orphan",
        .certainty = QH_STRONG,
        .coroutine = coroutine->address,
        .tid = context ? context->tid : 0,
        .waiter = qh_wait_waiter(snapshot, coroutine->address),
        .of_memory = true,
        .heals = QH_HEALS_NEVER,
        .heals_in_ns = QH_TIME_UNKNOWN,
        .summary = "nothing refers to a suspended coroutine",
    };

    finding.fingerprint =
        qh_fingerprint_mix(QH_FINGERPRINT, coroutine->address.value);
    finding.fingerprint = qh_fingerprint_mix(finding.fingerprint,
                                             coroutine->regs.dwarf[QH_REG_RSP]);
    finding.fingerprint =
        qh_fingerprint_stack(finding.fingerprint, &coroutine->stack);
    QH_TRY(qh_evidence_add(
        findings, &finding,
        qh_arena_printf(&findings->arena, "it has yielded in %s",
                        wait && wait->function ? wait->function : "?"),
        coroutine->address, "suspended"));
    QH_TRY(qh_evidence_add(findings, &finding,
                           "no address of it in any memory or register",
                           qh_raddr(0), "0"));
    return qh_findings_add(findings, &finding);
}

struct qh_error *qh_rule_coroutine_orphan(const struct qh_snapshot *snapshot,
                                          struct qh_findings *findings)
{
    for (size_t i = 0; i < snapshot->coroutine_count; i++) {
        const struct qh_coroutine *coroutine = &snapshot->coroutines[i];
        if (coroutine->state != QH_CO_SUSPENDED) {
            continue;
        }
        if (coroutine->referred == QH_REFERRED_NO) {
            QH_TRY(judge(snapshot, coroutine, findings));
        } else if (coroutine->referred == QH_REFERRED_PERHAPS_NOT) {
            findings->unsettled = true; /* the next sample looks in its stop */
        }
    }
    return NULL;
}
