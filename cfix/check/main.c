/* cfix-check: runs checks, tells what came out.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/programs.h"

static const char usage[] =
    "usage: cfix-check [--json] --all | --long | NAME ...\n"
    "       cfix-check --list\n"
    "       cfix-check --replay STRING\n"
    "\n"
    "Explores every schedule of small programs that use the sources of cfix.\n"
    "\n"
    "  --all            run every check but the long ones\n"
    "  --long           run the long ones too\n"
    "  --list           name the checks, with what is expected of each\n"
    "  --replay STRING  one execution, as printed with a violation\n"
    "  --json           results as JSON instead of text\n"
    "  NAME             a check, or all whose names begin with NAME and '/'\n"
    "\n"
    "Exit status: 0 every verdict is the expected one, 1 not, 64 usage.\n"
    "\n"
    "example: cfix-check sleep/legacy/split-wake/sc\n";

enum { EXIT_UNEXPECTED = 1, EXIT_USAGE = 64 };

struct options {
    bool all;
    bool with_long;
    bool list;
    bool json;
    const char *replay;
    char **names;
    int n_names;
};

static int fail_usage(const char *what, const char *which)
{
    fprintf(stderr, "cfix-check: %s%s\nTry: cfix-check --help\n", what, which);
    return EXIT_USAGE;
}

static bool is_prefix(const char *prefix, const char *name)
{
    size_t length = strlen(prefix);

    return strncmp(prefix, name, length) == 0 &&
           (name[length] == '\0' || name[length] == '/');
}

static bool is_chosen(const struct options *options, const struct check *check)
{
    for (int i = 0; i < options->n_names; i++) {
        if (is_prefix(options->names[i], check->name)) {
            return true;
        }
    }
    return options->with_long || (options->all && !check->is_long);
}

static void put_verdict(FILE *stream, enum check_verdict verdict,
                        enum check_violation violation)
{
    fprintf(stream, "%s", check_verdict_name(verdict));
    if (violation) {
        fprintf(stream, " (%s)", check_violation_name(violation));
    }
}

static void list_checks(const struct check *checks, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        printf("%-36s ", checks[i].name);
        put_verdict(stdout, checks[i].expected, checks[i].expected_violation);
        printf("%s\n", checks[i].is_long ? ", long" : "");
    }
}

/* `told`: with the interleaving. */
static void print_result(const struct check *check,
                         const struct check_result *result, bool told)
{
    printf("%-36s ", check->name);
    put_verdict(stdout, result->verdict, result->violation);
    printf(" %llu schedules, %llu cut, %llu limited, %.3f s%s\n",
           (unsigned long long)result->schedules,
           (unsigned long long)result->cut, (unsigned long long)result->limited,
           result->seconds,
           check_as_expected(check, result) ? "" : "  NOT EXPECTED");
    if (!told || !result->trace) {
        return;
    }
    printf("\n%s\n%s\n\nreplay: cfix-check --replay %s:%s\n\n",
           result->message ? result->message : "", result->trace, check->name,
           result->replay);
}

static void add_string(struct json_object *object, const char *key,
                       const char *value)
{
    json_object_object_add(object, key,
                           value ? json_object_new_string(value) : NULL);
}

static struct json_object *as_json(const struct check *check,
                                   const struct check_result *result)
{
    struct json_object *object = json_object_new_object();
    bool violated = result->verdict == CHECK_VIOLATION;

    add_string(object, "name", check->name);
    add_string(object, "subject", check->source);
    add_string(object, "mutant", check->mutant);
    add_string(object, "program", check->program->name);
    add_string(object, "model", check_model_name(check->model));
    add_string(object, "verdict", check_verdict_name(result->verdict));
    add_string(object, "expected", check_verdict_name(check->expected));
    add_string(object, "violation",
               violated ? check_violation_name(result->violation) : NULL);
    add_string(object, "expected_violation",
               check->expected_violation
                   ? check_violation_name(check->expected_violation)
                   : NULL);
    json_object_object_add(object, "schedules",
                           json_object_new_int64((int64_t)result->schedules));
    json_object_object_add(object, "cut",
                           json_object_new_int64((int64_t)result->cut));
    json_object_object_add(object, "limited",
                           json_object_new_int64((int64_t)result->limited));
    json_object_object_add(object, "longest",
                           json_object_new_int((int32_t)result->longest));
    json_object_object_add(object, "seconds",
                           json_object_new_double(result->seconds));
    add_string(object, "message", result->message);
    add_string(object, "replay", result->replay);
    return object;
}

