/* Windows: the one variable that victims set.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "runtime/window.h"

#ifdef CFIX_WINDOWS
void (*cfix_window)(enum cfix_point point);
#endif
