/* Litmus tests: that the checker reaches the weak outcomes, and no others.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stddef.h>

#include "atomics.h"
#include "check/programs.h"

static int x;
static int y;
static int seen[4];

/* --- store buffering: each stores one and loads the other --- */

static void sb_x(void *arg)
{
    cfix_store_relaxed(&x, 1);
    seen[0] = cfix_load_relaxed(&y);
}

static void sb_y(void *arg)
{
    cfix_store_relaxed(&y, 1);
    seen[1] = cfix_load_relaxed(&x);
}

static void setup_sb(const void *subject)
{
    check_thread("stores x", sb_x, NULL);
    check_thread("stores y", sb_y, NULL);
}

static void sb_x_sc(void *arg)
{
    cfix_store(&x, 1);
    seen[0] = cfix_load(&y);
}

static void sb_y_sc(void *arg)
{
    cfix_store(&y, 1);
    seen[1] = cfix_load(&x);
}

static void setup_sb_sc(const void *subject)
{
    check_thread("stores x", sb_x_sc, NULL);
    check_thread("stores y", sb_y_sc, NULL);
}

static void sb_x_rel(void *arg)
{
    cfix_store_release(&x, 1);
    seen[0] = cfix_load_acquire(&y);
}

static void sb_y_rel(void *arg)
{
    cfix_store_release(&y, 1);
    seen[1] = cfix_load_acquire(&x);
}

static void setup_sb_rel(const void *subject)
{
    check_thread("stores x", sb_x_rel, NULL);
    check_thread("stores y", sb_y_rel, NULL);
}

static void end_sb(const void *subject)
{
    check_claim(seen[0] || seen[1], "both loads read the old values");
}

/* --- message passing: data, then a flag --- */

static void mp_send(void *arg)
{
    cfix_store_relaxed(&x, 1);
    cfix_store_relaxed(&y, 1);
}

static void mp_receive(void *arg)
{
    seen[0] = cfix_load_relaxed(&y);
    seen[1] = cfix_load_relaxed(&x);
}

static void setup_mp(const void *subject)
{
    check_thread("sends", mp_send, NULL);
    check_thread("receives", mp_receive, NULL);
}

static void mp_send_rel(void *arg)
{
    cfix_store_relaxed(&x, 1);
    cfix_store_release(&y, 1);
}

static void mp_receive_acq(void *arg)
{
    seen[0] = cfix_load_acquire(&y);
    seen[1] = cfix_load_relaxed(&x);
}

static void setup_mp_rel(const void *subject)
{
    check_thread("sends", mp_send_rel, NULL);
    check_thread("receives", mp_receive_acq, NULL);
}

/* The flag goes through a third thread's exchange, which releases nothing of
 * its own: the release goes on (a release sequence). */
static void mp_pass_on(void *arg)
{
    (void)cfix_cmpxchg_relaxed(&y, 1, 2);
}

static void mp_receive_second(void *arg)
{
    seen[0] = cfix_load_acquire(&y) == 2;
    seen[1] = cfix_load_relaxed(&x);
}

static void setup_mp_sequence(const void *subject)
{
    check_thread("sends", mp_send_rel, NULL);
    check_thread("passes on", mp_pass_on, NULL);
    check_thread("receives", mp_receive_second, NULL);
}

static void end_mp(const void *subject)
{
    check_claim(!seen[0] || seen[1], "the flag without the data");
}

/* --- IRIW: two writers, two readers who disagree about the order --- */

static void store_x(void *arg)
{
    cfix_store_relaxed(&x, 1);
}

static void store_y(void *arg)
{
    cfix_store_relaxed(&y, 1);
}

static void iriw_xy(void *arg)
{
    seen[0] = cfix_load_acquire(&x);
    seen[1] = cfix_load_acquire(&y);
}

static void iriw_yx(void *arg)
{
    seen[2] = cfix_load_acquire(&y);
    seen[3] = cfix_load_acquire(&x);
}

static void setup_iriw(const void *subject)
{
    check_thread("stores x", store_x, NULL);
    check_thread("stores y", store_y, NULL);
    check_thread("reads x, y", iriw_xy, NULL);
    check_thread("reads y, x", iriw_yx, NULL);
}

static void end_iriw(const void *subject)
{
    check_claim(!(seen[0] && !seen[1] && seen[2] && !seen[3]),
                "the readers disagree about which store was first");
}

/* --- coherence: one location, read twice --- */

static void co_write(void *arg)
{
    cfix_store_relaxed(&x, 1);
    cfix_store_relaxed(&x, 2);
}

