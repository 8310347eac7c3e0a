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
};

/* Who holds the lock on a file, or waits for it. */
struct search {
	struct stat file;
	bool waiters;
	bool line; /* some wait in the line at this gate, where /proc/locks tells no pid */
	struct vm_lock_process *found;
	unsigned room, count; /* more than `room` are not counted */
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

/* "vmctl-stop web": base name of argv[0] and the arguments, printable ASCII, at most
 * VM_LOCK_VERB_MAX. */
static void describe_verb(pid_t pid, char verb[VM_LOCK_VERB_MAX + 1])
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
	for (size_t i = from; i < len && out < VM_LOCK_VERB_MAX; i++) {
		char c = raw[i];

		if (c == '\0')
			c = ' ';
		else if (c < ' ' || c > '~')
			c = '?';
		verb[out++] = c;
	}
	verb[out] = '\0';
	if (len - from > VM_LOCK_VERB_MAX)
		memcpy(verb + VM_LOCK_VERB_MAX - 3, "...", 4);
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

static void describe_age(double age, char *buf, size_t size)
{
	if (age < 0)
		snprintf(buf, size, "for an unknown time");
	else if (age < 100)
		snprintf(buf, size, "for %.1f s", age);
	else if (age < 100.0 * 60)
		snprintf(buf, size, "for %.0f min", age / 60);
	else
		snprintf(buf, size, "for %.1f h", age / 3600);
}

static void add_found(struct search *search, pid_t pid, enum vm_lock_mode mode)
{
	for (unsigned i = 0; i < search->count; i++) {
		if (search->found[i].pid == pid)
			return; /* two threads of one process share the lock */
	}
	if (search->count < search->room)
		search->found[search->count++] =
		        (struct vm_lock_process){.pid = pid, .mode = mode, .age_s = -1};
}

/* --- finding them -------------------------------------------------------------------------------
 */

static bool is_number(const char *text)
{
	return isdigit((unsigned char)*text);
}

static enum vm_lock_mode mode_of(const char *word)
{
	return strcmp(word, "WRITE") == 0 ? VM_LOCK_EXCLUSIVE : VM_LOCK_SHARED;
}

/*
 * Whether this descriptor of the process is the file, and its description has the lock, and how.
 * The description of one who waits has none.
 */
static bool descriptor_fits(const struct search *search, pid_t pid, const char *number,
                            enum vm_lock_mode *mode)
{
	char path[64];
	char info[4096];
	char word[16];
	const char *lock;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", (int)pid, number);
	if (stat(path, &st) != 0 || st.st_ino != search->file.st_ino ||
	    st.st_dev != search->file.st_dev)
		return false;
	if (search->waiters && !search->line)
		return true;
	snprintf(path, sizeof(path), "fdinfo/%.16s", number);
	read_proc(pid, path, info, sizeof(info));
	lock = strstr(info, "FLOCK");
	if (search->line) { /* a ticket, but not the gate, which all want exclusively */
		*mode = VM_LOCK_EXCLUSIVE;
		return !lock && strstr(info, "OFDLCK");
	}
	if (lock && sscanf(lock, "FLOCK %*s %15s", word) == 1)
		*mode = mode_of(word);
	return lock != NULL;
}

/* 1 the process holds the lock (or has the file, of which it waits for the lock), 0 not, -1 we may
 * not look. */
static int process_fits(const struct search *search, pid_t pid, enum vm_lock_mode *mode)
{
	char path[64];
	VM_AUTO(close_dir) DIR *dir = NULL;
	const struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == EACCES ? -1 : 0;
	while ((entry = readdir(dir))) {
		if (is_number(entry->d_name) && descriptor_fits(search, pid, entry->d_name, mode))
			return 1;
	}
	return 0;
}

/*
 * One line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 4711 fe:00:9979265 0 EOF" (proc(5)). Those
 * who wait have "->" in front of FLOCK.
 */
static void consider_line(struct search *search, const char *line)
{
	const char *fields = strstr(line, search->waiters ? "-> FLOCK " : ": FLOCK ");
	char word[16];
	unsigned major_nr;
	unsigned minor_nr;
	uintmax_t inode;
	enum vm_lock_mode mode;
	int pid;
	int verdict;

	if (!fields ||
	    sscanf(fields, "%*s FLOCK %*s %15s %d %x:%x:%ju", word, &pid, &major_nr, &minor_nr,
	           &inode) != 5 ||
	    pid <= 0 || inode != search->file.st_ino)
		return;
	mode = mode_of(word);
	verdict = process_fits(search, pid, &mode);
	/* A process of another user, e.g. root: believed when the device agrees as well. */
	if (verdict < 0)
		verdict = makedev(major_nr, minor_nr) == search->file.st_dev;
	if (verdict)
		add_found(search, pid, mode);
}

static void ask_kernel(struct search *search)
{
	VM_AUTO(close_file) FILE *locks = fopen("/proc/locks", "re");
	char line[256];

	while (locks && fgets(line, sizeof(line), locks))
		consider_line(search, line);
}

/* Those in line wait for bytes of the file ("-> OFDLCK"), see lock_impl.h. */
static bool is_awaited_in_line(const struct search *search)
{
	VM_AUTO(close_file) FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	uintmax_t inode;

	while (locks && fgets(line, sizeof(line), locks)) {
		const char *fields = strstr(line, "-> OFDLCK ");

		if (fields && sscanf(fields, "-> OFDLCK %*s %*s %*d %*x:%*x:%ju", &inode) == 1 &&
		    inode == search->file.st_ino)
			return true;
	}
	return false;
}

static void ask_everybody(struct search *search)
{
	VM_AUTO(close_dir) DIR *proc = opendir("/proc");
	const struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		pid_t pid = is_number(entry->d_name) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;
		enum vm_lock_mode mode = VM_LOCK_SHARED;

		if (pid > 0 && process_fits(search, pid, &mode) > 0)
			add_found(search, pid, mode);
	}
}

