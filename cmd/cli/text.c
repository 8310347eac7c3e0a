/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <langinfo.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "util.h"

enum { DEFAULT_WIDTH = 80, WIDTH_MAX = 10000, MIN_WIDTH = 16 };
static const uint32_t none = UINT32_MAX;

size_t cli_table_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct vm_err ignored = {0};
	struct winsize size = {0};
	int64_t width;

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (columns != NULL && columns[0] != '\0' &&
	    vm_int_parse(columns, "COLUMNS", 1, WIDTH_MAX, &width, &ignored) == 0)
		return (size_t)width;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return DEFAULT_WIDTH;
}

bool cli_is_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

bool cli_locale_is_utf8(void)
{
	locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool utf8 = locale != (locale_t)0 && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;

	if (locale != (locale_t)0)
		freelocale(locale);
	return utf8;
}

bool cli_utf8(void)
{
	static enum { UNKNOWN, NO, YES } utf8;

	if (utf8 == UNKNOWN) /* wcwidth() goes by the locale that is set */
		utf8 = cli_locale_is_utf8() && setlocale(LC_CTYPE, "") != NULL ? YES : NO;
	return utf8 == YES;
}

/* The character at the beginning of a text that is not empty, or `none`; and its length, >= 1. */
static uint32_t decode(const char *text, size_t *ret_len)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
	        {0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	const unsigned char *bytes = (const unsigned char *)text;

	*ret_len = 1;
	for (size_t form = 0; form < VM_ARRAY_LEN(forms); form++) {
		uint32_t c = bytes[0] & (unsigned)~forms[form].mask & 0xffU;

		if ((bytes[0] & forms[form].mask) != forms[form].lead)
			continue;
		for (size_t i = 1; i <= form; i++) {
			if ((bytes[i] & 0xc0U) != 0x80)
				return none;
			c = c << 6 | (bytes[i] & 0x3fU);
		}
		if (c < forms[form].least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return none;
		*ret_len = form + 1;
		return c;
	}
	return none;
}

/* Controls, and what reorders the text around it: a name must look like what it is. */
static bool is_unsafe(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* What to print for a character; 0: itself. */
static char stand_in(uint32_t c, bool narrow)
{
	if (c == '\n' || c == '\t' || c == '\r')
		return ' ';
	if (c == none || is_unsafe(c))
		return '?';
	if (c < 0x7f)
		return 0;
	if (cli_utf8())
		return wcwidth((wchar_t)c) < 0 ? '?' : 0;
	return narrow ? '?' : 0;
}

/* How much of a text, from its beginning, is plain ASCII: all of it, nearly always. */
static size_t plain_length(const char *text)
{
	size_t len = 0;

	while (text[len] >= 0x20 && text[len] < 0x7f)
		len++;
	return len;
}

void cli_text_clean(char *text, bool narrow)
{
	char *end;
	size_t len;

	text += plain_length(text);
	end = text;
	for (; *text != '\0'; text += len) {
		char instead = stand_in(decode(text, &len), narrow);

		if (instead != 0) {
			*end++ = instead;
			continue;
		}
		memmove(end, text, len);
		end += len;
	}
	*end = '\0';
}

static size_t width_of(uint32_t c)
{
	int width;

	if (c < 0x7f || c == none || !cli_utf8())
		return 1;
	width = wcwidth((wchar_t)c);
	return width >= 0 ? (size_t)width : 1;
}

size_t cli_text_width(const char *text)
{
	size_t width = plain_length(text), len;

	for (text += width; *text != '\0'; text += len)
		width += width_of(decode(text, &len));
	return width;
}

size_t cli_text_fit(const char *text, size_t width)
{
	size_t at = 0, used = 0, len;

	for (; text[at] != '\0'; at += len) {
		used += width_of(decode(text + at, &len));
		if (used > width)
			break;
	}
	return at;
}

/* Columns of the first word. */
static size_t word_width(const char *text)
{
	return cli_text_width(text) - cli_text_width(text + strcspn(text, " "));
}

void cli_text_print(const char *text, size_t indent)
{
	size_t width = cli_table_width(), column = indent;

	if (width < indent + MIN_WIDTH) /* too narrow to be worth it */
		width = SIZE_MAX;
	while (*text != '\0') {
		size_t len = strcspn(text, " "), gap = strspn(text + len, " ");

		(void)printf("%.*s", (int)len, text);
		column += word_width(text);
		text += len + gap;
		if (*text == '\0')
			break;
		if (column + gap + word_width(text) > width) {
			(void)printf("\n%*s", (int)indent, "");
			column = indent;
		} else {
			(void)printf("%*s", (int)gap, "");
			column += gap;
		}
	}
	(void)putchar('\n');
}
