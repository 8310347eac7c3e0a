/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against a real server: answers that it must understand. */
#include "http_server.h"

static void an_answer_is_complete_without_waiting_for_the_peer_to_close(void **state)
{
	expect_answer(state, holding("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 200, "{}");
}

static void status_204_has_no_body_and_needs_no_length(void **state)
{
	expect_answer(state, holding("HTTP/1.1 204 \r\nServer: API\r\n\r\n"), 204, "");
}

static void an_error_status_is_an_answer_with_its_body(void **state)
{
	expect_answer(state,
	              holding("HTTP/1.1 400 \r\nConnection: keep-alive\r\n"
	                      "Content-Length: 21\r\n\r\n{\"fault_message\":\"x\"}"),
	              400, "{\"fault_message\":\"x\"}");
}

static void a_chunked_answer_in_single_bytes_is_put_together(void **state)
{
	expect_answer(state,
	              in_pieces(1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
	                           "4;ext=\"a b\"\r\nwiki\r\n00A \r\n0123456789\r\n"
	                           "0\r\nDigest: none\r\n\r\n"),
	              200, "wiki0123456789");
}

static void interim_answers_are_skipped(void **state)
{
	expect_answer(state,
	              in_pieces(5, "HTTP/1.1 100 Continue\r\n\r\n"
	                           "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
	                           "HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"),
	              201, "");
}

static void a_body_without_length_ends_with_the_connection(void **state)
{
	expect_answer(state, closing("HTTP/1.0 200 OK\r\n\r\nall of it"), 200, "all of it");
}

static void a_large_body_arrives_whole(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n";
	char *answer = malloc(sizeof(head) + VM_HTTP_BODY_MAX);

	assert_non_null(answer);
	memcpy(answer, head, sizeof(head) - 1);
	for (size_t i = 0; i < VM_HTTP_BODY_MAX; i++)
		answer[sizeof(head) - 1 + i] = (char)('a' + i % 26);
	answer[sizeof(head) - 1 + VM_HTTP_BODY_MAX] = '\0';
	expect_answer(state, holding(answer), 200, answer + sizeof(head) - 1);
	free(answer);
}

static void the_request_carries_method_path_and_body(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, PLENTY_MS);
	struct vm_http_response response = {0};
	struct vm_err err = {0};
	struct server s;

	request.method = "PUT";
	request.path = "/snapshot/load";
	request.body = "{\"resume_vm\":true}";
	server_start(&s, f->dir_fd, closing("HTTP/1.1 204 \r\n\r\n"));
	assert_int_equal(vm_http_call(&request, &response, &err), 0);
	server_join(&s);
	assert_ptr_equal(strstr(s.request, "PUT /snapshot/load HTTP/1.1\r\nHost: "), s.request);
	assert_non_null(strstr(s.request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(s.request, "\r\nContent-Length: 18\r\n"));
	assert_string_equal(strstr(s.request, "\r\n\r\n") + 4, "{\"resume_vm\":true}");
	vm_http_response_free(&response);
}

/* More than the socket's buffers hold, so that sending has to wait for the peer. */
static void a_large_request_is_sent_whole(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, PLENTY_MS);
	struct vm_http_response response = {0};
	struct vm_err err = {0};
	char *body = large_body();
	struct server s;

	request.method = "PUT";
	request.body = body;
	server_start(&s, f->dir_fd, closing("HTTP/1.1 204 \r\n\r\n"));
	if (vm_http_call(&request, &response, &err) < 0)
		fail_msg("%s", err.message);
	server_join(&s);
	assert_int_equal(response.status, 204);
	assert_int_equal(s.request_len,
	                 strstr(s.request, "\r\n\r\n") + 4 - s.request + (long)strlen(body));
	vm_http_response_free(&response);
	free(body);
}

/* The same to a peer that answers and closes without reading any of it. */
static void an_early_refusal_of_a_large_request_is_read(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(f->dir_fd, PLENTY_MS);
	struct vm_http_response response = {0};
	struct vm_err err = {0};
	char *body = large_body();
	struct server s;

	request.method = "PUT";
	request.body = body;
	server_start(&s, f->dir_fd,
	             (struct script){
	                     .ignore = true,
	                     .answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"});
	if (vm_http_call(&request, &response, &err) < 0)
		fail_msg("%s", err.message);
	server_join(&s);
	assert_int_equal(response.status, 413);
	assert_string_equal(response.body, "big");
	vm_http_response_free(&response);
	free(body);
}

static void a_socket_in_a_very_deep_directory_is_reached(void **state)
{
	struct fixture *f = *state;
	struct vm_http_response response = {0};
	struct vm_http_request request;
	struct vm_err err = {0};
	struct server s;
	int fd = dup(f->dir_fd);

	for (int i = 0; i < 30; i++) {
		int next;

		assert_int_equal(mkdirat(fd, "a-directory-name-of-some-length", 0700), 0);
		next = openat(fd, "a-directory-name-of-some-length", O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	server_start(&s, fd, closing("HTTP/1.1 204 \r\n\r\n"));
	request = request_in(fd, PLENTY_MS);
	if (vm_http_call(&request, &response, &err) < 0)
		fail_msg("%s", err.message);
	server_join(&s);
	assert_int_equal(response.status, 204);
	vm_http_response_free(&response);
	close(fd);
}

static void at_fdcwd_takes_a_path_longer_than_sun_path(void **state)
{
	struct fixture *f = *state;
	struct vm_http_request request = request_in(AT_FDCWD, PLENTY_MS);
	struct vm_http_response response = {0};
	struct vm_err err = {0};
	struct server s;
	char dir[256], path[512];
	int fd;

	snprintf(dir, sizeof(dir), "%s/%0150d", f->dir, 0);
	snprintf(path, sizeof(path), "%s/vmm.sock", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	server_start(&s, fd, closing("HTTP/1.1 204 \r\n\r\n"));
	request.socket = path;
	if (vm_http_call(&request, &response, &err) < 0)
		fail_msg("%s", err.message);
	server_join(&s);
	assert_int_equal(response.status, 204);
	vm_http_response_free(&response);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_answer_is_complete_without_waiting_for_the_peer_to_close),
	        TEST(status_204_has_no_body_and_needs_no_length),
	        TEST(an_error_status_is_an_answer_with_its_body),
	        TEST(a_chunked_answer_in_single_bytes_is_put_together),
	        TEST(interim_answers_are_skipped),
	        TEST(a_body_without_length_ends_with_the_connection),
	        TEST(a_large_body_arrives_whole),
	        TEST(the_request_carries_method_path_and_body),
	        TEST(a_large_request_is_sent_whole),
	        TEST(an_early_refusal_of_a_large_request_is_read),
	        TEST(a_socket_in_a_very_deep_directory_is_reached),
	        TEST(at_fdcwd_takes_a_path_longer_than_sun_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
