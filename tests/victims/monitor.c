/* The one QMP monitor of the miniature, as it lies in memory.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor.h"

#include <stdbool.h>
#include <stddef.h>

#include "atomics.h"

/* include/chardev/char.h, include/chardev/char-fe.h */
typedef struct Chardev {
    char *label;
} Chardev;

typedef struct CharFrontend {
    Chardev *chr;
} CharFrontend;

/* monitor/monitor-internal.h; of HMP there is one, too, which is suspended for
 * as long as it likes. */
typedef struct Monitor {
    CharFrontend chr;
    int suspend_cnt;
    bool is_qmp;
    struct {
        struct Monitor *tqe_next;
    } entry;
} Monitor;

/* GLib's, as far as it is looked at. */
typedef struct GQueue {
    void *head;
    void *tail;
    unsigned length;
} GQueue;

typedef struct {
    Monitor common;
    GQueue *qmp_requests;
} MonitorQMP;

typedef struct {
    Monitor *tqh_first;
} MonitorList;

static GQueue requests;
static char label[] = "charmonitor";
static Chardev chardev = { label };

static Monitor hmp = { .suspend_cnt = 1 };

static MonitorQMP qmp = {
    .common = { .chr = { &chardev }, .is_qmp = true, .entry = { NULL } },
    .qmp_requests = &requests,
};

/* Volatile: nobody but an observer goes through the list. */
volatile MonitorList mon_list;

static __attribute__((constructor)) void list_monitors(void)
{
    hmp.entry.tqe_next = &qmp.common;
    mon_list.tqh_first = &hmp;
}

void monitor_suspend(void)
{
    cfix_fetch_add(&qmp.common.suspend_cnt, 1);
}

void monitor_resume(void)
{
    cfix_fetch_sub(&qmp.common.suspend_cnt, 1);
}

void monitor_push_request(void)
{
    qmp.qmp_requests->length++;
}

void monitor_pop_request(void)
{
    qmp.qmp_requests->length--;
}
