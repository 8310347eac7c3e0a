/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of answers alone, against what a broken or hostile peer may send. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <string.h>

#include "http.h"
#include "util.h"

static void malformed_answers_are_refused_with_the_place(void **state)
{
	static const char *const answers[] = {
	        "HTTP/2 200 OK\r\n\r\n",
	        "HTTP/1.1 20 OK\r\n\r\n",
	        "HTTP/1.1 2000 OK\r\n\r\n",
	        "HTTP/1.1 600 No\r\n\r\n",
	        "HTTP/1.1 099 No\r\n\r\n",
	        "HTTP/1.1  200 OK\r\n\r\n",
	        "HTTP/1.1 200 OK\n\n",
	        "HTTP/1.1 200 O\rK\r\n\r\n",
	        "HTTP/1.1 101 Switching\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
	        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 1\r\nx",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy",
	        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(answers); i++) {
		struct vm_http_response response;
		struct vm_err err = {0};

		if (vm_http_parse(answers[i], strlen(answers[i]), 0, &response, &err) != -1)
			fail_msg("accepted: %s", answers[i]);
		assert_int_equal(err.code, VM_ERR_HYPERVISOR);
		assert_non_null(strstr(err.message, "malformed answer at byte "));
	}
}

static void a_nul_is_refused_in_headers_and_kept_in_bodies(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nA: \0b\r\n\r\n";
	static const char body[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\0b";
	struct vm_http_response response;
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_http_parse(head, sizeof(head) - 1, 0, &response, &err), -1);
	assert_non_null(strstr(err.message, "at byte 20: a control character"));
	vm_err_clear(&err);
	assert_int_equal(vm_http_parse(body, sizeof(body) - 1, 0, &response, &err), 1);
	assert_int_equal(response.body_len, 3);
	assert_memory_equal(response.body, "a\0b", 4);
	vm_http_response_free(&response);
}

static void every_beginning_of_an_answer_needs_more(void **state)
{
	static const char answer[] =
	        "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200\r\nA:\xc3\xa4\t\r\n"
	        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n";
	struct vm_http_response response;
	struct vm_err err = {0};
	size_t len = sizeof(answer) - 1;

	(void)state;
	assert_int_equal(vm_http_parse(NULL, 0, 0, &response, &err), 0);
	for (size_t n = 0; n < len; n++) {
		assert_int_equal(vm_http_parse(answer, n, 0, &response, &err), 0);
		assert_int_equal(vm_http_parse(answer, n, 1, &response, &err), -1);
		vm_err_clear(&err);
	}
	assert_int_equal(vm_http_parse(answer, len, 0, &response, &err), 1);
	assert_int_equal(response.status, 200);
	assert_string_equal(response.body, "abc");
	vm_http_response_free(&response);
}

static void equal_lengths_and_lengths_of_bodies_not_sent_are_accepted(void **state)
{
	static const char same[] =
	        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 01 \r\n\r\nx";
	static const char unsent[] = "HTTP/1.1 304 Same\r\nContent-Length: 99999999999\r\n\r\n";
	struct vm_http_response response;
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_http_parse(same, sizeof(same) - 1, 0, &response, &err), 1);
	assert_string_equal(response.body, "x");
	vm_http_response_free(&response);
	assert_int_equal(vm_http_parse(unsent, sizeof(unsent) - 1, 0, &response, &err), 1);
	assert_int_equal(response.body_len, 0);
	vm_http_response_free(&response);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(malformed_answers_are_refused_with_the_place),
	        cmocka_unit_test(a_nul_is_refused_in_headers_and_kept_in_bodies),
	        cmocka_unit_test(every_beginning_of_an_answer_needs_more),
	        cmocka_unit_test(equal_lengths_and_lengths_of_bodies_not_sent_are_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
