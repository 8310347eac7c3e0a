/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/terminal.h"
#include "util.h"

enum { KEY_ESCAPE = CLI_KEY_VERB, KEY_ALL };

enum {
	CHUNK = 16 * 1024,
	LOOK_MS = 50,  /* how often to look for output where inotify does not work */
	NET_MS = 1000, /* and where it does, in case that a notice gets lost */
};

struct console_options {
	int escape; /* a byte, or -1 for none */
	bool all;
};

static const struct cli_option console_options[] = {
        {"escape", KEY_ESCAPE, "CHAR",
         "the key that detaches: a character, ^X for Control-X, or 'none' (default ^])", 0, false},
        {"all", KEY_ALL, NULL, "print first what was on the console before", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int take_escape(struct console_options *options, const char *value, struct vm_err *err)
{
	if (strcmp(value, "none") == 0)
		options->escape = -1;
	else if (strlen(value) == 1)
		options->escape = (unsigned char)value[0];
	else if (strlen(value) == 2 && value[0] == '^')
		options->escape = value[1] & 0x1f;
	else
		return vm_err_set(err, VM_ERR_USAGE,
		                  "--escape is one character, ^X or 'none', not '%s'", value);
	return 0;
}

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct console_options *options = ctx;

	if (key == KEY_ESCAPE)
		return take_escape(options, value, err);
	options->all = true;
	return 0;
}

/* A connection between the terminal and an instance. */
struct session {
	struct cli *cli;
	const struct console_options *options;
	struct cli_terminal terminal;
	int log_fd, watch_fd, input_fd, vmm_fd;
	char pending[CHUNK]; /* read from stdin, not yet taken by the guest's serial port */
	size_t pending_len;
	bool input_ended, detached, lost;
	int signal;
};

static void close_session(struct session *session)
{
	cli_terminal_leave(&session->terminal);
	vm_cleanup_close(&session->log_fd);
	vm_cleanup_close(&session->watch_fd);
	vm_cleanup_close(&session->input_fd);
	vm_cleanup_close(&session->vmm_fd);
}

static int connect_session(struct session *session, const struct vm_instance *instance,
                           struct vm_err *err)
{
	struct vm_root *root = &session->cli->root;
	char path[64];

	session->vmm_fd = vm_console_vmm(root, instance, err);
	if (session->vmm_fd < 0)
		return -1;
	session->input_fd = vm_console_input(root, instance, err);
	if (session->input_fd < 0)
		return -1;
	session->log_fd = vm_log_open(root, instance->id, VM_LOG_CONSOLE, err);
	if (session->log_fd < 0)
		return -1;
	/* A guest that does not read its serial port must not block us: we still want the escape
	 * key. */
	if (fcntl(session->input_fd, F_SETFL, O_NONBLOCK) < 0)
		return vm_err_sys(err, "cannot use the console's input");
	if (!session->options->all && lseek(session->log_fd, 0, SEEK_END) < 0 && errno != ESPIPE)
		return vm_err_sys(err, "cannot read the console's output");
	/* Without inotify (a limit of it was reached) we look often instead. */
	session->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", session->log_fd);
	if (session->watch_fd >= 0 && inotify_add_watch(session->watch_fd, path, IN_MODIFY) < 0)
		vm_cleanup_close(&session->watch_fd);
	return 0;
}

/* Prints what the guest has written since. */
static int copy_output(struct session *session, struct vm_err *err)
{
	char data[CHUNK];
	ssize_t len;

	while ((len = read(session->log_fd, data, sizeof(data))) > 0)
		if (!cli_write(session->cli, data, (size_t)len))
			session->lost = true;
	if (len < 0 && errno != EINTR)
		return vm_err_sys(err, "cannot read the console's output");
	if (!cli_flush(session->cli))
		session->lost = true;
	return 0;
}

/*
 * Takes what was typed. While the guest takes nothing, there may be no room: then what is typed
 * gets lost, but for the escape key.
 */
static int take_input(struct session *session, struct vm_err *err)
{
	char data[CHUNK], *escape = NULL;
	size_t room = sizeof(session->pending) - session->pending_len;
	ssize_t len;

	if (!session->terminal.raw && room == 0)
		return 0;
	len = read(STDIN_FILENO, data, session->terminal.raw ? sizeof(data) : room);
	if (len < 0 && errno != EINTR && errno != EAGAIN && errno != EIO)
		return vm_err_sys(err, "cannot read standard input");
	if (len == 0 || (len < 0 && errno == EIO))
		session->input_ended = true;
	if (len <= 0)
		return 0;
	if (session->terminal.raw && session->options->escape >= 0)
		escape = memchr(data, session->options->escape, (size_t)len);
	if (escape != NULL) {
		session->detached = true;
		len = escape - data;
	}
	if ((size_t)len > room)
		len = (ssize_t)room;
	memcpy(session->pending + session->pending_len, data, (size_t)len);
	session->pending_len += (size_t)len;
	return 0;
}

/* Hands on to the guest what it takes. A closed serial port ends the input, not the session. */
static void give_input(struct session *session)
{
	ssize_t len;

	if (session->pending_len == 0)
		return;
	len = write(session->input_fd, session->pending, session->pending_len);
	if (len < 0 && errno == EPIPE) {
		session->input_ended = true;
		session->pending_len = 0;
	}
	if (len <= 0)
		return;
	session->pending_len -= (size_t)len;
	memmove(session->pending, session->pending + len, session->pending_len);
}

enum { POLL_VMM, POLL_SIGNAL, POLL_WATCH, POLL_STDIN, POLL_INPUT, POLL_STDOUT, POLL_COUNT };

static int wait_for_something(const struct session *session, struct pollfd fds[POLL_COUNT],
                              struct vm_err *err)
{
	bool wants_input =
	        !session->input_ended && (session->terminal.raw || session->pending_len < CHUNK);

	fds[POLL_VMM] = (struct pollfd){.fd = session->vmm_fd, .events = POLLIN};
	fds[POLL_SIGNAL] = (struct pollfd){.fd = session->terminal.signal_fd, .events = POLLIN};
	fds[POLL_WATCH] = (struct pollfd){.fd = session->watch_fd, .events = POLLIN};
	fds[POLL_STDIN] = (struct pollfd){.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN};
	fds[POLL_INPUT] = (struct pollfd){.fd = session->pending_len > 0 ? session->input_fd : -1,
	                                  .events = POLLOUT};
	fds[POLL_STDOUT] =
	        (struct pollfd){.fd = STDOUT_FILENO}; /* tells when a pipe has no reader */
	if (poll(fds, POLL_COUNT, session->watch_fd >= 0 ? NET_MS : LOOK_MS) < 0 && errno != EINTR)
		return vm_err_sys(err, "cannot wait for the console");
	return 0;
}

static int serve_once(struct session *session, bool *ret_ended, struct vm_err *err)
{
	struct pollfd fds[POLL_COUNT] = {0};
	char notices[4096];

	if (wait_for_something(session, fds, err) < 0)
		return -1;
	if (fds[POLL_SIGNAL].revents != 0)
		session->signal = cli_terminal_signal(&session->terminal);
	/* The notices are emptied before the log is read: what comes after is noticed again. */
	if (fds[POLL_WATCH].revents != 0)
		while (read(session->watch_fd, notices, sizeof(notices)) > 0)
			;
	if (copy_output(session, err) < 0)
		return -1;
	if ((fds[POLL_STDOUT].revents & POLLERR) != 0)
		session->lost = true;
	if (fds[POLL_STDIN].revents != 0 && take_input(session, err) < 0)
		return -1;
	give_input(session);
	/* What it wrote before it ended may have come after the read above. */
	*ret_ended = fds[POLL_VMM].revents != 0;
	return *ret_ended ? copy_output(session, err) : 0;
}

static int serve(struct session *session, bool *ret_ended, struct vm_err *err)
{
	bool ended = false;

	while (!ended && !session->detached && !session->lost && session->signal == 0)
		if (serve_once(session, &ended, err) < 0)
			return -1;
	*ret_ended = ended;
	return 0;
}

static void say_connected(const struct session *session, const char *name)
{
	int escape = session->options->escape;
	char key[8];

	if (!session->terminal.raw || escape < 0) {
		(void)fprintf(stderr, "Connected to %s\n", name);
		return;
	}
	if (escape < 0x20)
		(void)snprintf(key, sizeof(key), "^%c", escape + 0x40);
	else
		(void)snprintf(key, sizeof(key), "%c", escape);
	(void)fprintf(stderr, "Connected to %s (escape character is %s)\n", name, key);
}

static int run(struct cli *cli, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance instance = {0};
	VM_AUTO(close_session)
	struct session session = {
	        .cli = cli,
	        .options = cli->options,
	        .terminal = {.signal_fd = -1},
	        .log_fd = -1,
	        .watch_fd = -1,
	        .input_fd = -1,
	        .vmm_fd = -1,
	};
	bool ended = false;
	int rc;

	if (cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    vm_store_find(cli->root.store, cli->operands[0], &instance, err) < 0 ||
	    vm_observe(&cli->root, &instance, err) < 0 ||
	    connect_session(&session, &instance, err) < 0 ||
	    cli_terminal_enter(&session.terminal, err) < 0)
		return -1;
	say_connected(&session, instance.name);
	rc = serve(&session, &ended, err);
	cli_terminal_leave(&session.terminal);
	if (session.signal != 0)
		(void)raise(session.signal);
	else if (ended)
		(void)fprintf(stderr, "\nThe hypervisor of %s has ended\n", instance.name);
	else if (session.detached)
		(void)fprintf(stderr, "\nDetached from %s\n", instance.name);
	return rc;
}

static const struct cli_verb verb = {
        .name = "console",
        .synopsis = "[--all] [--escape CHAR]",
        .operands = "INSTANCE",
        .min_operands = 1,
        .max_operands = 1,
        .states = 1U << VM_STATE_RUNNING | 1U << VM_STATE_PAUSED,
        .options = console_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct console_options options = {.escape = 0x1d};

	return cli_main(&verb, &options, argc, argv);
}
