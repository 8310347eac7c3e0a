/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "interrupt.h"
#include "util.h"

enum { KEY_VMM = CLI_KEY_VERB };

enum {
	CHUNK = 64 * 1024,
	LOOK_MS = 1000, /* how often to see whether somebody still reads */
};

struct logs_options {
	bool follow, vmm;
	int64_t tail; /* lines; -1: all */
};

static const struct cli_option logs_options[] = {
        {"follow", 'f', NULL, "go on until the hypervisor ends", 0, false},
        {"vmm", KEY_VMM, NULL, "print the hypervisor's own log instead", 0, false},
        {"tail", 'n', "LINES", "begin with the last so many lines", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct logs_options *options = ctx;

	switch (key) {
	case 'f':
		options->follow = true;
		return 0;
	case KEY_VMM:
		options->vmm = true;
		return 0;
	default:
		return vm_int_parse(value, "--tail", 0, INT64_MAX, &options->tail, err);
	}
}

/* Where the last `lines` lines begin in data[0..len), whose end is the end of the file; -1: before.
 */
static ssize_t find_lines(const char *data, ssize_t len, int64_t *lines, bool at_end)
{
	for (ssize_t i = len - 1; i >= 0; i--) {
		if (data[i] != '\n' || (at_end && i == len - 1))
			continue;
		if (--*lines == 0)
			return i + 1;
	}
	return -1;
}

/* Moves to the begin of the last lines, reading backwards from the end. */
static int seek_tail(int fd, int64_t lines, struct vm_err *err)
{
	char data[CHUNK];
	struct stat st;
	off_t end, at;

	if (fstat(fd, &st) < 0)
		return vm_err_sys(err, "cannot read the log");
	at = lines > 0 ? 0 : st.st_size;
	for (end = st.st_size; lines > 0 && end > 0;) {
		off_t from = end > CHUNK ? end - CHUNK : 0;
		ssize_t len = pread(fd, data, (size_t)(end - from), from), found;

		if (len <= 0)
			break;
		found = find_lines(data, len, &lines, end == st.st_size);
		if (found >= 0) {
			at = from + found;
			break;
		}
		end = from;
	}
	if (lseek(fd, at, SEEK_SET) < 0 && errno != ESPIPE)
		return vm_err_sys(err, "cannot read the log");
	return 0;
}

/* Copies what there is now: 1, 0 when the output cannot be written, or -1. */
static int copy_out(struct cli *cli, int fd, struct vm_err *err)
{
	char data[CHUNK];
	ssize_t len;

	while ((len = read(fd, data, sizeof(data))) != 0) {
		if (len < 0 && errno == EINTR && vm_interrupt_signal() == 0)
			continue;
		if (len < 0 && errno == EINTR)
			break;
		if (len < 0)
			return vm_err_sys(err, "cannot read the log");
		if (!cli_write(cli, data, (size_t)len))
			return 0;
	}
	return cli_flush(cli);
}

/* A pipe whose reader has gone takes no more, which is worth to know before the guest speaks again.
 */
static bool reader_gone(void)
{
	struct pollfd stdout_end = {.fd = STDOUT_FILENO};

	return poll(&stdout_end, 1, 0) > 0 && (stdout_end.revents & POLLERR) != 0;
}

static int follow(struct cli *cli, const struct vm_instance *instance, enum vm_log which, int fd,
                  struct vm_err *err)
{
	for (int more = 1;;) {
		int rc = copy_out(cli, fd, err);

		/* The round after the hypervisor's end printed the rest. */
		if (rc <= 0 || more == 0 || vm_interrupt_signal() != 0 || reader_gone())
			return rc;
		more = vm_log_wait(&cli->root, instance->id, which, lseek(fd, 0, SEEK_CUR), LOOK_MS,
		                   err);
		if (more < 0 && vm_interrupt_signal() == 0)
			return -1;
		if (more < 0) {
			vm_err_clear(err); /* ^C is how one ends this */
			return 0;
		}
	}
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct logs_options *options = cli->options;
	enum vm_log which = options->vmm ? VM_LOG_VMM : VM_LOG_CONSOLE;
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	VM_AUTO_CLOSE int fd = -1;

	if (cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    vm_store_find(cli->root.store, cli->operands[0], &instance, err) < 0)
		return -1;
	fd = vm_log_open(&cli->root, instance.id, which, err);
	if (fd < 0 || (options->tail >= 0 && seek_tail(fd, options->tail, err) < 0))
		return -1;
	if (options->follow)
		return follow(cli, &instance, which, fd, err) < 0 ? -1 : 0;
	return copy_out(cli, fd, err) < 0 ? -1 : 0;
}

static const struct cli_verb verb = {
        .name = "logs",
        .synopsis = "[-f] [--vmm] [-n LINES]",
        .operands = "INSTANCE",
        .min_operands = 1,
        .max_operands = 1,
        .options = logs_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct logs_options options = {.tail = -1};

	return cli_main(&verb, &options, argc, argv);
}
