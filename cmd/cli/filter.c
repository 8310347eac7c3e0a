/* SPDX-License-Identifier: Apache-2.0 */
#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"
#include "util.h"

enum { IN, OUT, SAID, PIPES, PIECE = 65536 };

struct text {
	char *bytes;
	size_t len, room;
};

/* The process, and our ends of its pipes. */
struct filter {
	const char *name;
	pid_t pid; /* 0: not there, or waited for */
	int fds[PIPES];
	struct text texts[PIPES]; /* of OUT and SAID */
};

static void filter_close(struct filter *filter)
{
	if (filter->pid > 0) {
		/* Our own child, not waited for yet: nobody else has this pid. */
		kill(filter->pid, SIGKILL);
		while (waitpid(filter->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	for (int i = 0; i < PIPES; i++) {
		vm_cleanup_close(&filter->fds[i]);
		free(filter->texts[i].bytes);
	}
}

static int spawn(struct filter *filter, const char *const *argv, const char *hint,
                 const int theirs[PIPES], struct vm_err *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t set;
	int rc;

	/* We ignore SIGPIPE, and what is ignored stays so. */
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &set);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&actions);
	for (int i = 0; i < PIPES; i++)
		posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
	/* The prototype is older than const. */
	rc = posix_spawnp(&filter->pid, argv[0], &actions, &attributes, (char *const *)argv,
	                  environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	if (rc == 0)
		return 0;
	filter->pid = 0;
	errno = rc;
	vm_err_sys(err, "cannot run %s", argv[0]);
	return rc == ENOENT ? vm_err_hint(err, "%s", hint) : -1;
}

static int filter_open(struct filter *filter, const char *const *argv, const char *hint,
                       struct vm_err *err)
{
	int theirs[PIPES] = {-1, -1, -1}, rc = 0;

	for (int i = 0; i < PIPES && rc == 0; i++) {
		int ends[2];

		rc = pipe2(ends, O_CLOEXEC);
		if (rc < 0) {
			vm_err_sys(err, "pipe");
			break;
		}
		theirs[i] = ends[i == IN ? 0 : 1];
		filter->fds[i] = ends[i == IN ? 1 : 0];
		(void)fcntl(filter->fds[i], F_SETFL, O_NONBLOCK);
	}
	if (rc == 0)
		rc = spawn(filter, argv, hint, theirs, err);
	for (int i = 0; i < PIPES; i++)
		vm_cleanup_close(&theirs[i]);
	return rc;
}

/* Closes the pipe at its end. One that has stopped reading is no mistake: its status tells. */
static void feed(struct filter *filter, const char **input, size_t *len)
{
	ssize_t n = *len > 0 ? write(filter->fds[IN], *input, *len) : 0;

	if (n > 0) {
		*input += n;
		*len -= (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		vm_cleanup_close(&filter->fds[IN]);
		filter->fds[IN] = -1;
	}
}

static int take(struct filter *filter, int which, struct vm_err *err)
{
	struct text *text = &filter->texts[which];
	ssize_t n;

	if (text->room - text->len < PIECE) {
		size_t room = 2 * (text->room + PIECE);
		char *more = realloc(text->bytes, room);

		if (more == NULL)
			return vm_err_sys(err, "reading what %s says", filter->name);
		text->bytes = more;
		text->room = room;
	}
	n = read(filter->fds[which], text->bytes + text->len, PIECE - 1);
	if (n > 0) {
		text->len += (size_t)n;
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		vm_cleanup_close(&filter->fds[which]);
		filter->fds[which] = -1;
	}
	text->bytes[text->len] = '\0';
	return 0;
}

/* Until it has closed its ends of the pipes. */
static int talk(struct filter *filter, const char *input, size_t len, struct vm_err *err)
{
	while (filter->fds[OUT] >= 0 || filter->fds[SAID] >= 0) {
		struct pollfd fds[PIPES];

		for (int i = 0; i < PIPES; i++)
			fds[i] = (struct pollfd){.fd = filter->fds[i],
			                         .events = i == IN ? POLLOUT : POLLIN};
		if (vm_poll_until(fds, PIPES, -1, err) < 0)
			return -1;
		if (fds[IN].revents != 0)
			feed(filter, &input, &len);
		for (int i = OUT; i < PIPES; i++)
			if (fds[i].revents != 0 && take(filter, i, err) < 0)
				return -1;
	}
	return 0;
}

/* What it said, as one line. */
static int complain(const struct filter *filter, int status, struct vm_err *err)
{
	char *said = filter->texts[SAID].bytes;
	size_t len = said != NULL ? filter->texts[SAID].len : 0;

	while (len > 0 && said[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++)
		if (said[i] == '\n' || said[i] == '\0')
			said[i] = ' ';
	if (WIFSIGNALED(status))
		return vm_err_set(err, VM_ERR_SYSTEM, "%s was ended by signal %d%s%.*s",
		                  filter->name, WTERMSIG(status), len > 0 ? ": " : "", (int)len,
		                  len > 0 ? said : "");
	return vm_err_set(err, VM_ERR_SYSTEM, "%s failed with status %d%s%.*s", filter->name,
	                  WEXITSTATUS(status), len > 0 ? ": " : "", (int)len, len > 0 ? said : "");
}

int cli_filter(const char *const *argv, const char *hint, const char *input, size_t len,
               char **ret_output, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO(filter_close) struct filter filter = {.name = argv[0], .fds = {-1, -1, -1}};
	int status = 0;

	if (filter_open(&filter, argv, hint, err) < 0 || talk(&filter, input, len, err) < 0)
		return -1;
	while (waitpid(filter.pid, &status, 0) < 0 && errno == EINTR)
		;
	filter.pid = 0;
	if (status != 0)
		return complain(&filter, status, err);
	*ret_len = filter.texts[OUT].len;
	*ret_output = vm_take_ptr(&filter.texts[OUT].bytes);
	return 0;
}
