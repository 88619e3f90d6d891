/* Coroutines in the HTML report: equal stacks in one bucket, which unfolds.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/html.h"
#include "report/text.h"

#include <stdlib.h>
#include <string.h>

/* So many members of a bucket are listed; ten thousand alike teach nobody. */
enum { MAX_MEMBERS = 200 };

struct bucket {
    const struct qh_coroutine **members;
    size_t count;
};

struct buckets {
    const struct qh_report *report;
    const struct qh_coroutine **order; /* equal ones side by side */
    struct bucket *items;
    size_t count;
    size_t *node_of; /* 1 + the graph's node, or 0; by place in the snapshot */
};

static void buckets_deinit(struct buckets *buckets)
{
    free(buckets->order);
    free(buckets->items);
    free(buckets->node_of);
}

static int compare_text(const char *one, const char *other)
{
    return strcmp(one ? one : "", other ? other : "");
}

static int compare(const struct qh_coroutine *one,
                   const struct qh_coroutine *other)
{
    const struct qh_backtrace *a = &one->stack, *b = &other->stack;

    if (one->state != other->state) {
        return one->state < other->state ? -1 : 1;
    }
    if (one->state == QH_CO_POOLED) {
        return 0; /* what they once did is over */
    }
    if (a->count != b->count) {
        return a->count < b->count ? -1 : 1;
    }
    for (size_t i = 0; i < a->count; i++) {
        int order = compare_text(a->frames[i].function, b->frames[i].function);
        if (order) {
            return order;
        }
    }
    return compare_text(one->entry, other->entry);
}

static int compare_places(const void *one, const void *other)
{
    const struct qh_coroutine *const *a = one, *const *b = other;
    int order = compare(*a, *b);

    return order ? order : *a < *b ? -1 : *a > *b;
}

/* Those that ran or wait first, pooled ones last; then the fullest. */
static int compare_buckets(const void *one, const void *other)
{
    const struct bucket *a = one, *b = other;
    bool a_pooled = a->members[0]->state == QH_CO_POOLED;
    bool b_pooled = b->members[0]->state == QH_CO_POOLED;

    if (a_pooled != b_pooled) {
        return a_pooled ? 1 : -1;
    }
    if (a->count != b->count) {
        return a->count > b->count ? -1 : 1;
    }
    return a->members < b->members ? -1 : a->members > b->members;
}

static void find_nodes(struct buckets *buckets)
{
    const struct qh_snapshot *snapshot = buckets->report->snapshot;
    const struct qh_wait_graph *graph = buckets->report->graph;

    for (size_t i = 0; i < graph->node_count; i++) {
        const struct qh_coroutine *coroutine =
            graph->nodes[i].kind == QH_NODE_COROUTINE
                ? qh_snapshot_coroutine(snapshot, graph->nodes[i].address)
                : NULL;
        if (coroutine) {
            buckets->node_of[coroutine - snapshot->coroutines] = i + 1;
        }
    }
}

static struct qh_error *fill(struct buckets *buckets)
{
    const struct qh_snapshot *snapshot = buckets->report->snapshot;
    size_t count = snapshot->coroutine_count;

    buckets->order = calloc(count + 1, sizeof(*buckets->order));
    buckets->items = calloc(count + 1, sizeof(*buckets->items));
    buckets->node_of = calloc(count + 1, sizeof(*buckets->node_of));
    if (!buckets->order || !buckets->items || !buckets->node_of) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < count; i++) {
        buckets->order[i] = &snapshot->coroutines[i];
    }
    qsort(buckets->order, count, sizeof(*buckets->order), compare_places);
    for (size_t i = 0; i < count; i++) {
        if (!i || compare(buckets->order[i - 1], buckets->order[i])) {
            buckets->items[buckets->count++].members = &buckets->order[i];
        }
        buckets->items[buckets->count - 1].count++;
    }
    qsort(buckets->items, buckets->count, sizeof(*buckets->items),
          compare_buckets);
    find_nodes(buckets);
    return NULL;
}

static void print_member(const struct buckets *buckets,
                         const struct qh_coroutine *coroutine, FILE *out)
{
    const struct qh_snapshot *snapshot = buckets->report->snapshot;
    const struct qh_wait_graph *graph = buckets->report->graph;
    const struct qh_context *context =
        qh_snapshot_context(snapshot, coroutine->context);
    size_t number = buckets->node_of[coroutine - snapshot->coroutines];

    fputs("<li>", out);
    qh_html_address(out, coroutine->address);
    if (context && context->name && *context->name) {
        fputs(" in ", out);
        qh_html_text(out, context->name);
    }
    if (coroutine->scheduled) {
        fputs(", scheduled by ", out);
        qh_html_element(out, "code", NULL, coroutine->scheduled);
    }
    for (size_t i = 0; number && i < graph->nodes[number - 1].edge_count; i++) {
        const struct qh_wait_edge *edge =
            &graph->edges[graph->nodes[number - 1].first_edge + i];
        fputs(i ? "; " : ": ", out);
        qh_html_text(out, edge->why);
        fputs(" ", out);
        qh_html_text(out, graph->nodes[edge->to].name);
    }
    fputs("</li>\n", out);
}

static void print_bucket(const struct buckets *buckets,
                         const struct bucket *bucket, FILE *out)
{
    const struct qh_coroutine *like = bucket->members[0];
    size_t first = qh_text_first_frame(&like->stack);
    bool pooled = like->state == QH_CO_POOLED;

    fprintf(out,
            "<details data-find><summary><span class=\"n\">%zu "
            "&times;</span> <b>",
            bucket->count);
    if (pooled) {
        fputs("pooled</b> for re-use</summary>\n<p class=\"note\">Their "
              "coroutines have ended; the stacks wait for new ones.</p>\n"
              "</details>\n",
              out);
        return;
    }
    qh_html_text(out, like->entry ? like->entry : "(entry not known)");
    fprintf(out, "</b> %s", qh_coroutine_state_name(like->state));
    if (first < like->stack.count && like->stack.frames[first].function) {
        fputs(" <span class=\"at mono\">", out);
        qh_html_text(out, like->stack.frames[first].function);
        fputs("</span>", out);
    }
    fputs("</summary>\n", out);
    qh_html_frames(out, &like->stack);
    fputs("<ul class=\"members\">\n", out);
    for (size_t i = 0; i < bucket->count && i < MAX_MEMBERS; i++) {
        print_member(buckets, bucket->members[i], out);
    }
    if (bucket->count > MAX_MEMBERS) {
        fprintf(out,
                "<li class=\"note\">and %zu more; <code>--json</code> has "
                "all</li>\n",
                bucket->count - MAX_MEMBERS);
    }
    fputs("</ul>\n</details>\n", out);
}

struct qh_error *qh_html_coroutines(const struct qh_report *report, FILE *out)
{
    QH_CLEANUP(buckets_deinit) struct buckets buckets = { .report = report };

    if (!report->snapshot->coroutine_count) {
        return NULL;
    }
    QH_TRY(fill(&buckets));
    qh_html_section(out, "Coroutines", report->snapshot->coroutine_count);
    for (size_t i = 0; i < buckets.count; i++) {
        print_bucket(&buckets, &buckets.items[i], out);
    }
    fputs("</section>\n", out);
    return NULL;
}
