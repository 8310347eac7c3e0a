/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a real server: every way to fail, and that none makes it wait. */
#include "http_server.h"

static void silence_ends_with_the_deadline(void **state)
{
	expect_failure(state, (struct script){.hold = true}, SOON_MS, VM_ERR_TIMEOUT,
	               "timed out while ");
}

static void half_an_answer_ends_with_the_deadline(void **state)
{
	expect_failure(state, holding("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), SOON_MS,
	               VM_ERR_TIMEOUT, "timed out while ");
}

static void a_peer_that_does_not_read_ends_with_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, SOON_MS);
	struct vm_http_response response;
	struct vm_err err = {0};
	char *body = large_body();
	int fd = listen_at(f->dir_fd, "vmm.sock", 1); /* nobody accepts */

	request.method = "PUT";
	request.body = body;
	assert_int_equal(vm_http_call(&request, &response, &err), -1);
	assert_int_equal(err.code, VM_ERR_TIMEOUT);
	assert_ptr_equal(strstr(err.message, "PUT /vm: timed out while "), err.message);
	close(fd);
	free(body);
}

static void a_full_backlog_ends_with_the_deadline(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct vm_http_request request;
	struct vm_http_response response;
	struct vm_err err = {0};
	int fd = listen_at(f->dir_fd, "vmm.sock", 0);
	int clients[8];
	size_t n = 0;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/vmm.sock", f->dir_fd);
	for (;; n++) {
		assert_true(n < VM_ARRAY_LEN(clients));
		clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(clients[n], (struct sockaddr *)&addr, sizeof(addr)) < 0)
			break;
	}
	assert_int_equal(errno, EAGAIN);
	request = request_in(f->dir_fd, SOON_MS);
	assert_int_equal(vm_http_call(&request, &response, &err), -1);
	assert_int_equal(err.code, VM_ERR_TIMEOUT);
	assert_string_equal(err.message, "GET /vm: timed out while connecting");
	for (size_t i = 0; i <= n; i++)
		close(clients[i]);
	close(fd);
}

static void an_early_close_says_how_far_it_came(void **state)
{
	expect_failure(state, (struct script){0}, PLENTY_MS, VM_ERR_HYPERVISOR,
	               "closed without an answer");
	unlinkat(((struct fixture *)*state)->dir_fd, "vmm.sock", 0);
	expect_failure(state, (struct script){.ignore = true}, PLENTY_MS, VM_ERR_HYPERVISOR,
	               "closed without an answer");
	unlinkat(((struct fixture *)*state)->dir_fd, "vmm.sock", 0);
	expect_failure(state, closing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
	               PLENTY_MS, VM_ERR_HYPERVISOR, "in the middle of the answer, after 42 bytes");
}

static void garbage_is_refused_at_once_though_the_peer_holds_on(void **state)
{
	expect_failure(state, holding("SSH-2.0-x"), PLENTY_MS, VM_ERR_HYPERVISOR,
	               "it does not begin with HTTP/1.");
}

/* An answer of `head` and then at least `size` bytes of `fill`, again and again. */
static char *repeated(const char *head, const char *fill, size_t size)
{
	size_t at = strlen(head), unit = strlen(fill);
	char *text = malloc(at + size + unit + 1);

	assert_non_null(text);
	memcpy(text, head, at);
	for (size_t end = at + size; at < end; at += unit)
		memcpy(text + at, fill, unit);
	text[at] = '\0';
	return text;
}

static void oversized_headers_are_refused_though_the_peer_holds_on(void **state)
{
	static const char *const fills[] = {"A: b\r\n", "x", "A: b\r\n\r\nHTTP/1.1 100 C\r\n"};

	for (size_t i = 0; i < VM_ARRAY_LEN(fills); i++) {
		char *answer = repeated("HTTP/1.1 100 C\r\nX: ", fills[i], VM_HTTP_HEADER_MAX + 1);

		expect_failure(state, holding(answer), PLENTY_MS, VM_ERR_HYPERVISOR, "too long");
		unlinkat(((struct fixture *)*state)->dir_fd, "vmm.sock", 0);
		free(answer);
	}
}