static void describe(const struct search *search)
{
	for (unsigned i = 0; i < search->count; i++) {
		describe_verb(search->found[i].pid, search->found[i].verb);
		search->found[i].age_s = age_seconds(search->found[i].pid);
	}
}

unsigned vm_lock_holders(int fd, struct vm_lock_process *ret, unsigned room)
{
	struct search search = {.found = ret, .room = room};

	if (fstat(fd, &search.file) != 0)
		return 0;
	ask_kernel(&search);
	if (search.count == 0)
		ask_everybody(&search);
	describe(&search);
	return search.count;
}

unsigned vm_lock_waiters(int fd, struct vm_lock_process *ret, unsigned room)
{
	struct search search = {.waiters = true, .found = ret, .room = room};

	if (fstat(fd, &search.file) != 0)
		return 0;
	ask_kernel(&search);
	search.line = is_awaited_in_line(&search);
	if (search.line)
		ask_everybody(&search);
	describe(&search);
	return search.count;
}

unsigned vm_lock_list_holders(int fd, char *buf, size_t size)
{
	struct vm_lock_process holders[KNOWN_MAX];
	unsigned count = vm_lock_holders(fd, holders, KNOWN_MAX);
	size_t used = 0;

	if (size > 0)
		buf[0] = '\0';
	for (unsigned i = 0; i < count && i < LISTED_MAX && used < size; i++) {
		char age[48];
		int n;

		describe_age(holders[i].age_s, age, sizeof(age));
		n = snprintf(buf + used, size - used, "%spid %d (%s, %s)", i > 0 ? "; " : "",
		             (int)holders[i].pid, holders[i].verb, age);
		used += n > 0 ? (size_t)n : 0;
	}
	if (count > LISTED_MAX && used < size)
		snprintf(buf + used, size - used, "; and %u more", count - LISTED_MAX);
	return count;
}

void vm_lock_describe_holders(int fd, char *buf, size_t size)
{
	if (vm_lock_list_holders(fd, buf, size) == 0)
		snprintf(buf, size, "an unknown process");
}
