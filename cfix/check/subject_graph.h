/* What ends the file of a graph lock subject; see subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
extern const struct graph_subject SUBJECT;
const struct graph_subject SUBJECT = {
    .register_aiocontext = register_aiocontext,
    .wrlock = bdrv_graph_wrlock,
    .wrunlock = bdrv_graph_wrunlock,
    .co_rdlock = bdrv_graph_co_rdlock,
    .co_rdunlock = bdrv_graph_co_rdunlock,
    .reader_count = bdrv_graph_reader_count,
    .num_waiters = &global_aio_wait.num_waiters,
};