static void oversized_bodies_are_refused_though_the_peer_holds_on(void **state)
{
	struct {
		const char *head, *fill, *error;
	} cases[] = {
	        {"HTTP/1.1 200 OK\r\nContent-Length: 4194305\r\n\r\n", "", "larger than"},
	        {"HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxx", "larger than"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400001\r\n", "",
	         "larger than"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000001\r\n", "",
	         "larger than"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	         "10\r\n0123456789abcdef\r\n", "larger than"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n",
	         "too many tiny chunks"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "x", "too long"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n",
	         "too long"},
	};

	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		size_t size = cases[i].fill[0] ? 6 * 1024 * 1024 : 0;
		char *answer = repeated(cases[i].head, cases[i].fill, size);

		expect_failure(state, holding(answer), PLENTY_MS, VM_ERR_HYPERVISOR,
		               cases[i].error);
		unlinkat(((struct fixture *)*state)->dir_fd, "vmm.sock", 0);
		free(answer);
	}
}

static void expect_no_connection(struct vm_http_request request, int error, const char *text)
{
	struct vm_http_response response;
	struct vm_err err = {0};

	assert_int_equal(vm_http_call(&request, &response, &err), -1);
	if (error)
		assert_int_equal(errno, error);
	else
		assert_true(errno != ENOENT && errno != ECONNREFUSED);
	assert_int_equal(err.code, VM_ERR_HYPERVISOR);
	assert_string_equal(err.message, text);
	assert_int_equal(err.hint[0] != '\0', error != 0);
}

static void nobody_at_the_socket_is_told_apart_by_errno(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, PLENTY_MS);

	expect_no_connection(request, ENOENT, "GET /vm: there is no socket 'vmm.sock'");
	close(listen_at(f->dir_fd, "vmm.sock", 1));
	expect_no_connection(request, ECONNREFUSED,
	                     "GET /vm: nobody listens at the socket 'vmm.sock'");
	assert_int_equal(symlinkat("vmm.sock", f->dir_fd, "link"), 0);
	request.socket = "link";
	expect_no_connection(request, 0, "GET /vm: 'link' is not a socket");
}

static void a_path_that_would_split_the_request_is_refused(void **state)
{
	static const char *const paths[] = {"", "/drives/a b", "/vm\r\nX: y", "/vm\x7f"};
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, PLENTY_MS);

	for (size_t i = 0; i < VM_ARRAY_LEN(paths); i++) {
		struct vm_http_response response;
		struct vm_err err = {0};

		request.path = paths[i];
		assert_int_equal(vm_http_call(&request, &response, &err), -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
	}
}

/* In a process of its own, because a signal request stays with a process. */
static int call_until_signal(int dir_fd, int ready_fd)
{
	struct vm_http_request request = request_in(dir_fd, PLENTY_MS);
	struct vm_http_response response;
	struct vm_err err = {0};

	vm_interrupt_install();
	if (write(ready_fd, "r", 1) != 1 || vm_http_call(&request, &response, &err) == 0)
		return 2;
	return err.code == VM_ERR_SYSTEM && strstr(err.message, "SIGTERM") ? 0 : 3;
}

static void a_signal_ends_the_wait_for_an_answer(void **state)
{
	struct fixture *f = *state;
	struct server s = {.listen_fd = listen_at(f->dir_fd, "vmm.sock", 8)};
	int ready[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(call_until_signal(f->dir_fd, ready[1]));
	assert_int_equal(read(ready[0], &byte, 1), 1);
	s.script = (struct script){.hold = true, .signal_pid = pid};
	assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
	server_join(&s);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(silence_ends_with_the_deadline),
	        TEST(half_an_answer_ends_with_the_deadline),
	        TEST(a_peer_that_does_not_read_ends_with_the_deadline),
	        TEST(a_full_backlog_ends_with_the_deadline),
	        TEST(an_early_close_says_how_far_it_came),
	        TEST(garbage_is_refused_at_once_though_the_peer_holds_on),
	        TEST(oversized_headers_are_refused_though_the_peer_holds_on),
	        TEST(oversized_bodies_are_refused_though_the_peer_holds_on),
	        TEST(nobody_at_the_socket_is_told_apart_by_errno),
	        TEST(a_path_that_would_split_the_request_is_refused),
	        TEST(a_signal_ends_the_wait_for_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
