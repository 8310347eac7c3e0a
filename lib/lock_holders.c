/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds an flock, for messages.
 *
 * /proc/locks names a pid for each lock, but matched by inode alone it could be a file of another
 * filesystem (and its device number is not st_dev on btrfs), and the pid is that of the process
 * that called flock(), which may be gone while a child that inherited the descriptor holds the
 * lock. So each candidate is verified: one of its descriptors must be this file (device and inode)
 * and carry the lock (a FLOCK line in /proc/PID/fdinfo/N). When no candidate passes, every process
 * is asked.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"
#include "util.h"

enum {
	LISTED_MAX = 8, /* more holders than this are only counted */
	KNOWN_MAX = 64,
	VERB_MAX = 60,
};

struct holders {
	struct stat file;
	pid_t pids[KNOWN_MAX];
	unsigned count;
	char *buf;
	size_t size;
	size_t used;
};

static void close_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static void close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* Reads the start of a file of /proc/PID, NUL-terminated. Returns its length, 0 when there is none.
 */
static size_t read_proc(pid_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	VM_AUTO_CLOSE int fd = -1;
	ssize_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, buf, size - 1);
	if (n < 0)
		n = 0;
	buf[n] = '\0';
	return (size_t)n;
}

/* --- verb and age -------------------------------------------------------------------------------
 */

/* "vmctl-stop web": base name of argv[0] and the arguments, printable ASCII, at most VERB_MAX. */
static void describe_verb(pid_t pid, char verb[VERB_MAX + 1])
{
	char raw[512];
	size_t len = read_proc(pid, "cmdline", raw, sizeof(raw));
	const char *slash;
	size_t from = 0;
	size_t out = 0;

	if (len == 0) /* a zombie or a kernel thread */
		len = read_proc(pid, "comm", raw, sizeof(raw));
	else if ((slash = strrchr(raw, '/')))
		from = (size_t)(slash - raw) + 1;
	while (len > from && (raw[len - 1] == '\0' || raw[len - 1] == '\n'))
		len--;
	for (size_t i = from; i < len && out < VERB_MAX; i++) {
		char c = raw[i];

		if (c == '\0')
			c = ' ';
		else if (c < ' ' || c > '~')
			c = '?';
		verb[out++] = c;
	}
	verb[out] = '\0';
	if (len - from > VERB_MAX)
		memcpy(verb + VERB_MAX - 3, "...", 4);
	if (out == 0)
		memcpy(verb, "?", 2);
}

/*
 * Seconds since the process started; -1 when unknown. Field 22 of /proc/PID/stat (proc(5)), in
 * clock ticks since boot; the fields are counted behind the last ')', for a comm may contain blanks
 * and ')'.
 */
static double age_seconds(pid_t pid)
{
	char stat[1024];
	const char *at;
	struct timespec now;
	uintmax_t ticks;

	read_proc(pid, "stat", stat, sizeof(stat));
	at = strrchr(stat, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || clock_gettime(CLOCK_BOOTTIME, &now) != 0)
		return -1;
	ticks = strtoumax(at, NULL, 10);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9 -
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static void describe_age(pid_t pid, char *buf, size_t size)
{
	double age = age_seconds(pid);

	if (age < 0)
		snprintf(buf, size, "for an unknown time");
	else if (age < 100)
		snprintf(buf, size, "for %.1f s", age);
	else if (age < 100.0 * 60)
		snprintf(buf, size, "for %.0f min", age / 60);
	else
		snprintf(buf, size, "for %.1f h", age / 3600);
}

static void add_holder(struct holders *holders, pid_t pid)
{
	char verb[VERB_MAX + 1];
	char age[48];
	int n;

	for (unsigned i = 0; i < holders->count && i < KNOWN_MAX; i++) {
		if (holders->pids[i] == pid)
			return; /* two threads of one process share the lock */
	}
	if (holders->count < KNOWN_MAX)
		holders->pids[holders->count] = pid;
	holders->count++;
	if (holders->count > LISTED_MAX || holders->used >= holders->size)
		return;
	describe_verb(pid, verb);
	describe_age(pid, age, sizeof(age));
	n = snprintf(holders->buf + holders->used, holders->size - holders->used,
	             "%spid %d (%s, %s)", holders->count > 1 ? "; " : "", (int)pid, verb, age);
	holders->used += n > 0 ? (size_t)n : 0;
}

/* --- finding them -------------------------------------------------------------------------------
 */

static bool is_number(const char *text)
{
	return isdigit((unsigned char)*text);
}

/* Whether this descriptor of the process is the file, and its description has the lock. */
static bool descriptor_holds(const struct holders *holders, pid_t pid, const char *number)
{
	char path[64];
	char info[4096];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, number);
	if (stat(path, &st) != 0 || st.st_ino != holders->file.st_ino ||
	    st.st_dev != holders->file.st_dev)
		return false;
	snprintf(path, sizeof(path), "fdinfo/%.16s", number);
	read_proc(pid, path, info, sizeof(info));
	return strstr(info, "FLOCK") != NULL;
}

/* 1 the process holds the lock, 0 not, -1 we may not look. */
static int process_holds(const struct holders *holders, pid_t pid)
{
	char path[64];
	VM_AUTO(close_dir) DIR *dir = NULL;
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == EACCES ? -1 : 0;
	while ((entry = readdir(dir))) {
		if (is_number(entry->d_name) && descriptor_holds(holders, pid, entry->d_name))
			return 1;
	}
	return 0;
}

/* One line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 fe:00:9979265 0 EOF" (proc(5)). */
static void consider_line(struct holders *holders, const char *line)
{
	unsigned major_nr;
	unsigned minor_nr;
	uintmax_t inode;
	int pid;
	int verdict;

	/* Those who wait have "->" in front of FLOCK and do not match. */
	if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%ju", &pid, &major_nr, &minor_nr, &inode) !=
	            4 ||
	    pid <= 0 || inode != holders->file.st_ino)
		return;
	verdict = process_holds(holders, pid);
	/* A process of another user, e.g. root: believed when the device agrees as well. */
	if (verdict < 0)
		verdict = makedev(major_nr, minor_nr) == holders->file.st_dev;
	if (verdict)
		add_holder(holders, pid);
}

static void ask_kernel(struct holders *holders)
{
	VM_AUTO(close_file) FILE *locks = fopen("/proc/locks", "re");
	char line[256];

	while (locks && fgets(line, sizeof(line), locks))
		consider_line(holders, line);
}

static void ask_everybody(struct holders *holders)
{
	VM_AUTO(close_dir) DIR *proc = opendir("/proc");
	const struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		pid_t pid = is_number(entry->d_name) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;

		if (pid > 0 && process_holds(holders, pid) > 0)
			add_holder(holders, pid);
	}
}

unsigned vm_lock_list_holders(int fd, char *buf, size_t size)
{
	struct holders holders = {.buf = buf, .size = size};

	if (size > 0)
		buf[0] = '\0';
	if (fstat(fd, &holders.file) != 0)
		return 0;
	ask_kernel(&holders);
	if (holders.count == 0)
		ask_everybody(&holders);
	if (holders.count > LISTED_MAX && holders.used < size)
		snprintf(buf + holders.used, size - holders.used, "; and %u more",
		         holders.count - LISTED_MAX);
	return holders.count;
}

void vm_lock_describe_holders(int fd, char *buf, size_t size)
{
	if (vm_lock_list_holders(fd, buf, size) == 0)
		snprintf(buf, size, "an unknown process");
}
