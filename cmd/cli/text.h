/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text on a terminal: how many columns there are, how many a text takes, and what of it may not get
 * there. Texts are UTF-8, whatever the locale says; the locale only says what may be shown.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether it is a terminal that knows more than lines: by $TERM none that is "dumb". */
bool cli_is_terminal(int fd);
/* The columns of the terminal that is standard output ($COLUMNS wins); 0: it is none. */
size_t cli_table_width(void);
/* Whether the characters of the environment's locale are UTF-8. Any thread may ask, nothing is set.
 */
bool cli_locale_is_utf8(void);
/* The same, found out once; it sets the locale for the widths below, so only the first thread asks.
 */
bool cli_utf8(void);

/*
 * Puts into a text, where it stands, nothing that commands a terminal or turns text around: line
 * breaks and tabs become spaces, all else of that kind and what is no UTF-8 become '?'. With
 * `narrow` what the locale cannot show does, too. It never gets longer.
 */
void cli_text_clean(char *text, bool narrow);
/* Columns that a clean text takes: 2 for wide characters, none for those that combine. */
size_t cli_text_width(const char *text);
/* Bytes of the longest beginning of a clean text that takes at most `width` columns. */
size_t cli_text_fit(const char *text, size_t width);

/*
 * Prints a clean text from column `indent` on, and ends the line. On a terminal it goes on below
 * where it would not fit; anywhere else it is one line.
 */
void cli_text_print(const char *text, size_t indent);

#endif
