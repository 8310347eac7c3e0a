/* SPDX-License-Identifier: Apache-2.0 */
#include "when.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "config.h"
#include "util.h"

/* Reads as many digits as there are in `max` at *at, at most that value; *at goes behind them. */
static bool take_number(const char **at, int max, int *ret)
{
	int value = 0;

	for (int rest = max; rest > 0; rest /= 10) {
		if (!isdigit((unsigned char)**at))
			return false;
		value = 10 * value + (*(*at)++ - '0');
	}
	*ret = value;
	return value <= max;
}

static bool take_char(const char **at, const char *allowed)
{
	if (**at == '\0' || !strchr(allowed, **at))
		return false;
	(*at)++;
	return true;
}

/* ".25": microseconds; further digits are read and do not count. */
static bool take_fraction(const char **at, int64_t *ret_us)
{
	int64_t digit = 100000;

	*ret_us = 0;
	if (**at != '.')
		return true;
	(*at)++;
	if (!isdigit((unsigned char)**at))
		return false;
	for (; isdigit((unsigned char)**at); (*at)++, digit /= 10)
		*ret_us += digit * (**at - '0');
	return true;
}

/* "Z", "+02:00": seconds east of Greenwich. */
static bool take_zone(const char **at, int64_t *ret_seconds)
{
	bool west = **at == '-';
	int hours, minutes;

	*ret_seconds = 0;
	if (take_char(at, "Zz"))
		return true;
	if (!take_char(at, "+-") || !take_number(at, 23, &hours) || !take_char(at, ":") ||
	    !take_number(at, 59, &minutes))
		return false;
	*ret_seconds = (west ? -1 : 1) * (INT64_C(3600) * hours + INT64_C(60) * minutes);
	return true;
}

/* Date and time of day; a day that its month does not have is none. */
static bool take_local(const char **at, int64_t *ret_seconds)
{
	struct tm tm = {0}, again;

	if (!take_number(at, 9999, &tm.tm_year) || !take_char(at, "-") ||
	    !take_number(at, 12, &tm.tm_mon) || !take_char(at, "-") ||
	    !take_number(at, 31, &tm.tm_mday) || !take_char(at, "Tt ") ||
	    !take_number(at, 23, &tm.tm_hour) || !take_char(at, ":") ||
	    !take_number(at, 59, &tm.tm_min) || !take_char(at, ":") ||
	    !take_number(at, 60, &tm.tm_sec)) /* 60: a leap second */
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	again = tm;
	again.tm_sec = 0;
	*ret_seconds = timegm(&again) + tm.tm_sec;
	return tm.tm_year >= 70 && tm.tm_mon >= 0 && tm.tm_mday >= 1 && again.tm_mday == tm.tm_mday;
}

static bool parse_time(const char *text, int64_t *ret_us)
{
	int64_t seconds, fraction_us, zone_seconds;

	if (!take_local(&text, &seconds) || !take_fraction(&text, &fraction_us) ||
	    !take_zone(&text, &zone_seconds) || *text != '\0')
		return false;
	*ret_us = (seconds - zone_seconds) * 1000000 + fraction_us;
	return true;
}

int vm_when_parse(const char *text, const char *what, int64_t *ret_us, struct vm_err *err)
{
	struct vm_err ignored = {0};
	int64_t ms;

	if (parse_time(text, ret_us))
		return 0;
	if (isdigit((unsigned char)*text) && vm_duration_parse(text, what, &ms, &ignored) == 0) {
		*ret_us = vm_realtime_us() - ms * 1000;
		return 0;
	}
	vm_err_set(err, VM_ERR_USAGE, "%s: '%.64s' is neither a duration nor a time", what, text);
	return vm_err_hint(err, "how long ago, e.g. 10m or 2h, or 2026-11-23T10:00:00Z");
}

char *vm_when_format(int64_t realtime_us, char buf[VM_WHEN_SIZE])
{
	time_t seconds = (time_t)(realtime_us / 1000000);
	struct tm tm;
	size_t len;

	if (gmtime_r(&seconds, &tm) == NULL) {
		(void)snprintf(buf, VM_WHEN_SIZE, "?");
		return buf;
	}
	len = strftime(buf, VM_WHEN_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + len, VM_WHEN_SIZE - len, ".%03dZ",
	               (int)(realtime_us % 1000000 / 1000));
	return buf;
}
