/* The wait-for graph in the HTML report: the chain, the picture, its key.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/html.h"

#include <stdlib.h>
#include <string.h>

/* Wider pictures than these, in points, are not shrunk until nothing can be
 * read: the first stands below the chain and is scrolled on a phone, the other
 * is scrolled anywhere. */
enum { WIDE_POINTS = 420, HUGE_POINTS = 1000 };

static void print_chain(const struct qh_wait_graph *graph, FILE *out)
{
    if (graph->chain_count < 2) {
        return;
    }
    fputs("<ol class=\"chain\">\n", out);
    for (size_t i = 0; i < graph->chain_count; i++) {
        const struct qh_wait_node *node = &graph->nodes[graph->chain[i]];
        fprintf(out, "<li%s>",
                node->finding || node->cycle ? " class=\"fault\"" : "");
        if (i) {
            const struct qh_wait_edge *edge =
                qh_wait_graph_edge(graph, graph->chain[i - 1], graph->chain[i]);
            qh_html_element(out, "span", "why", edge->why);
        }
        qh_html_element(out, "b", NULL, node->name);
        fputs(node->cycle && i + 1 == graph->chain_count
                  ? "which is part of a circle</li>\n"
                  : "</li>\n",
              out);
    }
    fputs("</ol>\n", out);
}

/* What Graphviz drew, as far as it is put into the page. */
struct picture {
    const char *rest;  /* of the element, behind its size */
    const char *end;   /* of the element */
    int width, height; /* in points */
};

/* Graphviz gives the size in points, which HTML does not know. False when that
 * is not how it begins. */
static bool find_picture(const char *svg, struct picture *ret)
{
    static const char last[] = "</svg>";
    const char *element = svg ? strstr(svg, "<svg ") : NULL;
    const char *end = element ? strstr(element, last) : NULL;
    int length = 0;

    if (!end ||
        sscanf(element, "<svg width=\"%7dpt\" height=\"%7dpt\"%n", &ret->width,
               &ret->height, &length) != 2 ||
        !length) {
        return false;
    }
    ret->rest = element + length;
    ret->end = end + strlen(last);
    return true;
}

/* Without the titles, by which a browser calls the nodes "n7". */
static void copy_picture(const struct picture *picture, FILE *out)
{
    static const char begin[] = "<title>", last[] = "</title>";
    const char *at = picture->rest;

    fprintf(out, "<svg width=\"%d\" height=\"%d\"", picture->width * 4 / 3,
            picture->height * 4 / 3);
    while (at < picture->end) {
        const char *title = strstr(at, begin);
        const char *behind = title ? strstr(title, last) : NULL;
        const char *stop = behind ? title : picture->end;
        fwrite(at, 1, (size_t)(stop - at), out);
        at = behind ? behind + strlen(last) : stop;
    }
}

static void print_caption(const struct qh_wait_graph *graph, size_t drawn,
                          FILE *out)
{
    size_t all = qh_wait_graph_size(graph);

    fputs("<figcaption>An arrow leads from what waits to what it waits for; a "
          "dashed one where others may end the wait, too.",
          out);
    if (drawn < all) {
        fprintf(out,
                " Of %zu nodes these are the %zu that matter most; "
                "<code>--json</code> has all.",
                all, drawn);
    }
    fputs("<ul class=\"key\"><li class=\"thread\">thread</li>"
          "<li class=\"coroutine\">coroutine</li>"
          "<li class=\"object\">lock, queue, timer, ...</li>"
          "<li class=\"fault\">at fault</li></ul></figcaption>\n",
          out);
}

static struct qh_error *print_picture(const struct qh_wait_graph *graph,
                                      const struct picture *picture,
                                      size_t drawn, FILE *out)
{
    fprintf(out,
            "<figure>\n<div class=\"picture%s%s\" role=\"img\" tabindex=\"0\" "
            "aria-label=\"The wait-for graph; it follows as a list\">\n",
            picture->width > WIDE_POINTS ? " wide" : "",
            picture->width > HUGE_POINTS ? " huge" : "");
    copy_picture(picture, out);
    fputs("\n</div>\n", out);
    print_caption(graph, drawn, out);
    fputs("</figure>\n<details><summary>The same as a list</summary>\n", out);
    QH_TRY(qh_html_tree(graph, out));
    fputs("</details>\n", out);
    return NULL;
}

/* How many nodes are worth drawing. */
static struct qh_error *count_drawn(const struct qh_wait_graph *graph,
                                    size_t *ret)
{
    QH_CLEANUP(qh_free_guard)
    bool *chosen = calloc(graph->node_count + 1, sizeof(*chosen));

    if (!chosen) {
        return qh_error_no_memory();
    }
    return qh_wait_graph_choose(graph, QH_DRAWN_NODES, chosen, ret);
}

struct qh_error *qh_html_graph(const struct qh_report *report, const char *svg,
                               FILE *out)
{
    const struct qh_wait_graph *graph = report->graph;
    struct picture picture;
    size_t drawn = 0;

    QH_TRY(count_drawn(graph, &drawn));
    qh_html_section(out, "Who waits for whom", 0);
    fputs("<div class=\"card graph\">\n", out);
    if (!drawn) {
        fputs("<p class=\"note\">Nobody waits for anybody else.</p>\n", out);
    } else {
        print_chain(graph, out);
        QH_TRY(find_picture(svg, &picture)
                   ? print_picture(graph, &picture, drawn, out)
                   : qh_html_tree(graph, out));
    }
    fputs("</div>\n</section>\n", out);
    return NULL;
}
