/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client with a peer that is silent, hangs up, or talks nonsense. */
#include "qmp_peer.h"

enum { LINE = 4 * 1024 * 1024 };
#define CAPABLE                                                                                    \
	{                                                                                          \
		.hear = "qmp_capabilities", .say = DONE                                            \
	}
#define END                                                                                        \
	{                                                                                          \
		.hear = NULL                                                                       \
	}
#define NO_END "an answer of QMP has no end"
#define NO_JSON "what comes from QMP is no JSON object: '"
#define CLOSED "the VMM has closed its QMP connection"

/* What has been reached when it fails. */
enum stage { BEGIN, CALL, AWAIT };

/* Begins, migrates and waits for the end of that; how far it came. */
static enum stage converse(int fd, int64_t deadline_ms, struct vm_err *err)
{
	VM_AUTO(vm_qmp_close) struct vm_qmp qmp = {.fd = -7};

	if (vm_qmp_begin(fd, deadline_ms, &qmp, err) < 0) {
		assert_int_equal(qmp.fd, -7);
		qmp.fd = -1;
		return BEGIN;
	}
	if (vm_qmp_call(&qmp, "migrate", json_pack("{s:s}", "uri", "file:x"), -1, NULL, err) < 0)
		return CALL;
	vm_qmp_await_migration(&qmp, err);
	return AWAIT;
}

struct end {
	enum stage stage;
	enum vm_code code;
	const char *message; /* its beginning */
};

static bool ends_as(const struct step *steps, enum peer_end how, int64_t deadline_ms,
                    const struct end *want, struct vm_err *ret_err)
{
	unsigned fds = count_fds();
	enum stage reached;
	struct peer peer;
	int fd = peer_start(&peer, steps, how);

	*ret_err = (struct vm_err){0};
	reached = converse(fd, deadline_ms, ret_err);
	assert_int_equal(pthread_join(peer.thread, NULL), 0);
	assert_int_equal(count_fds(), fds);
	return reached == want->stage && ret_err->code == want->code &&
	       strncmp(ret_err->message, want->message, strlen(want->message)) == 0;
}

/* Without waiting, at that stage and with that message; no descriptor is left behind. */
static void expect(const struct step *steps, enum peer_end how, enum stage stage, enum vm_code code,
                   const char *message)
{
	const struct end want = {stage, code, message};
	struct vm_err err;

	if (!ends_as(steps, how, patience(), &want, &err))
		fail_msg("'%s' (%s) instead of '%s' (%s)", err.message, vm_code_name(err.code),
		         message, vm_code_name(code));
}

/* The same by the deadline, of a peer that holds on. A slow machine gets there later. */
static void expect_late(const struct step *steps, enum stage stage, enum vm_code code,
                        const char *message)
{
	const struct end want = {stage, code, message};
	struct vm_err err;

	for (int64_t ms = SOON_MS; ms < PATIENCE_MS; ms *= 4) {
		int64_t deadline = vm_monotonic_ms() + ms;
		bool as_wanted = ends_as(steps, HOLDS, deadline, &want, &err);

		assert_true(vm_monotonic_ms() >= deadline);
		if (as_wanted)
			return;
	}
	fail_msg("'%s' (%s) instead of '%s'", err.message, vm_code_name(err.code), message);
}

static void expect_timeout(const struct step *steps, enum stage stage, const char *message)
{
	expect_late(steps, stage, VM_ERR_TIMEOUT, message);
}

static const struct step stages[][4] = {
        {END},
        {{.say = GREETING}, END},
        {{.say = GREETING}, {.hear = "qmp_capabilities"}, END},
        {{.say = GREETING}, CAPABLE, END},
        {{.say = GREETING}, CAPABLE, {.hear = "migrate"}, END},
        {{.say = GREETING}, CAPABLE, {.hear = "migrate", .say = DONE MIGRATION("active")}, END},
        {{.say = GREETING}, CAPABLE, {.hear = "migrate", .say = DONE MIGRATION("failed")}, END},
};
static const enum stage where[] = {BEGIN, BEGIN, BEGIN, CALL, CALL, AWAIT, AWAIT};

static void a_silent_peer_is_a_timeout_at_every_stage(void **state)
{
	static const char *const said[] = {
	        "timed out while waiting for QMP's answer",
	        "qmp_capabilities: timed out while waiting",
	        "qmp_capabilities: timed out while waiting",
	        "migrate: timed out while waiting for QMP's answer",
	        "migrate: timed out while waiting for QMP's answer",
	        "migration: timed out while waiting for QMP's answer",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(said); i++)
		expect_timeout(stages[i], where[i], said[i]);
	/* That it failed is known, if not why. */
	expect_late(stages[6], AWAIT, VM_ERR_HYPERVISOR, "the migration is failed");
}

