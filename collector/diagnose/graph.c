/* The wait-for graph: nodes, edges, and how they are put together.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnose/graph_build.h"

#include <inttypes.h>
#include <string.h>

#define QH_NAME(constant, name) [constant] = name,

const char *qh_node_kind_name(enum qh_node_kind kind)
{
    static const char *const names[] = { QH_NODE_KINDS(QH_NAME) };

    return names[kind];
}

/* --- from pairs to indices --- */

/* The mixer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

static struct qh_pair_slot *find_slot(struct qh_pair_slot *slots,
                                      size_t capacity, uint64_t a, uint64_t b)
{
    size_t at = mix(mix(a) + b) & (capacity - 1);

    while (slots[at].value && (slots[at].a != a || slots[at].b != b)) {
        at = (at + 1) & (capacity - 1);
    }
    return &slots[at];
}

static bool grow(struct qh_arena *arena, struct qh_pair_map *map)
{
    size_t capacity = map->capacity ? 2 * map->capacity : 64;
    struct qh_pair_slot *slots =
        qh_arena_alloc(arena, capacity * sizeof(*slots));

    if (!slots) {
        return false;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        const struct qh_pair_slot *old = &map->slots[i];
        if (old->value) {
            *find_slot(slots, capacity, old->a, old->b) = *old;
        }
    }
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

size_t *qh_pair_slot(struct qh_arena *arena, struct qh_pair_map *map,
                     uint64_t a, uint64_t b)
{
    if (map->count >= map->capacity / 2 && !grow(arena, map)) {
        return NULL;
    }
    struct qh_pair_slot *slot = find_slot(map->slots, map->capacity, a, b);
    if (!slot->value) {
        slot->a = a;
        slot->b = b;
        map->count++;
    }
    return &slot->value;
}

size_t qh_pair_find(const struct qh_pair_map *map, uint64_t a, uint64_t b)
{
    return map->capacity ? find_slot(map->slots, map->capacity, a, b)->value
                         : 0;
}

/* --- nodes and edges --- */

static const char *thread_name(struct qh_graph_builder *builder, pid_t tid)
{
    struct qh_arena *arena = &builder->graph->arena;
    const struct qh_thread *thread = qh_snapshot_thread(builder->snapshot, tid);

    if (!thread) {
        return qh_arena_printf(arena, "thread %d, which is gone", (int)tid);
    }
    if (thread->role == QH_ROLE_MAIN) {
        return qh_arena_printf(arena, "main thread %d", (int)tid);
    }
    if (thread->role == QH_ROLE_IOTHREAD && thread->iothread) {
        return qh_arena_printf(arena, "iothread %s (%d)", thread->iothread,
                               (int)tid);
    }
    return qh_arena_printf(
        arena, "%s%sthread %d (%s)",
        thread->role == QH_ROLE_OTHER ? "" : qh_role_name(thread->role),
        thread->role == QH_ROLE_OTHER ? "" : " ", (int)tid,
        thread->name ? thread->name : "?");
}

static const char *coroutine_name(struct qh_graph_builder *builder,
                                  uint64_t address)
{
    const struct qh_coroutine *coroutine =
        qh_snapshot_coroutine(builder->snapshot, qh_raddr(address));
    const char *entry = coroutine ? coroutine->entry : NULL;

    return qh_arena_printf(&builder->graph->arena,
                           "coroutine 0x%" PRIx64 "%s%s", address,
                           entry ? " " : "", entry ? entry : "");
}

static struct qh_error *name_node(struct qh_graph_builder *builder,
                                  struct qh_wait_node *node, uint64_t key)
{
    if (node->kind == QH_NODE_THREAD) {
        node->tid = (pid_t)key;
        node->name = thread_name(builder, node->tid);
    } else if (node->kind == QH_NODE_COROUTINE) {
        node->address = qh_raddr(key);
        node->name = coroutine_name(builder, key);
    } else {
        node->address = qh_raddr(key);
        node->name = qh_node_kind_name(node->kind);
    }
    return node->name ? NULL : qh_error_no_memory();
}

struct qh_error *qh_graph_node(struct qh_graph_builder *builder,
                               enum qh_node_kind kind, uint64_t key,
                               size_t *ret)
{
    struct qh_wait_graph *graph = builder->graph;
    size_t *slot = qh_pair_slot(&graph->arena, &builder->nodes, kind, key);

    if (!slot) {
        return qh_error_no_memory();
    }
    if (!*slot) {
        struct qh_wait_node *node =
            qh_list_add(&graph->arena, &graph->nodes, &graph->node_count,
                        &graph->room.nodes, sizeof(*node));
        if (!node) {
            return qh_error_no_memory();
        }
        node->kind = kind;
        *slot = graph->node_count;
        QH_TRY(name_node(builder, node, key));
    }
    *ret = *slot - 1;
    return NULL;
}

struct qh_error *qh_graph_named(struct qh_graph_builder *builder,
                                enum qh_node_kind kind, uint64_t key,
                                const char *name, size_t *ret)
{
    QH_TRY(qh_graph_node(builder, kind, key, ret));
    if (!name) {
        return qh_error_no_memory();
    }
    builder->graph->nodes[*ret].name = name;
    return NULL;
}

