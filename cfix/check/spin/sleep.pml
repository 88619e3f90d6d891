/* Sleep and wake: a sleeper, its timer, two wakers, two teardowns.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * spin -a [-DBUG] [-DTIMER] sleep.pml && cc -DSAFETY -o pan pan.c && ./pan
 *
 * Plain: no errors.  -DBUG: the faulty primitive; an invalid end state, the
 * sleeper parked and all others at their end or waiting for it.  -DTIMER: each
 * sleep has a timer, which may fire at any time, once; with -DBUG there is an
 * invalid end state all the same, the erased sleeper.
 *
 * Each assignment is one step; a compare-and-swap or an exchange is `atomic`.
 */
#define ROUNDS 2

#define NOBODY 0
#define SLEEPER 1
#define PENDING 2

byte to_wake[ROUNDS];     /* a QemuCoSleep for each round */
bool given_up[ROUNDS];    /* and its owner has freed it */
bool told[ROUNDS];
bool told_too[ROUNDS];
bool done[ROUNDS];
bool second_done[ROUNDS];
chan loop = [4] of { bit }; /* the sleeper's loop: it was handed over */

#define touch(r) assert(!given_up[r])

inline wake(r)
{
#ifdef BUG
    touch(r); seen = to_wake[r];
    touch(r); to_wake[r] = NOBODY;
#else
    touch(r); seen = to_wake[r];
    do
    :: atomic {
        touch(r);
        if
        :: to_wake[r] == seen ->
            to_wake[r] = (seen == SLEEPER -> NOBODY : PENDING);
            break
        :: else -> seen = to_wake[r]
        fi
       }
    od;
#endif
    if
    :: seen == SLEEPER -> loop!1
    :: else
    fi
}

active proctype waker()
{
    byte round = 0;
    byte seen;

    do
    :: round < ROUNDS ->
        told[round] = true;
        wake(round);
        done[round] && second_done[round];
        given_up[round] = true;
        round++
    :: else -> break
    od
}

active proctype second_waker()
{
    byte round = 0;
    byte seen;

    do
    :: round < ROUNDS ->
        told_too[round] = true;
        wake(round);
        second_done[round] = true;
        round++
    :: else -> break
    od
}

active proctype sleeper()
{
    byte round = 0;
    byte found;
    bool armed;

    do
    :: round == ROUNDS -> break
    :: round < ROUNDS && told[round] && told_too[round] ->
        done[round] = true;
        round++
    :: round < ROUNDS && !(told[round] && told_too[round]) ->
        armed = true;
        touch(round);
#ifdef BUG
        to_wake[round] = SLEEPER;
#else
        atomic {
            found = to_wake[round];
            to_wake[round] = (found == PENDING -> NOBODY : SLEEPER)
        };
        if
        :: found == PENDING -> goto woken
        :: else
        fi;
#endif
parked:
        if
        :: loop?_
#ifdef TIMER
        /* The timer; a sleeper that was taken already is left to its loop. */
        :: armed ->
           armed = false;
           found = to_wake[round];
#ifdef BUG
           to_wake[round] = NOBODY;
#else
           atomic {
               if
               :: found == SLEEPER && to_wake[round] == SLEEPER ->
                   to_wake[round] = NOBODY
               :: else -> found = NOBODY
               fi
           };
#endif
           if
           :: found == SLEEPER
           :: else -> goto parked
           fi
#endif
        fi;
woken:
        skip
    od
}