static void print_json(struct json_object *results, bool as_expected)
{
    struct json_object *report = json_object_new_object();

    json_object_object_add(report, "version", json_object_new_int(1));
    json_object_object_add(report, "as_expected",
                           json_object_new_boolean(as_expected));
    json_object_object_add(report, "results", results);
    puts(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY));
    json_object_put(report);
}

static int run_checks(const struct options *options, const struct check *checks,
                      unsigned n)
{
    struct json_object *results = json_object_new_array();
    unsigned run = 0;
    unsigned unexpected = 0;
    double seconds = 0;

    for (unsigned i = 0; i < n; i++) {
        struct check_result result;

        if (!is_chosen(options, &checks[i])) {
            continue;
        }
        check_run(&checks[i], &result);
        run++;
        unexpected += !check_as_expected(&checks[i], &result);
        seconds += result.seconds;
        if (options->json) {
            json_object_array_add(results, as_json(&checks[i], &result));
        } else {
            print_result(&checks[i], &result,
                         options->n_names > 0 ||
                             !check_as_expected(&checks[i], &result));
        }
        check_result_deinit(&result);
    }
    if (options->json) {
        print_json(results, !unexpected);
    } else {
        json_object_put(results);
        printf("%u checks, %u not as expected, %.1f s\n", run, unexpected,
               seconds);
    }
    if (!run) {
        return fail_usage("no such check: ", options->names[0]);
    }
    return unexpected ? EXIT_UNEXPECTED : EXIT_SUCCESS;
}

static int replay(const struct options *options, const struct check *checks,
                  unsigned n)
{
    const char *colon = strchr(options->replay, ':');
    struct check_result result;

    for (unsigned i = 0; colon && i < n; i++) {
        size_t length = (size_t)(colon - options->replay);
        bool known;

        if (strlen(checks[i].name) != length ||
            strncmp(checks[i].name, options->replay, length) != 0) {
            continue;
        }
        check_replay(&checks[i], colon + 1, &result);
        known = result.verdict == CHECK_VIOLATION &&
                result.violation == checks[i].expected_violation;
        print_result(&checks[i], &result, true);
        check_result_deinit(&result);
        return known ? EXIT_SUCCESS : EXIT_UNEXPECTED;
    }
    return fail_usage("not a replay string: ", options->replay);
}

/* What is left of argv are names; -1, or the exit status. */
static int parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        { "all", no_argument, NULL, 'a' },
        { "long", no_argument, NULL, 'l' },
        { "list", no_argument, NULL, 'L' },
        { "json", no_argument, NULL, 'j' },
        { "replay", required_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'a':
            options->all = true;
            break;
        case 'l':
            options->with_long = true;
            break;
        case 'L':
            options->list = true;
            break;
        case 'j':
            options->json = true;
            break;
        case 'r':
            options->replay = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        default:
            return fail_usage("see above", "");
        }
    }
    options->names = &argv[optind];
    options->n_names = argc - optind;
    return -1;
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    int status = parse(&options, argc, argv);
    unsigned n;
    struct check *checks;

    if (status >= 0) {
        return status;
    }
    checks = checks_create(&n);
    if (options.list) {
        list_checks(checks, n);
        return EXIT_SUCCESS;
    }
    if (options.replay) {
        return replay(&options, checks, n);
    }
    if (!options.all && !options.with_long && !options.n_names) {
        return fail_usage("nothing to do", "");
    }
    return run_checks(&options, checks, n);
}
