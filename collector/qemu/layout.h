/* Every member and symbol of QEMU that the readers use, found by name.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The only place that names QEMU's types. A member that a build lacks is
 * absent, which its readers must ask about unless it is REQUIRED: without
 * those nothing can be said, and loading fails.
 */
#ifndef QH_QEMU_LAYOUT_H
#define QH_QEMU_LAYOUT_H

#include "dwarf/dwarf.h"

/* Functions whose compilation units hold the types: qh_debug_field() looks
 * there first. */
#define ANCHOR_COROUTINE "qemu_coroutine_new"  /* coroutine-ucontext.c */
#define ANCHOR_POOL "qemu_coroutine_create"    /* qemu-coroutine.c */
#define ANCHOR_ASYNC "qemu_bh_schedule"        /* async.c */
#define ANCHOR_TIMER "timerlist_run_timers"    /* qemu-timer.c */
#define ANCHOR_SLEEP "qemu_co_sleep"           /* qemu-coroutine-sleep.c */
#define ANCHOR_GRAPH "bdrv_graph_wrlock"       /* graph-lock.c */
#define ANCHOR_WAIT "aio_wait_kick"            /* aio-wait.c */
#define ANCHOR_QCOW2 "cache_clean_timer"       /* qcow2.c */
#define ANCHOR_BLOCK "bdrv_co_drain"           /* any block layer file */
#define ANCHOR_QMP "qmp_dispatch"              /* qmp-dispatch.c */
#define ANCHOR_MONITOR "qmp_send_response"     /* monitor/qmp.c */
#define ANCHOR_MUTEX "qemu_mutex_lock_impl"    /* qemu-thread-posix.c */
#define ANCHOR_RAM "qemu_ram_block_from_host"  /* physmem.c */
#define ANCHOR_CO_LOCK "qemu_co_mutex_lock"    /* qemu-coroutine-lock.c */
#define ANCHOR_CO_IO "yield_until_fd_readable" /* qemu-coroutine-io.c */
#define ANCHOR_CHANNEL "qio_channel_yield"     /* io/channel.c */
#define ANCHOR_SOCKET "qio_channel_socket_new" /* io/channel-socket.c */
#define ANCHOR_CHANNEL_FILE "qio_channel_file_new_fd" /* io/channel-file.c */
#define ANCHOR_TLS "qio_channel_tls_new_client"       /* io/channel-tls.c */
#define ANCHOR_JOB "job_pause_point"           /* job.c */
#define ANCHOR_BACKEND "blk_new"               /* block-backend.c */
#define ANCHOR_IO "bdrv_co_preadv_part"        /* block/io.c */
#define ANCHOR_POLL "bdrv_poll_co"             /* block-gen.h */
#define ANCHOR_THROTTLE "throttle_group_register_tgm" /* throttle-groups.c */
#define ANCHOR_TASK "aio_task_pool_new"               /* aio_task.c */
#define ANCHOR_WORKER "thread_pool_submit_co"         /* thread-pool.c */
#define ANCHOR_LAIO "laio_co_submit"                  /* linux-aio.c */
#define ANCHOR_LURING "luring_co_submit"              /* io_uring.c */
#define ANCHOR_MIRROR "mirror_start"                  /* mirror.c */

enum qh_presence { QH_OPTIONAL, QH_REQUIRED };

