/* What the driver says, held against what it was asked.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "verify/trial_line.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TEXT = 2000, MAX_DEPTH = 4, MOST_LATE = 1000000 };

/* --- values of a message --- */

static const char *text_of(struct json_object *message, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(message, key, &value) &&
                   json_object_is_type(value, json_type_string)
               ? json_object_get_string(value)
               : NULL;
}

static bool is_null(struct json_object *message, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(message, key, &value) && !value;
}

static bool count_of(struct json_object *message, const char *key,
                     unsigned most, unsigned *ret)
{
    struct json_object *value;

    if (!json_object_object_get_ex(message, key, &value) ||
        !json_object_is_type(value, json_type_int) ||
        json_object_get_int64(value) < 0 ||
        json_object_get_int64(value) > most) {
        return false;
    }
    *ret = (unsigned)json_object_get_int64(value);
    return true;
}

static bool real_of(struct json_object *message, const char *key, double most,
                    double *ret)
{
    struct json_object *value;

    if (!json_object_object_get_ex(message, key, &value) ||
        (!json_object_is_type(value, json_type_double) &&
         !json_object_is_type(value, json_type_int))) {
        return false;
    }
    *ret = json_object_get_double(value);
    return isfinite(*ret) && *ret >= 0 && *ret <= most;
}

static struct qh_owed *owed_of(struct qh_trial_board *board, const char *name)
{
    for (size_t i = 0; name && i < board->count; i++) {
        if (strcmp(board->owed[i].name, name) == 0 && !board->owed[i].given) {
            return &board->owed[i];
        }
    }
    return NULL;
}

/* --- messages --- */

/* So many lines come at most that a driver which says nothing else cannot go
 * on for ever: late rounds are told, too. */
static bool take_progress(struct qh_trial_board *board,
                          struct json_object *message)
{
    struct qh_owed *owed = owed_of(board, text_of(message, "progress"));
    unsigned done;

    if (!owed || !count_of(message, "done", owed->rounds, &done) ||
        owed->lines++ > 8 * owed->rounds + 8) {
        return false;
    }
    if (board->progress) {
        board->progress(owed->name, done, owed->rounds);
    }
    return true;
}

static bool take_verdict(const char *name, enum qh_safety *ret)
{
    static const enum qh_safety verdicts[] = { QH_SAFE, QH_VULNERABLE,
                                               QH_UNDETERMINED };

    for (size_t i = 0; name && i < QH_COUNT(verdicts); i++) {
        if (strcmp(name, qh_safety_name(verdicts[i])) == 0) {
            *ret = verdicts[i];
            return true;
        }
    }
    return false;
}

static bool take_counts(struct json_object *message, const struct qh_owed *owed,
                        struct qh_verify_trial *trial)
{
    if (is_null(message, "at_most")) {
        trial->at_most = -1;
    } else if (!real_of(message, "at_most", 1, &trial->at_most)) {
        return false;
    }
    return count_of(message, "rounds", owed->rounds, &trial->rounds) &&
           count_of(message, "hung", trial->rounds, &trial->hung) &&
           count_of(message, "agreed", trial->hung, &trial->agreed) &&
           count_of(message, "late", MOST_LATE, &trial->late) &&
           real_of(message, "seconds", 1e9, &trial->seconds);
}

/* What is safe went on in every round that was asked for. */
static bool is_consistent(enum qh_safety verdict, const struct qh_owed *owed)
{
    const struct qh_verify_trial *trial = &owed->trial;

    return verdict == QH_SAFE ? trial->rounds == owed->rounds && !trial->hung
           : verdict == QH_VULNERABLE ? trial->hung > 0
                                      : true;
}

static bool take_result(struct qh_trial_board *board,
                        struct json_object *message)
{
    struct qh_owed *owed = owed_of(board, text_of(message, "result"));
    const char *where = text_of(message, "where");
    const char *why = text_of(message, "why");
    enum qh_safety verdict;

    if (!owed || !take_verdict(text_of(message, "verdict"), &verdict) || !why ||
        !*why || strlen(why) > MAX_TEXT ||
        (!where && !is_null(message, "where")) ||
        (where && strlen(where) > MAX_TEXT) ||
        !take_counts(message, owed, &owed->trial) ||
        !is_consistent(verdict, owed)) {
        return false;
    }
    owed->given = true;
    owed->verdict = verdict;
    owed->where = qh_arena_strdup(board->arena, where);
    owed->why = qh_arena_strdup(board->arena, why);
    return true;
}

static struct json_object *parse(const char *line)
{
    struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
    struct json_object *message = NULL;

    if (tokener) {
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        message = json_tokener_parse_ex(tokener, line, (int)strlen(line) + 1);
        json_tokener_free(tokener);
    }
    return message;
}

bool qh_trial_take_line(void *opaque, char *line)
{
    struct qh_trial_board *board = opaque;
    struct json_object *message = parse(line);
    bool good = json_object_is_type(message, json_type_object) &&
                (take_progress(board, message) || take_result(board, message));

    if (!good) {
        snprintf(board->refused, sizeof(board->refused), "%s", line);
    }
    json_object_put(message);
    return good;
}
