/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client with a peer that keeps to the protocol: beginning, commands, events, migration. */
#include "qmp_peer.h"

#define BEGINNING                                                                                  \
	{.say = GREETING},                                                                         \
	{                                                                                          \
		.hear = "{\"execute\":\"qmp_capabilities\"}", .say = DONE                          \
	}
#define END                                                                                        \
	{                                                                                          \
		.hear = NULL                                                                       \
	}

/* A conversation that has begun. */
static struct vm_qmp begin(struct peer *peer, const struct step *steps)
{
	struct vm_qmp qmp = VM_QMP_INIT;
	struct vm_err err = {0};
	int fd = peer_start(peer, steps, HOLDS);

	if (vm_qmp_begin(fd, patience(), &qmp, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(qmp.fd, fd);
	return qmp;
}

/* Its end: the peer has heard all that it waited for. */
static void end(struct vm_qmp *qmp, struct peer *peer)
{
	vm_qmp_close(qmp);
	assert_int_equal(qmp->fd, -1);
	vm_qmp_close(qmp);
	peer_join(peer);
}

static void call(struct vm_qmp *qmp, const char *command, json_t *arguments)
{
	struct vm_err err = {0};

	if (vm_qmp_call(qmp, command, arguments, -1, NULL, &err) < 0)
		fail_msg("%s", err.message);
}

static void assert_error(const struct vm_err *err, enum vm_code code, const char *message)
{
	assert_string_equal(err->message, message);
	assert_string_equal(vm_code_name(err->code), vm_code_name(code));
}

static void a_conversation_begins_with_the_capabilities(void **state)
{
	static const struct step steps[] = {BEGINNING, END};
	static const struct step eager[] = {{.say = STOP GREETING STOP STOP},
	                                    {.hear = "qmp_capabilities", .say = STOP DONE STOP},
	                                    END};
	struct peer peer;
	struct vm_qmp qmp;
	unsigned fds;

	(void)state;
	fds = count_fds();
	qmp = begin(&peer, steps);
	end(&qmp, &peer);
	qmp = begin(&peer, eager);
	end(&qmp, &peer);
	assert_int_equal(count_fds(), fds);
}

static void answers_come_in_order_however_many_events_are_between(void **state)
{
	static const struct step steps[] = {
	        BEGINNING,
	        {.hear = "{\"execute\":\"query-status\"}", .say = STOP "{\"return\": 1}\r\n" STOP},
	        {.hear = "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}",
	         .say = "{\"return\": [2], \"id\": null}\n"},
	        {.hear = "query-block", .say = STOP, .times = 20000},
	        {.say = "{\"return\": {\"a\": 3}}\r\n", .piece = 1},
	        END};
	struct vm_err err = {0};
	json_t *values[3] = {0};
	struct peer peer;
	struct vm_qmp qmp = begin(&peer, steps);

	(void)state;
	assert_int_equal(vm_qmp_call(&qmp, "query-status", NULL, -1, &values[0], &err), 0);
	assert_int_equal(vm_qmp_call(&qmp, "getfd", json_pack("{s:s}", "fdname", "state"), -1,
	                             &values[1], &err),
	                 0);
	assert_int_equal(vm_qmp_call(&qmp, "query-block", NULL, -1, &values[2], &err), 0);
	assert_int_equal(json_integer_value(values[0]), 1);
	assert_int_equal(json_integer_value(json_array_get(values[1], 0)), 2);
	assert_int_equal(json_integer_value(json_object_get(values[2], "a")), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(values[i]->refcount, 1);
		json_decref(values[i]);
	}
	end(&qmp, &peer);
}

static void a_refusal_is_in_the_words_of_the_vmm_and_the_conversation_goes_on(void **state)
{
	static const struct step steps[] = {
	        BEGINNING,
	        {.hear = "getfd",
	         .say = STOP "{\"error\": {\"class\": \"GenericError\", \"desc\": \"No file "
	                     "descriptor supplied via SCM_RIGHTS\"}}\r\n"},
	        {.hear = "stop", .say = "{\"error\": {\"class\": \"GenericError\"}}\r\n"},
	        {.hear = "stop", .say = "{\"error\": 7}\r\n"},
	        {.hear = "stop", .say = "{}\r\n"},
	        {.hear = "stop", .say = DONE},
	        END};
	static const char *const want[] = {
	        "getfd: No file descriptor supplied via SCM_RIGHTS",
	        "stop: no answer",
	        "stop: no answer",
	        "stop: no answer",
	};
	json_t *mark = json_null(), *value = mark;
	struct peer peer;
	struct vm_qmp qmp = begin(&peer, steps);

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(want); i++) {
		struct vm_err err = {0};

		assert_int_equal(vm_qmp_call(&qmp, i ? "stop" : "getfd", NULL, -1, &value, &err),
		                 -1);
		assert_error(&err, VM_ERR_HYPERVISOR, want[i]);
		assert_ptr_equal(value, mark);
	}
	call(&qmp, "stop", NULL);
	end(&qmp, &peer);
}

static void a_refused_beginning_is_said_and_the_connection_closed(void **state)
{
	static const struct step steps[] = {
	        {.say = GREETING},
	        {.hear = "qmp_capabilities", .say = "{\"error\": {\"desc\": \"Not now\"}}\r\n"},
	        END};
	struct vm_qmp qmp = {.fd = -7};
	struct vm_err err = {0};
	struct peer peer;

	(void)state;
	assert_int_equal(vm_qmp_begin(peer_start(&peer, steps, HOLDS), patience(), &qmp, &err), -1);
	assert_error(&err, VM_ERR_HYPERVISOR, "qmp_capabilities: Not now");
	assert_int_equal(qmp.fd, -7);
	peer_join(&peer);
}

/* --- migration ----------------------------------------------------------------------------------
 */

static void a_migration_has_ended_when_its_event_says_so(void **state)
{
	static const struct step after[] = {
	        BEGINNING,
	        {.hear = "\"migrate\"", .say = MIGRATION("setup") DONE MIGRATION("active") STOP},
	        {.say = MIGRATION("device") MIGRATION("completed")},
	        END};
	static const struct step before[] = {
	        BEGINNING,
	        {.hear = "\"migrate\"",
	         .say = MIGRATION("setup") MIGRATION("active") MIGRATION("completed") DONE},
	        END};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct peer peer;
		struct vm_qmp qmp = begin(&peer, i ? before : after);
		struct vm_err err = {0};

		call(&qmp, "migrate", json_pack("{s:s}", "uri", "file:vmstate"));
		if (vm_qmp_await_migration(&qmp, &err) < 0)
			fail_msg("%s", err.message);
		/* It is known, and not waited for. */
		assert_int_equal(vm_qmp_await_migration(&qmp, &err), 0);
		end(&qmp, &peer);
	}
}

