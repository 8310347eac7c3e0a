/* SPDX-License-Identifier: Apache-2.0 */
/* On its own: whoever takes --wait needs this, and none of the settings and drivers. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "config.h"
#include "util.h"

enum { FRACTION = 1000 };
static const int64_t max_duration_ms = INT64_C(366) * 24 * 3600 * 1000;

/* Milliseconds of a unit, 0 for what is none. No unit means seconds. */
static int64_t unit_ms(const char *unit)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {{"", 1000},     {"s", 1000},     {"ms", 1},       {"m", 60000},
	             {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};

	for (size_t i = 0; i < VM_ARRAY_LEN(units); i++) {
		if (strcmp(unit, units[i].name) == 0)
			return units[i].ms;
	}
	return 0;
}

/* Up to three decimals after the point at *at, in thousandths; *at goes behind them. */
static int64_t fraction_of(char **at)
{
	int64_t value = 0;

	if (**at != '.' || !isdigit((unsigned char)(*at)[1]))
		return 0;
	(*at)++;
	for (int64_t digit = FRACTION / 10; isdigit((unsigned char)**at); digit /= 10)
		value += digit * (*(*at)++ - '0');
	return value;
}

int vm_duration_parse(const char *text, const char *what, int64_t *ret_ms, struct vm_err *err)
{
	char *end = NULL;
	int64_t scale = 0;
	intmax_t n = 0;
	int64_t fraction = 0;

	if (strcmp(text, "none") == 0 || strcmp(text, "forever") == 0) {
		*ret_ms = strcmp(text, "none") == 0 ? 0 : -1;
		return 0;
	}
	errno = 0;
	if (isdigit((unsigned char)*text)) {
		n = strtoimax(text, &end, 10);
		fraction = fraction_of(&end);
		scale = unit_ms(end);
	}
	if (scale == 0) {
		vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is not a duration", what, text);
		return vm_err_hint(err, "seconds, or e.g. 500ms, 1.5s, 2m, 1h, 7d, none, forever");
	}
	if (errno == ERANGE || n > max_duration_ms / scale) {
		vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is more than a year", what, text);
		return vm_err_hint(err, "'forever' waits without a limit");
	}
	*ret_ms = n * scale + fraction * scale / FRACTION;
	return 0;
}
