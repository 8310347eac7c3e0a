/* SPDX-License-Identifier: Apache-2.0 */
#include "prometheus.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

void cli_metric(const char *name, const char *type, const char *help)
{
	(void)printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* The format is UTF-8: of a path that is not, only the plain characters are shown. */
static void print_value(const char *value)
{
	json_t *valid = json_string(value);

	for (const char *c = value; *c != '\0'; c++) {
		if (*c == '\n')
			(void)fputs("\\n", stdout);
		else if (valid == NULL && (unsigned char)*c >= 0x80)
			(void)putchar('?');
		else if (*c == '\\' || *c == '"')
			(void)printf("\\%c", *c);
		else
			(void)putchar(*c);
	}
	json_decref(valid);
}

static void print_label(const char *name, const char *value, bool first)
{
	(void)printf("%s%s=\"", first ? "" : ",", name);
	print_value(value);
	(void)putchar('"');
}

static void print_labels(const char *name, const char *root, struct cli_label a, struct cli_label b)
{
	(void)printf("%s{", name);
	print_label("root", root, true);
	if (a.name != NULL)
		print_label(a.name, a.value, false);
	if (b.name != NULL)
		print_label(b.name, b.value, false);
	(void)fputs("} ", stdout);
}

void cli_sample(const char *name, const char *root, struct cli_label a, struct cli_label b,
                int64_t value)
{
	print_labels(name, root, a, b);
	(void)printf("%" PRId64 "\n", value);
}

void cli_sample_seconds(const char *name, const char *root, struct cli_label a, struct cli_label b,
                        int64_t value_us)
{
	print_labels(name, root, a, b);
	(void)printf("%" PRId64 ".%06" PRId64 "\n", value_us / 1000000, value_us % 1000000);
}
