/* The notes that qhang adds to a core, by which the core tells more.
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Their name is "QHANG"; tools that do not know it pass them over. Written by
 * capture/, read by core_capture.c, documented in docs/capture.md.
 *
 * FACTS is a JSON object, of the format that its member "format" names.
 * MAPS is the text of /proc/PID/maps as of the stop. With it every byte has a
 * meaning: what lies in a PT_LOAD's FileSz is stored; of the rest, what FACTS
 * lists as left out is not known; what is left of private memory without a file
 * had never been written to, or held zeros only; and what is left of a private
 * mapping of a file is as it is in that file.
 */
#ifndef QH_TARGET_NOTE_H
#define QH_TARGET_NOTE_H

#define QH_NOTE_NAME "QHANG"
/* "QH" and a number: gdb takes small numbers for its own, whatever the name. */
enum qh_note_type { QH_NOTE_FACTS = 0x51480001, QH_NOTE_MAPS = 0x51480002 };

#define QH_NOTE_FORMAT "qhang-capture/1"

#endif