/* X(id, struct, member path, anchor, presence) */
#define QH_QEMU_FIELDS(X)                                                      \
    X(CO_ENTRY, "Coroutine", "entry", ANCHOR_COROUTINE, QH_REQUIRED)           \
    X(CO_ENTRY_ARG, "Coroutine", "entry_arg", ANCHOR_COROUTINE, QH_REQUIRED)   \
    X(CO_CALLER, "Coroutine", "caller", ANCHOR_COROUTINE, QH_REQUIRED)         \
    X(CO_POOL_NEXT, "Coroutine", "pool_next.sle_next", ANCHOR_COROUTINE,       \
      QH_OPTIONAL)                                                             \
    X(CO_LOCKS_HELD, "Coroutine", "locks_held", ANCHOR_COROUTINE, QH_OPTIONAL) \
    X(CO_CTX, "Coroutine", "ctx", ANCHOR_COROUTINE, QH_REQUIRED)               \
    X(CO_SCHEDULED, "Coroutine", "scheduled", ANCHOR_COROUTINE, QH_REQUIRED)   \
    X(CO_QUEUE_NEXT, "Coroutine", "co_queue_next.sqe_next", ANCHOR_COROUTINE,  \
      QH_OPTIONAL)                                                             \
    X(CO_SCHEDULED_NEXT, "Coroutine", "co_scheduled_next.sle_next",            \
      ANCHOR_COROUTINE, QH_REQUIRED)                                           \
    X(UC_STACK, "CoroutineUContext", "stack", ANCHOR_COROUTINE, QH_REQUIRED)   \
    X(UC_STACK_SIZE, "CoroutineUContext", "stack_size", ANCHOR_COROUTINE,      \
      QH_REQUIRED)                                                             \
    X(UC_BASE, "CoroutineUContext", "base", ANCHOR_COROUTINE, QH_REQUIRED)     \
    X(UC_ENV, "CoroutineUContext", "env", ANCHOR_COROUTINE, QH_REQUIRED)       \
    X(BATCH_NEXT, "CoroutinePoolBatch", "next.sle_next", ANCHOR_POOL,          \
      QH_OPTIONAL)                                                             \
    X(BATCH_LIST, "CoroutinePoolBatch", "list.slh_first", ANCHOR_POOL,         \
      QH_OPTIONAL)                                                             \
    X(CTX_SOURCE_FUNCS, "AioContext", "source.source_funcs", ANCHOR_ASYNC,     \
      QH_REQUIRED)                                                             \
    X(CTX_NAME, "AioContext", "source.name", ANCHOR_ASYNC, QH_OPTIONAL)        \
    X(CTX_GRAPH, "AioContext", "bdrv_graph", ANCHOR_ASYNC, QH_OPTIONAL)        \
    X(CTX_NOTIFY_ME, "AioContext", "notify_me", ANCHOR_ASYNC, QH_REQUIRED)     \
    X(CTX_NOTIFIED, "AioContext", "notified", ANCHOR_ASYNC, QH_REQUIRED)       \
    X(CTX_NOTIFIER, "AioContext", "notifier", ANCHOR_ASYNC, QH_REQUIRED)       \
    X(CTX_NOTIFIER_FD, "AioContext", "notifier.rfd", ANCHOR_ASYNC,             \
      QH_REQUIRED)                                                             \
    X(CTX_NOTIFIER_WFD, "AioContext", "notifier.wfd", ANCHOR_ASYNC,            \
      QH_OPTIONAL)                                                             \
    X(CTX_NOTIFIER_READY, "AioContext", "notifier.initialized", ANCHOR_ASYNC,  \
      QH_OPTIONAL)                                                             \
    X(CTX_BH_LIST, "AioContext", "bh_list.slh_first", ANCHOR_ASYNC,            \
      QH_REQUIRED)                                                             \
    X(CTX_BH_SLICES, "AioContext", "bh_slice_list.sqh_first", ANCHOR_ASYNC,    \
      QH_OPTIONAL)                                                             \
    X(CTX_SCHEDULED, "AioContext", "scheduled_coroutines.slh_first",           \
      ANCHOR_ASYNC, QH_REQUIRED)                                               \
    X(CTX_TIMER_LISTS, "AioContext", "tlg.tl", ANCHOR_ASYNC, QH_REQUIRED)      \
    X(SLICE_BHS, "BHListSlice", "bh_list.slh_first", ANCHOR_ASYNC,             \
      QH_OPTIONAL)                                                             \
    X(SLICE_NEXT, "BHListSlice", "next.sqe_next", ANCHOR_ASYNC, QH_OPTIONAL)   \
    X(BH_NAME, "QEMUBH", "name", ANCHOR_ASYNC, QH_OPTIONAL)                    \
    X(BH_CB, "QEMUBH", "cb", ANCHOR_ASYNC, QH_REQUIRED)                        \
    X(BH_NEXT, "QEMUBH", "next.sle_next", ANCHOR_ASYNC, QH_REQUIRED)           \
    X(BH_FLAGS, "QEMUBH", "flags", ANCHOR_ASYNC, QH_REQUIRED)                  \
    X(CLOCK_LISTS, "QEMUClock", "timerlists.lh_first", ANCHOR_TIMER,           \
      QH_REQUIRED)                                                             \
    X(CLOCK_TYPE, "QEMUClock", "type", ANCHOR_TIMER, QH_REQUIRED)              \
    X(CLOCK_ENABLED, "QEMUClock", "enabled", ANCHOR_TIMER, QH_REQUIRED)        \
    X(TL_CLOCK, "QEMUTimerList", "clock", ANCHOR_TIMER, QH_REQUIRED)           \
    X(TL_ACTIVE, "QEMUTimerList", "active_timers", ANCHOR_TIMER, QH_REQUIRED)  \
    X(TL_NEXT, "QEMUTimerList", "list.le_next", ANCHOR_TIMER, QH_REQUIRED)     \
    X(TL_NOTIFY_CB, "QEMUTimerList", "notify_cb", ANCHOR_TIMER, QH_REQUIRED)   \
    X(TL_NOTIFY_OPAQUE, "QEMUTimerList", "notify_opaque", ANCHOR_TIMER,        \
      QH_REQUIRED)                                                             \
    X(TL_LOCK, "QEMUTimerList", "active_timers_lock.lock.__data.__lock",       \
      ANCHOR_TIMER, QH_OPTIONAL)                                               \
    X(TL_DONE, "QEMUTimerList", "timers_done_ev.value", ANCHOR_TIMER,          \
      QH_OPTIONAL)                                                             \
    X(TIMER_EXPIRE, "QEMUTimer", "expire_time", ANCHOR_TIMER, QH_REQUIRED)     \
    X(TIMER_LIST, "QEMUTimer", "timer_list", ANCHOR_TIMER, QH_REQUIRED)        \
    X(TIMER_CB, "QEMUTimer", "cb", ANCHOR_TIMER, QH_REQUIRED)                  \
    X(TIMER_OPAQUE, "QEMUTimer", "opaque", ANCHOR_TIMER, QH_REQUIRED)          \
    X(TIMER_NEXT, "QEMUTimer", "next", ANCHOR_TIMER, QH_REQUIRED)              \
    X(SLEEP_TO_WAKE, "QemuCoSleep", "to_wake", ANCHOR_SLEEP, QH_REQUIRED)      \
    X(GRAPH_READERS, "BdrvGraphRWlock", "reader_count", ANCHOR_GRAPH,          \
      QH_OPTIONAL)                                                             \
    X(GRAPH_NEXT, "BdrvGraphRWlock", "next_aio.tqe_next", ANCHOR_GRAPH,        \
      QH_OPTIONAL)                                                             \
    X(QUEUE_FIRST, "CoQueue", "entries.sqh_first", ANCHOR_GRAPH, QH_OPTIONAL)  \
    X(CO_MUTEX_LOCKED, "CoMutex", "locked", ANCHOR_CO_LOCK, QH_OPTIONAL)       \
    X(CO_MUTEX_CTX, "CoMutex", "ctx", ANCHOR_CO_LOCK, QH_OPTIONAL)             \
    X(CO_MUTEX_HANDOFF, "CoMutex", "handoff", ANCHOR_CO_LOCK, QH_OPTIONAL)     \
    X(CO_MUTEX_HOLDER, "CoMutex", "holder", ANCHOR_CO_LOCK, QH_OPTIONAL)       \
    X(CO_MUTEX_PUSHED, "CoMutex", "from_push.slh_first", ANCHOR_CO_LOCK,       \
      QH_OPTIONAL)                                                             \
    X(CO_MUTEX_POPPED, "CoMutex", "to_pop.slh_first", ANCHOR_CO_LOCK,          \
      QH_OPTIONAL)                                                             \
    X(RECORD_CO, "CoWaitRecord", "co", ANCHOR_CO_LOCK, QH_OPTIONAL)            \
    X(RECORD_NEXT, "CoWaitRecord", "next.sle_next", ANCHOR_CO_LOCK,            \
      QH_OPTIONAL)                                                             \
    X(RWLOCK_OWNERS, "CoRwlock", "owners", ANCHOR_CO_LOCK, QH_OPTIONAL)        \
    X(RWLOCK_TICKETS, "CoRwlock", "tickets.sqh_first", ANCHOR_CO_LOCK,         \
      QH_OPTIONAL)                                                             \
    X(RWLOCK_MUTEX_LOCKED, "CoRwlock", "mutex.locked", ANCHOR_CO_LOCK,         \
      QH_OPTIONAL)                                                             \
    X(TICKET_READ, "CoRwTicket", "read", ANCHOR_CO_LOCK, QH_OPTIONAL)          \
    X(TICKET_CO, "CoRwTicket", "co", ANCHOR_CO_LOCK, QH_OPTIONAL)              \
    X(TICKET_NEXT, "CoRwTicket", "next.sqe_next", ANCHOR_CO_LOCK, QH_OPTIONAL) \
    X(FD_YIELD_FD, "FDYieldUntilData", "fd", ANCHOR_CO_IO, QH_OPTIONAL)        \
    X(CHANNEL_READER, "QIOChannel", "read_coroutine", ANCHOR_CHANNEL,          \
      QH_OPTIONAL)                                                             \
    X(CHANNEL_WRITER, "QIOChannel", "write_coroutine", ANCHOR_CHANNEL,         \
      QH_OPTIONAL)                                                             \
    X(CHANNEL_NAME, "QIOChannel", "name", ANCHOR_CHANNEL, QH_OPTIONAL)         \
    X(CHANNEL_CLASS, "QIOChannel", "parent.class", ANCHOR_CHANNEL,             \
      QH_OPTIONAL)                                                             \
    X(CHANNEL_CLASS_AIO, "QIOChannelClass", "io_set_aio_fd_handler",           \
      ANCHOR_CHANNEL, QH_OPTIONAL)                                             \
    X(CHANNEL_SOCKET_FD, "QIOChannelSocket", "fd", ANCHOR_SOCKET,              \
      QH_OPTIONAL)                                                             \
    X(CHANNEL_FILE_FD, "QIOChannelFile", "fd", ANCHOR_CHANNEL_FILE,            \
      QH_OPTIONAL)                                                             \
    X(CHANNEL_TLS_MASTER, "QIOChannelTLS", "master", ANCHOR_TLS, QH_OPTIONAL)  \
    X(JOB_ID, "Job", "id", ANCHOR_JOB, QH_OPTIONAL)                            \
    X(JOB_PAUSE_COUNT, "Job", "pause_count", ANCHOR_JOB, QH_OPTIONAL)          \
    X(JOB_PAUSED, "Job", "paused", ANCHOR_JOB, QH_OPTIONAL)                    \
    X(JOB_CANCELLED, "Job", "cancelled", ANCHOR_JOB, QH_OPTIONAL)              \
    X(JOB_TIMER, "Job", "sleep_timer", ANCHOR_JOB, QH_OPTIONAL)                \
    X(JOB_TIMER_EXPIRE, "Job", "sleep_timer.expire_time", ANCHOR_JOB,          \
      QH_OPTIONAL)                                                             \
    X(BLK_NAME, "BlockBackend", "name", ANCHOR_BACKEND, QH_OPTIONAL)           \
    X(BLK_QUIESCE, "BlockBackend", "quiesce_counter", ANCHOR_BACKEND,          \
      QH_OPTIONAL)                                                             \
    X(DRAIN_BS, "BdrvCoDrainData", "bs", ANCHOR_IO, QH_OPTIONAL)               \
    X(DRAIN_DONE, "BdrvCoDrainData", "done", ANCHOR_IO, QH_OPTIONAL)           \
    X(REQUEST_CO, "BdrvTrackedRequest", "co", ANCHOR_IO, QH_OPTIONAL)          \
    X(REQUEST_FOR, "BdrvTrackedRequest", "waiting_for", ANCHOR_IO,             \
      QH_OPTIONAL)                                                             \
    X(REQUEST_NEXT, "BdrvTrackedRequest", "list.le_next", ANCHOR_IO,           \
      QH_OPTIONAL)                                                             \
    X(REQUEST_PREV, "BdrvTrackedRequest", "list.le_prev", ANCHOR_IO,           \
      QH_OPTIONAL)                                                             \
    X(POLL_CO, "BdrvPollCo", "co", ANCHOR_POLL, QH_OPTIONAL)                   \
    X(COMPLETION_RET, "CoroutineIOCompletion", "ret", ANCHOR_IO, QH_OPTIONAL)  \
    X(TGM_READS, "ThrottleGroupMember", "pending_reqs[0]", ANCHOR_THROTTLE,    \
      QH_OPTIONAL)                                                             \
    X(TGM_WRITES, "ThrottleGroupMember", "pending_reqs[1]", ANCHOR_THROTTLE,   \
      QH_OPTIONAL)                                                             \
    X(TGM_STATE, "ThrottleGroupMember", "throttle_state", ANCHOR_THROTTLE,      \
      QH_OPTIONAL)                                                             \
    X(TGM_RESTARTS, "ThrottleGroupMember", "restart_pending", ANCHOR_THROTTLE, \
      QH_OPTIONAL)                                                             \
    X(TGM_READ_TIMER, "ThrottleGroupMember", "throttle_timers.timers[0]",      \
      ANCHOR_THROTTLE, QH_OPTIONAL)                                            \
    X(TGM_WRITE_TIMER, "ThrottleGroupMember", "throttle_timers.timers[1]",     \
      ANCHOR_THROTTLE, QH_OPTIONAL)                                            \
    X(GROUP_STATE, "ThrottleGroup", "ts", ANCHOR_THROTTLE, QH_OPTIONAL)        \
    X(GROUP_READ_TOKEN, "ThrottleGroup", "tokens[0]", ANCHOR_THROTTLE,         \
      QH_OPTIONAL)                                                             \
    X(GROUP_WRITE_TOKEN, "ThrottleGroup", "tokens[1]", ANCHOR_THROTTLE,        \
      QH_OPTIONAL)                                                             \
    X(TASKS_BUSY, "AioTaskPool", "busy_tasks", ANCHOR_TASK, QH_OPTIONAL)       \
    X(WORKER_RET, "ThreadPoolCo", "ret", ANCHOR_WORKER, QH_OPTIONAL)           \
    X(CTX_POOL, "AioContext", "thread_pool", ANCHOR_ASYNC, QH_OPTIONAL)        \
    X(POOL_REQUEST, "ThreadPoolAio", "request_list.tqh_first", ANCHOR_WORKER,  \
      QH_OPTIONAL)                                                             \
    X(POOL_THREADS, "ThreadPoolAio", "cur_threads", ANCHOR_WORKER,             \
      QH_OPTIONAL)                                                             \
    X(POOL_NEW, "ThreadPoolAio", "new_threads", ANCHOR_WORKER,                 \
      QH_OPTIONAL)                                                             \
    X(POOL_PENDING, "ThreadPoolAio", "pending_threads", ANCHOR_WORKER,         \
      QH_OPTIONAL)                                                             \
    X(POOL_CONDITION, "ThreadPoolAio", "request_cond", ANCHOR_WORKER,          \
      QH_OPTIONAL)                                                             \
    X(POOL_LOCK, "ThreadPoolAio", "lock.lock.__data.__lock", ANCHOR_WORKER,    \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_REQUEST, "ThreadPool", "request_list.tqh_first", ANCHOR_WORKER, \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_THREADS, "ThreadPool", "cur_threads", ANCHOR_WORKER,            \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_NEW, "ThreadPool", "new_threads", ANCHOR_WORKER,                \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_PENDING, "ThreadPool", "pending_threads", ANCHOR_WORKER,        \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_CONDITION, "ThreadPool", "request_cond", ANCHOR_WORKER,         \
      QH_OPTIONAL)                                                             \
    X(OLD_POOL_LOCK, "ThreadPool", "lock.lock.__data.__lock", ANCHOR_WORKER,   \
      QH_OPTIONAL)                                                             \
    X(LAIO_RET, "qemu_laiocb", "ret", ANCHOR_LAIO, QH_OPTIONAL)                \
    X(LURING_RET, "LuringRequest", "ret", ANCHOR_LURING, QH_OPTIONAL)          \
    X(MIRROR_OP_CO, "MirrorOp", "co", ANCHOR_MIRROR, QH_OPTIONAL)              \
    X(WAIT_WAITERS, "AioWait", "num_waiters", ANCHOR_WAIT, QH_OPTIONAL)        \
    X(QCOW2_INTERVAL, "BDRVQcow2State", "cache_clean_interval", ANCHOR_QCOW2,  \
      QH_OPTIONAL)                                                             \
    X(QCOW2_TIMER_CO, "BDRVQcow2State", "cache_clean_timer_co", ANCHOR_QCOW2,  \
      QH_OPTIONAL)                                                             \
    X(QCOW2_WAKE, "BDRVQcow2State", "cache_clean_timer_wake", ANCHOR_QCOW2,    \
      QH_OPTIONAL)                                                             \
    X(QCOW2_EXIT, "BDRVQcow2State", "cache_clean_timer_exit", ANCHOR_QCOW2,    \
      QH_OPTIONAL)                                                             \
    X(BDS_NODE_NAME, "BlockDriverState", "node_name", ANCHOR_QCOW2,            \
      QH_OPTIONAL)                                                             \
    X(BDS_OPAQUE, "BlockDriverState", "opaque", ANCHOR_QCOW2, QH_OPTIONAL)     \
    X(BDS_NEXT, "BlockDriverState", "bs_list.tqe_next", ANCHOR_QCOW2,          \
      QH_OPTIONAL)                                                             \
    X(QMP_BH_CMD, "QmpDispatchBH", "cmd", ANCHOR_QMP, QH_OPTIONAL)             \
    X(QMP_CMD_NAME, "QmpCommand", "name", ANCHOR_QMP, QH_OPTIONAL)             \
    X(MON_SUSPENDED, "Monitor", "suspend_cnt", ANCHOR_MONITOR, QH_OPTIONAL)    \
    X(MON_IS_QMP, "Monitor", "is_qmp", ANCHOR_MONITOR, QH_OPTIONAL)            \
    X(MON_NEXT, "Monitor", "entry.tqe_next", ANCHOR_MONITOR, QH_OPTIONAL)      \
    X(MON_CHARDEV, "Monitor", "chr.chr", ANCHOR_MONITOR, QH_OPTIONAL)          \
    X(CHARDEV_LABEL, "Chardev", "label", ANCHOR_MONITOR, QH_OPTIONAL)          \
    X(QMP_MON, "MonitorQMP", "common", ANCHOR_MONITOR, QH_OPTIONAL)            \
    X(QMP_REQUESTS, "MonitorQMP", "qmp_requests", ANCHOR_MONITOR, QH_OPTIONAL) \
    X(GQUEUE_LENGTH, "GQueue", "length", ANCHOR_MONITOR, QH_OPTIONAL)          \
    X(MUTEX_OWNER, "QemuMutex", "lock.__data.__owner", ANCHOR_MUTEX,           \
      QH_OPTIONAL)                                                             \
    X(RAM_FIRST, "RAMList", "blocks.lh_first", ANCHOR_RAM, QH_OPTIONAL)        \
    X(RAM_NEXT, "RAMBlock", "next.le_next", ANCHOR_RAM, QH_OPTIONAL)           \
    X(RAM_HOST, "RAMBlock", "host", ANCHOR_RAM, QH_OPTIONAL)                   \
    X(RAM_BYTES, "RAMBlock", "max_length", ANCHOR_RAM, QH_OPTIONAL)