static void a_migration_that_failed_says_why_if_that_is_known(void **state)
{
	static const struct {
		const char *event, *answer, *message;
	} cases[] = {
	        {MIGRATION("failed"),
	         "{\"return\": {\"status\": \"failed\", \"error-desc\": \"No space left on "
	         "device\"}}\r\n",
	         "the migration is failed: No space left on device"},
	        {MIGRATION("failed"), "{\"return\": {\"status\": \"failed\"}}\r\n",
	         "the migration is failed"},
	        {MIGRATION("cancelled"), STOP "{\"return\": {\"error-desc\": 7}}\r\n",
	         "the migration is cancelled"},
	        {MIGRATION("cancelled"), "{\"error\": {\"desc\": \"no\"}}\r\n",
	         "the migration is cancelled"},
	        /* What comes in while we ask changes nothing. */
	        {MIGRATION("failed"), MIGRATION("completed") "{\"return\": {}}\r\n",
	         "the migration is failed"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		const struct step steps[] = {
		        BEGINNING,
		        {.hear = "migrate-incoming", .say = DONE MIGRATION("setup")},
		        {.say = cases[i].event},
		        {.hear = "{\"execute\":\"query-migrate\"}", .say = cases[i].answer},
		        END};
		struct peer peer;
		struct vm_qmp qmp = begin(&peer, steps);
		struct vm_err err = {0};

		call(&qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:state"));
		assert_int_equal(vm_qmp_await_migration(&qmp, &err), -1);
		assert_error(&err, VM_ERR_HYPERVISOR, cases[i].message);
		end(&qmp, &peer);
	}
}

static void an_end_of_an_earlier_migration_is_not_taken_for_that_of_a_new_one(void **state)
{
	static const struct step steps[] = {
	        BEGINNING,
	        {.hear = "\"migrate\"", .say = MIGRATION("failed") DONE},
	        {.hear = "\"migrate\"", .say = DONE MIGRATION("setup")},
	        {.say = EVENT "\"MIGRATION\", \"data\": {}}\r\n" EVENT "\"MIGRATION\"}\r\n"},
	        {.say = EVENT
	         "\"MIGRATION_PASS\", \"data\": {\"pass\": 1, \"status\": \"failed\"}}\r\n"},
	        {.say = EVENT "\"X\", \"data\": {\"status\": \"failed\"}}\r\n" DONE},
	        {.say = MIGRATION("a-status-much-longer-than-any-that-we-know-of")},
	        {.say = MIGRATION("completed")},
	        END};
	struct peer peer;
	struct vm_qmp qmp = begin(&peer, steps);
	struct vm_err err = {0};

	(void)state;
	call(&qmp, "migrate", NULL);
	call(&qmp, "migrate", NULL);
	if (vm_qmp_await_migration(&qmp, &err) < 0)
		fail_msg("%s", err.message);
	end(&qmp, &peer);
}

/* --- descriptors --------------------------------------------------------------------------------
 */

/* An inode that nobody else has: of a pipe. */
static ino_t pipe_of(int ends[2])
{
	struct stat st = {0};

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(fstat(ends[0], &st), 0);
	return st.st_ino;
}

static void a_descriptor_goes_with_its_command_and_only_with_that(void **state)
{
	static const struct step steps[] = {BEGINNING,
	                                    {.hear = "first", .say = DONE},
	                                    {.hear = "getfd", .say = DONE},
	                                    {.hear = "last", .say = DONE},
	                                    END};
	struct vm_err err = {0};
	int ends[2];
	ino_t inode = pipe_of(ends);
	struct peer peer;
	struct vm_qmp qmp = begin(&peer, steps);

	(void)state;
	call(&qmp, "first", NULL);
	assert_int_equal(peer.passed_count, 0);
	assert_int_equal(vm_qmp_call(&qmp, "getfd", json_pack("{s:s}", "fdname", "state"), ends[0],
	                             NULL, &err),
	                 0);
	assert_int_equal(peer.passed_count, 1);
	assert_true(peer.passed == inode);
	assert_int_equal(peer.passed_after_byte, 0);
	/* It is still ours. */
	assert_int_equal(fcntl(ends[0], F_GETFD), FD_CLOEXEC);
	call(&qmp, "last", NULL);
	end(&qmp, &peer);
	assert_int_equal(peer.passed_count, 1);
	close(ends[0]);
	close(ends[1]);
}

static void a_long_command_is_sent_whole_with_one_descriptor(void **state)
{
	static const struct step steps[] = {BEGINNING, {.hear = "getfd", .say = DONE}, END};
	static char text[4 * 1024 * 1024];
	struct vm_err err = {0};
	int ends[2];
	ino_t inode = pipe_of(ends);
	struct peer peer;
	struct vm_qmp qmp = begin(&peer, steps);

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	if (vm_qmp_call(&qmp, "getfd", json_pack("{s:s}", "fdname", text), ends[0], NULL, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(peer.bytes,
	                 strlen("{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"\"}}") +
	                         strlen(text));
	assert_true(peer.passed == inode && peer.passed_after_byte == 0);
	assert_int_equal(peer.passed_count, 1);
	end(&qmp, &peer);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
	        TEST(a_conversation_begins_with_the_capabilities),
	        TEST(answers_come_in_order_however_many_events_are_between),
	        TEST(a_refusal_is_in_the_words_of_the_vmm_and_the_conversation_goes_on),
	        TEST(a_refused_beginning_is_said_and_the_connection_closed),
	        TEST(a_migration_has_ended_when_its_event_says_so),
	        TEST(a_migration_that_failed_says_why_if_that_is_known),
	        TEST(an_end_of_an_earlier_migration_is_not_taken_for_that_of_a_new_one),
	        TEST(a_descriptor_goes_with_its_command_and_only_with_that),
	        TEST(a_long_command_is_sent_whole_with_one_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