static void who_does_not_greet_may_be_talking_to_another(void **state)
{
	struct vm_qmp qmp = VM_QMP_INIT;
	struct vm_err err = {0};
	struct peer peer;
	int fd = peer_start(&peer, stages[0], HOLDS);

	(void)state;
	assert_int_equal(vm_qmp_begin(fd, vm_monotonic_ms() + SOON_MS, &qmp, &err), -1);
	assert_non_null(strstr(err.hint, "another program is connected to its QMP"));
	peer_join(&peer);
}

static void a_peer_that_hangs_up_is_told_at_every_stage(void **state)
{
	static const char *const said[] = {CLOSED,
	                                   "qmp_capabilities: " CLOSED,
	                                   "qmp_capabilities: " CLOSED,
	                                   "migrate: " CLOSED,
	                                   "migrate: " CLOSED,
	                                   "migration: " CLOSED,
	                                   "the migration is failed"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(said); i++)
		expect(stages[i], HANGS_UP, where[i], VM_ERR_HYPERVISOR, said[i]);
}

#define CASE(text, message)                                                                        \
	{                                                                                          \
		text, sizeof(text) - 1, message                                                    \
	}

/* At once, though the peer would go on; and as an answer, too. */
static void what_is_no_json_object_is_refused_and_shown(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *message;
	} cases[] = {
	        CASE("\n", NO_JSON "'"),
	        CASE("\r\n", NO_JSON "\r'"),
	        CASE("SSH-2.0-OpenSSH_9.2\r\n", NO_JSON "SSH-2.0-OpenSSH_9.2"),
	        CASE("{\"return\": {}\n", NO_JSON "{\"return\": {}'"),
	        CASE("{\"return\": {}}}\n", NO_JSON),
	        CASE("{\"return\":\n{}}\n", NO_JSON "{\"return\":'"),
	        CASE("[{\"return\": {}}]\n", NO_JSON "[{"),
	        CASE("null\n", NO_JSON "null'"),
	        CASE("{\"return\": \"\xff\"}\n", NO_JSON),
	        CASE("{\"return\": \"\0\"}\n", NO_JSON),
	        CASE("\0\n", NO_JSON "'"),
	        CASE("{\"return\": 1e999}\n", NO_JSON),
	};
	static char nested[8192], text[8200];

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		const struct step greets[] = {{.say = cases[i].text, .len = cases[i].len}, END};
		const struct step answers[] = {
		        {.say = GREETING},
		        CAPABLE,
		        {.hear = "migrate", .say = cases[i].text, .len = cases[i].len},
		        END};
		char wrapped[256];

		expect(greets, HOLDS, BEGIN, VM_ERR_HYPERVISOR, cases[i].message);
		snprintf(wrapped, sizeof(wrapped), "migrate: %s", cases[i].message);
		expect(answers, HOLDS, CALL, VM_ERR_HYPERVISOR, wrapped);
	}
	memset(nested, '[', sizeof(nested) - 1);
	snprintf(text, sizeof(text), "%s\n", nested);
	expect((const struct step[]){{.say = text}, END}, HOLDS, BEGIN, VM_ERR_HYPERVISOR,
	       NO_JSON "[[[[");
}

static void another_protocol_of_json_lines_is_no_qmp(void **state)
{
	static const struct step answer[] = {{.say = DONE}, END};
	static const struct step odd[] = {{.say = "{\"event\": 7}\n"}, END};

	(void)state;
	expect(answer, HOLDS, BEGIN, VM_ERR_HYPERVISOR, "the VMM does not greet as QMP does");
	expect(odd, HOLDS, BEGIN, VM_ERR_HYPERVISOR, "the VMM does not greet as QMP does");
}

static void half_a_line_is_waited_for_to_the_end(void **state)
{
	static const struct step half[] = {{.say = GREETING}, {.hear = "q", .say = "{\"ret"}, END};
	static const struct step later[] = {{.say = GREETING, .piece = 1},
	                                    {.hear = "q", .say = "{\"ret"},
	                                    {.say = "urn\": {}}"},
	                                    {.say = "\n{\"return"},
	                                    {.hear = "migrate", .say = "\": 1}\n"},
	                                    {.say = MIGRATION("completed"), .piece = 3},
	                                    END};

	(void)state;
	expect(half, HANGS_UP, BEGIN, VM_ERR_HYPERVISOR, "qmp_capabilities: " CLOSED);
	expect_timeout(half, BEGIN, "qmp_capabilities: timed out");
	expect(later, HOLDS, AWAIT, VM_OK, "");
}

