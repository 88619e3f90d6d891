/* Subject of the checker: graph_fixed.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT graph_fixed
#include "check/subject.h"

#include "graph_lock.c"
#include "runtime/aio_wait.c"

#include "check/subject_graph.h"
