/* The wait-for graph in the JSON report.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/json_parts.h"

/* 1 + an index becomes that index, 0 becomes null. */
static struct json_object *index_of(struct qh_json *json, size_t number)
{
    return number ? qh_json_uint(json, number - 1) : NULL;
}

static struct json_object *node_of(struct qh_json *json,
                                   const struct qh_wait_node *node, size_t id)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "id", qh_json_uint(json, id));
    qh_json_put(json, item, "kind",
                qh_json_text(json, qh_node_kind_name(node->kind)));
    qh_json_put(json, item, "tid", qh_json_id(json, node->tid));
    qh_json_put(json, item, "address", qh_json_address(json, node->address));
    qh_json_put(json, item, "name", qh_json_text(json, node->name));
    qh_json_put(json, item, "idle", qh_json_bool(json, node->idle));
    qh_json_put(json, item, "finding", index_of(json, node->finding));
    qh_json_put(json, item, "cycle", index_of(json, node->cycle));
    return item;
}

static struct json_object *nodes_of(struct qh_json *json,
                                    const struct qh_wait_graph *graph)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < graph->node_count; i++) {
        qh_json_append(json, array, node_of(json, &graph->nodes[i], i));
    }
    return array;
}

static struct json_object *edges_of(struct qh_json *json,
                                    const struct qh_wait_graph *graph)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < graph->edge_count; i++) {
        const struct qh_wait_edge *edge = &graph->edges[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "from", qh_json_uint(json, edge->from));
        qh_json_put(json, item, "to", qh_json_uint(json, edge->to));
        qh_json_put(json, item, "why", qh_json_text(json, edge->why));
        qh_json_put(json, item, "certainty",
                    qh_json_text(json, qh_certainty_name(edge->certainty)));
        qh_json_append(json, array, item);
    }
    return array;
}

static struct json_object *ids_of(struct qh_json *json, const size_t *items,
                                  size_t count)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < count; i++) {
        qh_json_append(json, array, qh_json_uint(json, items[i]));
    }
    return array;
}

static struct json_object *cycles_of(struct qh_json *json,
                                     const struct qh_wait_graph *graph)
{
    struct json_object *array = qh_json_array(json);

    for (size_t i = 0; i < graph->cycle_count; i++) {
        const struct qh_wait_cycle *cycle = &graph->cycles[i];
        struct json_object *item = qh_json_object(json);
        qh_json_put(json, item, "certainty",
                    qh_json_text(json, qh_certainty_name(cycle->certainty)));
        qh_json_put(json, item, "nodes",
                    ids_of(json, cycle->nodes, cycle->count));
        qh_json_append(json, array, item);
    }
    return array;
}

struct json_object *qh_json_wait_graph(struct qh_json *json,
                                       const struct qh_wait_graph *graph)
{
    struct json_object *item = qh_json_object(json);

    qh_json_put(json, item, "nodes", nodes_of(json, graph));
    qh_json_put(json, item, "edges", edges_of(json, graph));
    qh_json_put(json, item, "cycles", cycles_of(json, graph));
    qh_json_put(json, item, "roots",
                ids_of(json, graph->roots, graph->root_count));
    qh_json_put(json, item, "chain",
                ids_of(json, graph->chain, graph->chain_count));
    return item;
}
