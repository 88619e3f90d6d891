/* Subject of the checker: graph_legacy.  See subject.h.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#define SUBJECT graph_legacy
#include "check/subject.h"

#include "legacy/graph_lock.c"
#include "runtime/aio_wait.c"

#include "check/subject_graph.h"
