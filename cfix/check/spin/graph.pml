/* The block graph lock: two readers, one polling writer, two rounds.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * spin -a [-DBUG] graph.pml && cc -DSAFETY -o pan pan.c && ./pan
 *
 * Plain: no errors.  -DBUG: the faulty unlock, which kicks only if has_writer
 * is set; an invalid end state, the writer in its poll with no reader left.
 *
 * What aio_context_list_lock makes one step for the others is `atomic`.
 */
#define READERS 2
#define ROUNDS 2

byte count[READERS];
bool queued[READERS];
bool has_writer;
byte num_waiters;
bool kicked; /* a bottom half waits in the main loop */

bool writing;
byte reading;

inline kick()
{
#ifdef BUG
    if
    :: has_writer -> skip
    :: else -> goto unkicked
    fi;
#endif
    if
    :: num_waiters > 0 -> kicked = true
    :: else
    fi
}

active [READERS] proctype reader()
{
    byte me = _pid;
    byte round = 0;

    do
    :: round == ROUNDS -> break
    :: else ->
lock:
        count[me]++;
        if
        :: !has_writer -> goto locked
        :: else
        fi;
        count[me]--;
        atomic { queued[me] = has_writer };
        !queued[me];
        goto lock;
locked:
        reading++;
        assert(!writing);
        reading--;
        count[me]--;
        kick();
unkicked:
        round++
    od
}

/* The counts are read one after the other, not as one. */
inline count_readers()
{
    sum = count[0];
    sum = sum + count[1]
}

active proctype writer()
{
    byte round = 0;
    byte sum;

    do
    :: round == ROUNDS -> break
    :: else ->
again:
        num_waiters++;
        do
        :: count_readers();
           if
           :: sum == 0 -> break
           :: else
           fi;
           atomic { kicked -> kicked = false }
        od;
        num_waiters--;
        has_writer = true;
        count_readers();
        if
        :: sum > 0 ->
            atomic { has_writer = false; queued[0] = false; queued[1] = false };
            goto again
        :: else
        fi;
        writing = true;
        assert(reading == 0);
        writing = false;
        atomic { has_writer = false; queued[0] = false; queued[1] = false };
        round++
    od
}
