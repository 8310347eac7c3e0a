/* SPDX-License-Identifier: Apache-2.0 */
/* Places, files and removals that a killed verb or somebody else has left in the way. */
#include "site.h"

/* A start or restore that was never committed does not keep its place while its VMM lives. */
static void a_place_of_a_killed_start_or_restore_is_free(void **state)
{
	static const struct {
		const char *words[2];
		enum vm_state from;
		enum fake_call call;
	} cases[] = {{{"start", "one"}, VM_STATE_STOPPED, FAKE_BOOT},
	             {{"restore", "two"}, VM_STATE_STANDBY, FAKE_LOAD}};
	struct site *site = *state;

	site_make(site, "next", VM_STATE_STOPPED);
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		site_make(site, cases[i].words[1], cases[i].from);
		site_kill_in(site, cases[i].call, FAKE_HANG_AFTER, site_run_verb, cases[i].words);
		site->root.config.max_running = 1;
		site_do(site, "start", "next");
		site_do(site, "stop", "next");
		site->root.config.max_running = 0;
	}
}

static int read_fifo(void *arg)
{
	const int *dir = arg;
	struct vm_err err = {0};
	char *data = NULL;
	size_t len;

	return vm_fs_read(*dir, "fifo", 100, &data, &len, &err) < 0 ? 0 : 1;
}

/* One in place of a manifest must not hang the verb. */
static void a_fifo_is_refused_at_once(void **state)
{
	struct site *site = *state;
	pid_t pid;
	bool done;

	assert_int_equal(mkfifoat(site->dir.fd, "fifo", 0600), 0);
	pid = spawn(read_fifo, &site->dir.fd);
	done = false;
	for (int i = 0; i < 30000 && !done; i++) {
		done = ended(pid);
		nap_us(1000);
	}
	kill_and_reap(pid);
	assert_true(done);
}

/* By force, too: what could not be removed is named. */
static void a_removal_that_cannot_be_finished_says_why(void **state)
{
	struct site *site = *state;
	char id[VM_ID_LEN + 1];
	struct vm_err err = {0};
	int trash;

	site_make(site, "web", VM_STATE_STOPPED);
	assert_int_equal(vm_store_intend(site->root.store, site_id(site, "web", id), "rm",
	                                 "stopped", NULL, &err),
	                 0);
	/* Something that is not empty is where the directory has to go. */
	trash = vm_fs_make_dir(site->root.trash_fd, id, &err);
	site_write(trash, "in-the-way", 1);
	close(trash);
	assert_int_equal(site_verb(site, "rm", "web"), -1);
	assert_non_null(strstr(site->err.message, "trash"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_place_of_a_killed_start_or_restore_is_free),
	        TEST(a_fifo_is_refused_at_once),
	        TEST(a_removal_that_cannot_be_finished_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