static void co_read(void *arg)
{
    seen[0] = cfix_load_relaxed(&x);
    seen[1] = cfix_load_relaxed(&x);
}

static void setup_corr(const void *subject)
{
    check_thread("stores", co_write, NULL);
    check_thread("reads", co_read, NULL);
}

static void end_corr(const void *subject)
{
    check_claim(seen[0] <= seen[1], "a location goes back in time");
}

/* --- load buffering: no model here reaches it, see check.h --- */

static void lb_x(void *arg)
{
    seen[0] = cfix_load_relaxed(&y);
    cfix_store_relaxed(&x, 1);
}

static void lb_y(void *arg)
{
    seen[1] = cfix_load_relaxed(&x);
    cfix_store_relaxed(&y, 1);
}

static void setup_lb(const void *subject)
{
    check_thread("stores x", lb_x, NULL);
    check_thread("stores y", lb_y, NULL);
}

static void end_lb(const void *subject)
{
    check_claim(!seen[0] || !seen[1], "both loads read later stores");
}

/* --- 2+2W: two stores each, in opposite orders; not reached either --- */

static void ww_x(void *arg)
{
    cfix_store_relaxed(&x, 1);
    cfix_store_relaxed(&y, 2);
}

static void ww_y(void *arg)
{
    cfix_store_relaxed(&y, 1);
    cfix_store_relaxed(&x, 2);
}

static void setup_ww(const void *subject)
{
    check_thread("x, then y", ww_x, NULL);
    check_thread("y, then x", ww_y, NULL);
}

static void end_ww(const void *subject)
{
    check_claim(x != 1 || y != 1, "both first stores are the last ones");
}

/* --- a lost update, in any model; and an atomic one, in none --- */

static void adds_in_two(void *arg)
{
    cfix_store_relaxed(&x, cfix_load_relaxed(&x) + 1);
}

static void setup_lost_update(const void *subject)
{
    check_thread("adds", adds_in_two, NULL);
    check_thread("adds too", adds_in_two, NULL);
}

static void adds_in_one(void *arg)
{
    cfix_fetch_add(&x, 1);
}

static void setup_fetch_add(const void *subject)
{
    check_thread("adds", adds_in_one, NULL);
    check_thread("adds too", adds_in_one, NULL);
    check_thread("adds as well", adds_in_one, NULL);
}

static void end_two(const void *subject)
{
    check_claim(x == 2, "an addition is lost");
}

static void end_three(const void *subject)
{
    check_claim(x == 3, "an addition is lost");
}

#define IN_NONE                                                                \
    {                                                                          \
        CHECK_NONE, CHECK_NONE, CHECK_NONE                                     \
    }
#define IN_C11                                                                 \
    {                                                                          \
        CHECK_NONE, CHECK_NONE, CHECK_CLAIM                                    \
    }
#define IN_TSO_AND_C11                                                         \
    {                                                                          \
        CHECK_NONE, CHECK_CLAIM, CHECK_CLAIM                                   \
    }
#define IN_ALL                                                                 \
    {                                                                          \
        CHECK_CLAIM, CHECK_CLAIM, CHECK_CLAIM                                  \
    }

const struct litmus_program litmus_programs[] = {
    { { "store-buffering", "relaxed", setup_sb, end_sb, false },
      IN_TSO_AND_C11 },
    { { "store-buffering-ra", "release and acquire do not forbid it",
        setup_sb_rel, end_sb, false },
      IN_TSO_AND_C11 },
    { { "store-buffering-sc", "sequentially consistent", setup_sb_sc, end_sb,
        false },
      IN_NONE },
    { { "message-passing", "relaxed", setup_mp, end_mp, false }, IN_C11 },
    { { "message-passing-ra", "release and acquire", setup_mp_rel, end_mp,
        false },
      IN_NONE },
    { { "release-sequence", "an exchange in between hands the release on",
        setup_mp_sequence, end_mp, false },
      IN_NONE },
    { { "iriw", "readers disagree about independent writes", setup_iriw,
        end_iriw, false },
      IN_C11 },
    { { "coherence", "one location never goes back", setup_corr, end_corr,
        false },
      IN_NONE },
    { { "load-buffering", "C11 allows it, no model here reaches it", setup_lb,
        end_lb, false },
      IN_NONE },
    { { "2+2w", "C11 allows it, no model here reaches it", setup_ww, end_ww,
        false },
      IN_NONE },
    { { "lost-update", "load and store are two steps", setup_lost_update,
        end_two, false },
      IN_ALL },
    { { "fetch-add", "and this is one", setup_fetch_add, end_three, false },
      IN_NONE },
    { { NULL }, IN_NONE },
};
