/* SPDX-License-Identifier: Apache-2.0 */
/* A real server on a unix socket that does what a test wants, and one call against it. */
#ifndef VM_TEST_HTTP_SERVER_H
#define VM_TEST_HTTP_SERVER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http.h"
#include "interrupt.h"
#include "util.h"

enum {
	PLENTY_MS = 120 * 1000, /* no test that passes waits for it */
	SOON_MS = 50,           /* the deadline of calls that must run into it */
};

/* What the server does with its one connection. */
struct script {
	const char *answer; /* NULL: none */
	size_t piece;       /* bytes per write; 0: all at once */
	bool ignore;        /* answers without reading the request */
	bool hold;          /* keeps the connection until the client closes it */
	pid_t signal_pid;   /* gets SIGTERM once the request is there */
};

/* Answers and keeps the connection, as Firecracker does. */
static inline struct script holding(const char *answer)
{
	return (struct script){.answer = answer, .hold = true};
}

static inline struct script in_pieces(size_t piece, const char *answer)
{
	return (struct script){.answer = answer, .piece = piece, .hold = true};
}

static inline struct script closing(const char *answer)
{
	return (struct script){.answer = answer};
}

struct server {
	struct script script;
	int listen_fd;
	pthread_t thread;
	char request[8192]; /* its beginning */
	size_t request_len; /* all of it */
};

struct fixture {
	char dir[64];
	int dir_fd;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/vm-http-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	*state = f;
	return 0;
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->dir_fd);
	nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* Binds below a descriptor, as the client connects: the directory's path may be of any length. */
static inline int listen_at(int dir_fd, const char *name, int backlog)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", dir_fd, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

/* Whether the request is whole: its head, and as much body as its content-length says. */
static inline bool request_complete(const struct server *s)
{
	const char *end = strstr(s->request, "\r\n\r\n");
	const char *length = strstr(s->request, "Content-Length: ");

	if (!end)
		return false;
	return !length ||
	       s->request_len >= (size_t)(end + 4 - s->request) + strtoul(length + 16, NULL, 10);
}

static inline void *serve(void *arg)
{
	struct server *s = arg;
	const struct script *script = &s->script;
	size_t len = script->answer ? strlen(script->answer) : 0;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	char sink[4096];
	ssize_t n = 1;

	while (fd >= 0 && !script->ignore && n > 0 && !request_complete(s)) {
		size_t room = sizeof(s->request) - 1;

		room = s->request_len < room ? room - s->request_len : 0;
		n = room > 0 ? recv(fd, s->request + s->request_len, room, 0)
		             : recv(fd, sink, sizeof(sink), 0);
		s->request_len += n > 0 ? (size_t)n : 0;
	}
	if (script->signal_pid > 0)
		kill(script->signal_pid, SIGTERM);
	for (size_t at = 0; fd >= 0 && at < len;) {
		size_t piece = script->piece && script->piece < len - at ? script->piece : len - at;

		n = send(fd, script->answer + at, piece, MSG_NOSIGNAL);
		if (n < 0)
			break; /* the client has seen enough */
		at += (size_t)n;
	}
	while (script->hold && recv(fd, sink, sizeof(sink), 0) > 0)
		;
	close(fd);
	return NULL;
}

static inline void server_start(struct server *s, int dir_fd, struct script script)
{
	*s = (struct server){.script = script};
	s->listen_fd = listen_at(dir_fd, "vmm.sock", 8);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static inline void server_join(struct server *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->listen_fd);
}

static inline struct vm_http_request request_in(int dir_fd, int64_t ms)
{
	return (struct vm_http_request){
	        .dir_fd = dir_fd,
	        .socket = "vmm.sock",
	        .method = "GET",
	        .path = "/vm",
	        .deadline_ms = vm_monotonic_ms() + ms,
	};
}

/* More than the buffers of a unix socket hold; free() it. */
static inline char *large_body(void)
{
	size_t size = 8UL * 1024 * 1024;
	char *body = malloc(size + 1);

	assert_non_null(body);
	memset(body, 'x', size);
	body[size] = '\0';
	return body;
}

/* One call against a scripted server. */
static inline int call_scripted(struct fixture *f, struct script script, int64_t ms,
                                struct vm_http_response *ret, struct vm_err *err)
{
	struct vm_http_request request = request_in(f->dir_fd, ms);
	struct server s;
	int r;

	server_start(&s, f->dir_fd, script);
	r = vm_http_call(&request, ret, err);
	/* A call that never came to connect leaves accept() waiting. */
	shutdown(s.listen_fd, SHUT_RDWR);
	server_join(&s);
	return r;
}

static inline void expect_answer(void **state, struct script script, int status, const char *body)
{
	struct vm_http_response response;
	struct vm_err err = {0};

	if (call_scripted(*state, script, PLENTY_MS, &response, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(response.status, status);
	assert_string_equal(response.body, body);
	assert_int_equal(response.body_len, strlen(body));
	vm_http_response_free(&response);
	assert_null(response.body);
}

static inline void expect_failure(void **state, struct script script, int64_t ms, enum vm_code code,
                                  const char *text)
{
	char mark[] = "untouched";
	struct vm_http_response response = {77, mark, 7};
	struct vm_err err = {0};

	assert_int_equal(call_scripted(*state, script, ms, &response, &err), -1);
	if (err.code != code || !strstr(err.message, text))
		fail_msg("'%s' (%s) instead of '%s'", err.message, vm_code_name(err.code), text);
	assert_ptr_equal(strstr(err.message, "GET /vm: "), err.message);
	assert_ptr_equal(response.body, mark);
	assert_int_equal(response.status, 77);
	assert_int_equal(response.body_len, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