/* X(id, name, presence) */
#define QH_QEMU_SYMBOLS(X)                                                     \
    X(QEMU_AIO_CONTEXT, "qemu_aio_context", QH_REQUIRED)                       \
    X(IOHANDLER_CTX, "iohandler_ctx", QH_OPTIONAL)                             \
    X(QEMU_CLOCKS, "qemu_clocks", QH_REQUIRED)                                 \
    X(MAIN_LOOP_TLG, "main_loop_tlg", QH_OPTIONAL)                             \
    X(AIO_SOURCE_FUNCS, "aio_source_funcs", QH_REQUIRED)                       \
    X(AIO_TIMERLIST_NOTIFY, "aio_timerlist_notify", QH_OPTIONAL)               \
    X(CO_SLEEP_CB, "co_sleep_cb", QH_OPTIONAL)                                 \
    X(GLOBAL_POOL, "global_pool", QH_OPTIONAL)                                 \
    /* before the batches of 9.0 (commit 86a637e48104) */                      \
    X(RELEASE_POOL, "release_pool", QH_OPTIONAL)                               \
    X(HAS_WRITER, "has_writer", QH_OPTIONAL)                                   \
    X(ORPHANED_READERS, "orphaned_reader_count", QH_OPTIONAL)                  \
    X(GRAPH_LIST, "aio_context_list", QH_OPTIONAL)                             \
    X(READER_QUEUE, "reader_queue", QH_OPTIONAL)                               \
    X(GLOBAL_AIO_WAIT, "global_aio_wait", QH_OPTIONAL)                         \
    X(BQL, "bql", QH_OPTIONAL)                                                 \
    /* named so before 9.0 (commit 195801d700c0) */                            \
    X(GLOBAL_MUTEX, "qemu_global_mutex", QH_OPTIONAL)                          \
    X(MON_LIST, "mon_list", QH_OPTIONAL)                                       \
    X(DISPATCHER, "qmp_dispatcher_co", QH_OPTIONAL)                            \
    X(DISPATCHER_BUSY, "qmp_dispatcher_co_busy", QH_OPTIONAL)                  \
    X(ALL_NODES, "all_bdrv_states", QH_OPTIONAL)                               \
    X(RAM_LIST, "ram_list", QH_OPTIONAL)

