/* SPDX-License-Identifier: Apache-2.0 */
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void vm_cleanup_free(void *pointer_to_pointer)
{
	void **p = pointer_to_pointer;
	int saved = errno;

	free(*p);
	*p = NULL;
	errno = saved;
}

void vm_cleanup_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd); /* not retried on EINTR: Linux has closed it already */
	*fd = -1;
	errno = saved;
}

int vm_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

int vm_write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			return -1;
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

void *vm_take_ptr(void *pointer_to_pointer)
{
	void **p = pointer_to_pointer;
	void *taken = *p;

	*p = NULL;
	return taken;
}

static int64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t vm_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t vm_monotonic_ms(void)
{
	return vm_monotonic_us() / 1000;
}

int64_t vm_realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

int vm_id_new(char ret_id[VM_ID_LEN + 1], struct vm_err *err)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	unsigned char raw[64];
	size_t made = 0;

	while (made < VM_ID_LEN) {
		if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
			return vm_err_sys(err, "getrandom for a new id");
		for (size_t i = 0; i < sizeof(raw) && made < VM_ID_LEN; i++) {
			/* 252 is the largest multiple of 36 in a byte: no letter is likelier. */
			if (raw[i] < 252)
				ret_id[made++] = alphabet[raw[i] % 36];
		}
	}
	ret_id[VM_ID_LEN] = '\0';
	return 0;
}

static bool is_id_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool vm_id_valid(const char *id)
{
	size_t n = 0;

	while (id[n] && is_id_char(id[n]))
		n++;
	return n == VM_ID_LEN && id[n] == '\0';
}

int vm_name_check(const char *name, struct vm_err *err)
{
	size_t len = strlen(name);

	if (len == 0)
		return vm_err_set(err, VM_ERR_USAGE, "the name is empty");
	if (len > VM_NAME_MAX)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "name '%.63s...' has %zu characters, the limit is %d", name, len,
		                  VM_NAME_MAX);
	for (size_t i = 0; i < len; i++) {
		if (!is_id_char(name[i]) && name[i] != '-')
			return vm_err_set(err, VM_ERR_USAGE,
			                  "name '%s': only a-z, 0-9 and '-' are allowed", name);
	}
	if (name[0] == '-' || name[len - 1] == '-')
		return vm_err_set(err, VM_ERR_USAGE, "name '%s' may not begin or end with '-'",
		                  name);
	return 0;
}

int vm_image_name_check(const char *name, struct vm_err *err)
{
	const char *slash = strchr(name, '/');
	char stem[VM_NAME_MAX + 2];

	if (!slash) {
		vm_err_set(err, VM_ERR_USAGE, "'%.100s' is no name of a snapshot", name);
		return vm_err_hint(err, "a snapshot is called INSTANCE/NAME");
	}
	snprintf(stem, sizeof(stem), "%.*s",
	         slash - name > VM_NAME_MAX ? VM_NAME_MAX + 1 : (int)(slash - name), name);
	return vm_name_check(stem, err) < 0 || vm_name_check(slash + 1, err) < 0 ? -1 : 0;
}

char *vm_strf(struct vm_err *err, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		errno = ENOMEM;
		vm_err_sys(err, "allocating text");
		return NULL;
	}
	return text;
}

char *vm_strdup(const char *s, struct vm_err *err)
{
	char *text = strdup(s);

	if (!text)
		vm_err_sys(err, "allocating text");
	return text;
}

void *vm_calloc(size_t n, size_t size, struct vm_err *err)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		vm_err_sys(err, "allocating %zu objects of %zu bytes", n, size);
	return p;
}

static int unit_shift(const char *unit)
{
	static const char letters[] = "kmgt";
	const char *at;

	if (*unit == '\0' || strcasecmp(unit, "b") == 0)
		return 0;
	at = strchr(letters, tolower((unsigned char)*unit));
	if (!at || (unit[1] && strcasecmp(unit + 1, "b") != 0 && strcasecmp(unit + 1, "ib") != 0))
		return -1;
	return 10 * (int)(at - letters + 1);
}

int vm_size_parse(const char *text, const char *what, uint64_t *ret_bytes, struct vm_err *err)
{
	char *end = NULL;
	uintmax_t n;
	int shift;

	errno = 0;
	n = isdigit((unsigned char)*text) ? strtoumax(text, &end, 10) : 0;
	shift = end ? unit_shift(end) : -1;
	if (shift < 0)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%s: '%s' is not a size (a number with K, M, G or T, e.g. 64M)",
		                  what, text);
	if (errno == ERANGE || n > ((uintmax_t)INT64_MAX >> shift))
		return vm_err_set(err, VM_ERR_USAGE, "%s: '%s' is too large", what, text);
	*ret_bytes = (uint64_t)n << shift;
	return 0;
}

const char *vm_decimal(uint64_t value, char buf[VM_DECIMAL_SIZE])
{
	char *at = buf + VM_DECIMAL_SIZE - 1;

	*at = '\0';
	do
		*--at = (char)('0' + value % 10);
	while ((value /= 10) != 0);
	return at;
}

char *vm_size_format(uint64_t bytes, char *buf, size_t size)
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	/* 1023.95 and more would be printed as 1024.0 of the smaller unit */
	while (value >= (unit < 0 ? 1024 : 1023.95) && unit < (int)sizeof(units) - 2) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, size, "%" PRIu64, bytes);
	else
		snprintf(buf, size, "%.1f%c", value, units[unit]);
	return buf;
}

int vm_int_parse(const char *text, const char *what, int64_t min, int64_t max, int64_t *ret,
                 struct vm_err *err)
{
	char *end = NULL;
	intmax_t n;

	errno = 0;
	n = strtoimax(text, &end, 10);
	if (end == text || *end || isspace((unsigned char)*text))
		return vm_err_set(err, VM_ERR_USAGE, "%s: '%s' is not a whole number", what, text);
	if (errno == ERANGE || n < min || n > max)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%s: %s is out of range (%" PRId64 " to %" PRId64 ")", what, text,
		                  min, max);
	*ret = n;
	return 0;
}

enum { SUGGEST_MAX = 40 };

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment distance without case; both words are at most SUGGEST_MAX long. */
static size_t distance(const char *a, size_t la, const char *b, size_t lb)
{
	size_t d[SUGGEST_MAX + 1][SUGGEST_MAX + 1];

	for (size_t i = 0; i <= la; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		for (size_t j = 1; j <= lb; j++) {
			size_t cost = same(a[i - 1], b[j - 1]) ? 0 : 1;

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost);
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
				d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, SIZE_MAX);
		}
	}
	return d[la][lb];
}

const char *vm_suggest(const char *word, const char *const *words)
{
	size_t len = strlen(word);
	size_t best = len / 3 > 1 ? len / 3 + 1 : len < 2 ? len : 2;
	const char *found = NULL;

	if (len > SUGGEST_MAX)
		return NULL;
	for (; *words; words++) {
		size_t other = strlen(*words);
		size_t d = other <= SUGGEST_MAX ? distance(word, len, *words, other) : best;

		if (d < best) {
			best = d;
			found = *words;
		}
	}
	return found;
}