struct qh_error *qh_graph_edge(struct qh_graph_builder *builder, size_t from,
                               size_t to, const char *why,
                               enum qh_certainty certainty)
{
    struct qh_wait_graph *graph = builder->graph;
    size_t *slot = qh_pair_slot(&graph->arena, &builder->edges, from, to);

    if (!slot) {
        return qh_error_no_memory();
    }
    if (*slot) {
        return NULL;
    }
    struct qh_wait_edge *edge =
        qh_list_add(&graph->arena, &graph->edges, &graph->edge_count,
                    &graph->room.edges, sizeof(*edge));
    if (!edge) {
        return qh_error_no_memory();
    }
    *slot = graph->edge_count;
    *edge = (struct qh_wait_edge){ from, to, why, certainty };
    return NULL;
}

/* --- the whole --- */

/* Orders the edges by the node that they leave, else as they were told. */
static struct qh_error *order_edges(struct qh_wait_graph *graph)
{
    struct qh_wait_edge *ordered = qh_arena_alloc(
        &graph->arena, (graph->edge_count + 1) * sizeof(*ordered));
    size_t first = 0;

    if (!ordered) {
        return qh_error_no_memory();
    }
    for (size_t i = 0; i < graph->edge_count; i++) {
        graph->nodes[graph->edges[i].from].edge_count++;
        graph->nodes[graph->edges[i].to].waiter_count++;
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        graph->nodes[i].first_edge = first;
        first += graph->nodes[i].edge_count;
        graph->nodes[i].edge_count = 0;
    }
    for (size_t i = 0; i < graph->edge_count; i++) {
        struct qh_wait_node *node = &graph->nodes[graph->edges[i].from];
        ordered[node->first_edge + node->edge_count++] = graph->edges[i];
    }
    graph->edges = ordered;
    graph->room.edges = graph->edge_count;
    return NULL;
}

static void mark_node(struct qh_graph_builder *builder, enum qh_node_kind kind,
                      uint64_t key, size_t finding)
{
    size_t node = qh_pair_find(&builder->nodes, kind, key);

    if (key && node && !builder->graph->nodes[node - 1].finding) {
        builder->graph->nodes[node - 1].finding = finding;
    }
}

/* A finding is about its coroutine, or else about its thread. */
static void mark_findings(struct qh_graph_builder *builder,
                          const struct qh_findings *findings)
{
    for (size_t i = 0; findings && i < findings->count; i++) {
        const struct qh_finding *finding = &findings->items[i];
        if (finding->coroutine.value) {
            mark_node(builder, QH_NODE_COROUTINE, finding->coroutine.value,
                      i + 1);
        } else {
            mark_node(builder, QH_NODE_THREAD, (uint64_t)finding->tid, i + 1);
        }
    }
}

static struct qh_error *add_threads(struct qh_graph_builder *builder)
{
    const struct qh_snapshot *snapshot = builder->snapshot;
    size_t node;

    for (size_t i = 0; i < snapshot->thread_count; i++) {
        QH_TRY(qh_graph_node(builder, QH_NODE_THREAD,
                             (uint64_t)snapshot->threads[i].tid, &node));
    }
    return NULL;
}

struct qh_error *qh_wait_graph_build(const struct qh_snapshot *snapshot,
                                     const struct qh_findings *findings,
                                     struct qh_wait_graph **ret)
{
    QH_CLEANUP(qh_wait_graph_guard)
    struct qh_wait_graph *graph = calloc(1, sizeof(*graph));
    struct qh_graph_builder builder = { .snapshot = snapshot, .graph = graph };

    if (!graph) {
        return qh_error_no_memory();
    }
    QH_TRY(add_threads(&builder));
    QH_TRY(qh_graph_note_scheduled(&builder));
    QH_TRY(qh_graph_add_waits(&builder));
    QH_TRY(qh_graph_add_users(&builder));
    QH_TRY(qh_graph_add_facts(&builder));
    QH_TRY(order_edges(graph));
    mark_findings(&builder, findings);
    QH_TRY(qh_graph_find_cycles(graph));
    QH_TRY(qh_graph_lay_chain(graph, snapshot, findings));
    *ret = graph;
    graph = NULL;
    return NULL;
}

void qh_wait_graph_destroy(struct qh_wait_graph *graph)
{
    if (graph) {
        qh_arena_deinit(&graph->arena);
        free(graph);
    }
}

void qh_wait_graph_guard(struct qh_wait_graph **graph)
{
    qh_wait_graph_destroy(*graph);
}

const struct qh_wait_edge *qh_wait_graph_edge(const struct qh_wait_graph *graph,
                                              size_t from, size_t to)
{
    const struct qh_wait_node *node = &graph->nodes[from];

    for (size_t i = 0; i < node->edge_count; i++) {
        const struct qh_wait_edge *edge = &graph->edges[node->first_edge + i];
        if (edge->to == to) {
            return edge;
        }
    }
    return NULL;
}