#define QH_FIELD_ENUMERATOR(id, type, path, anchor, presence) QH_F_##id,
#define QH_SYMBOL_ENUMERATOR(id, name, presence) QH_S_##id,
enum qh_field_id { QH_QEMU_FIELDS(QH_FIELD_ENUMERATOR) QH_FIELD_COUNT };
enum qh_symbol_id { QH_QEMU_SYMBOLS(QH_SYMBOL_ENUMERATOR) QH_SYMBOL_COUNT };
#undef QH_FIELD_ENUMERATOR
#undef QH_SYMBOL_ENUMERATOR

struct qh_layout {
    struct {
        bool present;
        struct qh_field at;
    } fields[QH_FIELD_COUNT];
    struct raddr symbols[QH_SYMBOL_COUNT]; /* 0: absent */
    uint64_t clock_bytes;                  /* sizeof(QEMUClock) */
    uint64_t ucontext_bytes;               /* sizeof(CoroutineUContext) */
};

/*
 * Fills `*ret` from the debug information. Errors: NOT_QEMU when the program
 * has no main AioContext and no coroutines, NO_DEBUGINFO when it has but a
 * REQUIRED name is missing (the message names it).
 */
struct qh_error *qh_layout_load(struct qh_debug *debug,
                                struct qh_layout *ret) QH_MUST_CHECK;

/* "AioContext.notify_me", for messages. */
const char *qh_layout_field_name(enum qh_field_id id);

#endif