static void a_long_line_is_taken_and_an_endless_one_refused(void **state)
{
	static const struct step endless[] = {{.say = "x", .times = 1U << 30, .len = 1}, END};
	char *text = calloc(1, LINE + 1);
	const struct step fast[] = {{.say = text, .times = 64}, END};
	const struct step longest[] = {{.say = GREETING}, CAPABLE, {.hear = "m", .say = text}, END};
	char done[] = "{\"return\": \"";

	(void)state;
	assert_non_null(text);
	memset(text, 'x', LINE);
	expect(fast, HOLDS, BEGIN, VM_ERR_HYPERVISOR, NO_END);
	/* One that comes slowly ends with the deadline at the latest. */
	expect_timeout(endless, BEGIN, "timed out");
	memcpy(text, done, strlen(done));
	snprintf(text + LINE / 2, 160, "\"}\n" MIGRATION("completed"));
	expect(longest, HOLDS, AWAIT, VM_OK, "");
	free(text);
}

static void events_without_end_do_not_outlast_the_deadline(void **state)
{
	static const struct step greeting[] = {{.say = STOP, .times = 1U << 30}, END};
	static const struct step answer[] = {
	        {.say = GREETING}, {.hear = "q", .say = STOP, .times = 1U << 30}, END};
	static const struct step migration[] = {{.say = GREETING},
	                                        CAPABLE,
	                                        {.hear = "m", .say = DONE},
	                                        {.say = MIGRATION("active"), .times = 1U << 30},
	                                        END};

	(void)state;
	expect_timeout(greeting, BEGIN, "timed out");
	expect_timeout(answer, BEGIN, "qmp_capabilities: timed out");
	expect_timeout(migration, AWAIT, "migration: timed out");
}

/* More than the buffers of the socket hold, to a peer that does not read. */
static void a_command_that_is_not_read_ends_with_the_deadline_or_the_peer(void **state)
{
	static char text[LINE];
	int ends[2];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	for (int i = 0; i < 2; i++) {
		struct vm_qmp qmp = {.deadline_ms = i ? patience() : vm_monotonic_ms() + SOON_MS};
		struct vm_err err = {0};

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		qmp.fd = ends[0];
		if (i)
			close(ends[1]);
		assert_int_equal(vm_qmp_call(&qmp, "getfd", json_pack("{s:s}", "fdname", text), -1,
		                             NULL, &err),
		                 -1);
		assert_string_equal(err.message,
		                    i ? "getfd: " CLOSED : "getfd: timed out while sending to QMP");
		assert_int_equal(err.code, i ? VM_ERR_HYPERVISOR : VM_ERR_TIMEOUT);
		vm_qmp_close(&qmp);
		if (!i)
			close(ends[1]);
	}
}

/* In a process of its own, because a signal request stays with a process. */
static int converse_until_signal(void *arg)
{
	const int *fd = arg;
	struct vm_err err = {0};

	vm_interrupt_install();
	converse(*fd, patience(), &err);
	return err.code == VM_ERR_SYSTEM && strstr(err.message, "SIGTERM") ? 0 : 3;
}

static void a_signal_ends_the_wait_at_every_stage(void **state)
{
	(void)state;
	/* From where the peer knows that the client is there. */
	for (size_t i = 2; i < VM_ARRAY_LEN(stages) - 1; i++) {
		struct peer peer = {.steps = stages[i], .end = HOLDS};
		int ends[2];

		if (i == 3)
			continue;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		peer.fd = ends[1];
		peer.signal_pid = spawn(converse_until_signal, &ends[0]);
		close(ends[0]);
		assert_int_equal(pthread_create(&peer.thread, NULL, peer_run, &peer), 0);
		assert_exits(peer.signal_pid, 0);
		shutdown(ends[1], SHUT_RDWR); /* the child had it, too */
		peer_join(&peer);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
	        TEST(a_silent_peer_is_a_timeout_at_every_stage),
	        TEST(who_does_not_greet_may_be_talking_to_another),
	        TEST(a_peer_that_hangs_up_is_told_at_every_stage),
	        TEST(what_is_no_json_object_is_refused_and_shown),
	        TEST(another_protocol_of_json_lines_is_no_qmp),
	        TEST(half_a_line_is_waited_for_to_the_end),
	        TEST(a_long_line_is_taken_and_an_endless_one_refused),
	        TEST(events_without_end_do_not_outlast_the_deadline),
	        TEST(a_command_that_is_not_read_ends_with_the_deadline_or_the_peer),
	        TEST(a_signal_ends_the_wait_at_every_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
