/* SPDX-License-Identifier: Apache-2.0 */
/* Events read back: filters, instances that are no more, the window that judges a host. */
#include "store_fixture.h"

#include "events.h"

/* An event of the letter's instance at a time of its own. */
static void record_at(struct fixture *f, int64_t time_us, char letter, const char *name,
                      struct vm_event event)
{
	char id[VM_ID_LEN + 1] = "";
	char set_time[128];

	memset(id, letter, VM_ID_LEN);
	event.instance_id = letter ? id : "";
	event.name = name;
	assert_works(f, vm_store_record(f->store, &event, &f->err));
	snprintf(set_time, sizeof(set_time),
	         "UPDATE event SET time_us = %" PRId64 " WHERE seq = (SELECT max(seq) FROM event)",
	         time_us);
	sql(f, set_time);
}

static void record_plain(struct fixture *f, int64_t time_us, char letter, const char *name,
                         const char *verb, enum vm_code code)
{
	record_at(f, time_us, letter, name, (struct vm_event){.verb = verb, .code = code});
}

/* The seqs that come, as text: "1 2 3". */
static const char *seqs(struct fixture *f, const struct vm_event_filter *filter, char buf[256])
{
	struct vm_past_event *events = NULL;
	size_t count = 0, used = 0;

	assert_works(f, vm_events_list(f->store, filter, &events, &count, NULL, &f->err));
	buf[0] = '\0';
	for (size_t i = 0; i < count; i++)
		used += (size_t)snprintf(buf + used, 256 - used, "%s%" PRId64, i ? " " : "",
		                         events[i].seq);
	vm_past_events_free(events, count);
	return buf;
}

static void record_some(struct fixture *f)
{
	record_plain(f, 100, 'a', "web", "create", VM_OK);
	record_plain(f, 200, 'a', "web", "start", VM_OK);
	record_plain(f, 300, 'b', "db", "fork", VM_ERR_BUSY);
	record_plain(f, 400, 'a', "web", "rm", VM_OK);
	record_plain(f, 500, 'c', "web", "fork", VM_OK); /* another of that name */
	record_plain(f, 600, '\0', "web", "create", VM_ERR_ALREADY_EXISTS);
}

static void filters_let_through_what_they_name(void **state)
{
	struct fixture *f = *state;
	char buf[256];

	record_some(f);
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1}, buf), "1 2 3 4 5 6");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = 2}, buf), "5 6");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = 0}, buf), "");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .after = 4}, buf), "5 6");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .since_us = 300}, buf),
	                    "3 4 5 6");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .until_us = 300}, buf),
	                    "1 2");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .verbs = "fork,rm"}, buf),
	                    "3 4 5");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .verbs = "for"}, buf),
	                    "");
	assert_string_equal(seqs(f, &(struct vm_event_filter){.last = -1, .outcome = "busy"}, buf),
	                    "3");
	assert_string_equal(seqs(f,
	                         &(struct vm_event_filter){.last = 1,
	                                                   .verbs = "create,start",
	                                                   .outcome = "ok",
	                                                   .instance_name = "web"},
	                         buf),
	                    "2");
}

static void all_of_an_event_comes_back(void **state)
{
	struct fixture *f = *state;
	const struct vm_event_filter all = {.last = -1};
	struct vm_past_event *events = NULL;
	size_t count = 0;
	int64_t seen = 0;

	record_at(f, 77, 'a', "web",
	          (struct vm_event){.verb = "fork",
	                            .code = VM_ERR_HYPERVISOR,
	                            .duration_us = 11,
	                            .lock_waited_us = 22,
	                            .slot_waited_us = 33,
	                            .relocation = "relative",
	                            .disks = "copy",
	                            .repaired = "pause",
	                            .message = "it's \"why\"\n"});
	record_plain(f, 78, 'a', "web", "rm", VM_OK);
	assert_works(f, vm_events_list(f->store, &all, &events, &count, &seen, &f->err));
	assert_int_equal(count, 2);
	assert_int_equal(seen, 2);
	assert_int_equal(events[0].time_us, 77);
	assert_string_equal(events[0].verb, "fork");
	assert_string_equal(events[0].instance_id, "aaaaaaaaaaaaaaaaaaaaaaaa");
	assert_string_equal(events[0].name, "web");
	assert_string_equal(events[0].outcome, "hypervisor");
	assert_int_equal(events[0].duration_us, 11);
	assert_int_equal(events[0].lock_waited_us, 22);
	assert_int_equal(events[0].slot_waited_us, 33);
	assert_string_equal(events[0].relocation, "relative");
	assert_string_equal(events[0].disks, "copy");
	assert_string_equal(events[0].repaired, "pause");
	assert_string_equal(events[0].message, "it's \"why\"\n");
	assert_null(events[1].message);
	assert_string_equal(events[1].relocation, "");
	vm_past_events_free(events, count);
}

static void what_was_looked_at_is_not_looked_at_again(void **state)
{
	struct fixture *f = *state;
	struct vm_event_filter filter = {.last = -1, .verbs = "nothing"};
	struct vm_past_event *events = NULL;
	size_t count = 1;
	int64_t seen = 99;

	assert_works(f, vm_events_list(f->store, &filter, &events, &count, &seen, &f->err));
	assert_int_equal(count, 0);
	assert_int_equal(seen, 0);
	vm_past_events_free(events, count);
	record_some(f);
	assert_works(f, vm_events_list(f->store, &filter, &events, &count, &seen, &f->err));
	assert_int_equal(count, 0);
	assert_int_equal(seen, 6);
	vm_past_events_free(events, count);
	filter.after = 7; /* all that we had seen was dropped meanwhile */
	assert_works(f, vm_events_list(f->store, &filter, &events, &count, &seen, &f->err));
	assert_int_equal(seen, 7);
	vm_past_events_free(events, count);
}

/* --- of whom -------------------------------------------------------------------------------------
 */

static const char *list_of(struct fixture *f, const char *selector, char buf[256])
{
	struct vm_event_filter filter = {.last = -1};

	assert_works(f, vm_events_of(f->store, selector, &filter, &f->err));
	return seqs(f, &filter, buf);
}

static void events_are_found_by_name_id_and_beginning_of_an_id(void **state)
{
	struct fixture *f = *state;
	char buf[256];

	add(f, 'c', "web");
	record_some(f);
	assert_string_equal(list_of(f, "web", buf), "1 2 4 5 6");
	assert_string_equal(list_of(f, "cccccccccccccccccccccccc", buf), "5");
	assert_string_equal(list_of(f, "ccc", buf), "5");
	/* Of those that are no more. */
	assert_string_equal(list_of(f, "aaaaaaaaaaaaaaaaaaaaaaaa", buf), "1 2 4");
	assert_string_equal(list_of(f, "aa", buf), "1 2 4");
	assert_string_equal(list_of(f, "db", buf), "3");
	/* One of whom nothing is known but that it is there. */
	add(f, 'n', "new");
	assert_string_equal(list_of(f, "new", buf), "");
	assert_string_equal(list_of(f, "nn", buf), "");
}

static void who_never_was_is_not_found(void **state)
{
	struct fixture *f = *state;
	struct vm_event_filter filter = {.last = -1};
	char id[VM_ID_LEN + 1] = "aab";

	add(f, 'c', "web");
	record_some(f);
	for (const char *const *odd = (const char *const[]){"", "nobody", "%", "_", "z", "WEB",
	                                                    "zzzzzzzzzzzzzzzzzzzzzzzz", NULL};
	     *odd; odd++)
		assert_fails(f, vm_events_of(f->store, *odd, &filter, &f->err), VM_ERR_NOT_FOUND);
	assert_string_equal(filter.instance_id, "");
	assert_string_equal(filter.instance_name, "");
	assert_fails(f, vm_events_of(f->store, "wbe", &filter, &f->err), VM_ERR_NOT_FOUND);
	assert_string_equal(f->err.hint, "did you mean 'web'?");
	memset(id + 3, 'x', VM_ID_LEN - 3);
	assert_works(f, vm_store_record(f->store,
	                                &(struct vm_event){
	                                        .verb = "rm", .instance_id = id, .name = "other"},
	                                &f->err));
	assert_fails(f, vm_events_of(f->store, "aa", &filter, &f->err), VM_ERR_AMBIGUOUS);
	assert_non_null(strstr(f->err.message, id));
}

/* --- the window ----------------------------------------------------------------------------------
 */

static void the_window_sums_up_what_is_in_it(void **state)
{
	struct fixture *f = *state;
	struct vm_window window;

	assert_works(f, vm_events_window(f->store, 1000, &window, &f->err));
	assert_int_equal(window.operations, 0);
	assert_true(window.complete);
	for (int64_t at = 999; at <= 1000; at++) {
		record_at(f, at, 'a', "web",
		          (struct vm_event){.verb = "fork",
		                            .duration_us = 100,
		                            .lock_waited_us = 10,
		                            .relocation = "alias",
		                            .disks = "copy"});
		record_at(f, at, 'a', "web",
		          (struct vm_event){.verb = "create", .duration_us = 50, .disks = "copy"});
		record_at(f, at, 'a', "web",
		          (struct vm_event){.verb = "restore",
		                            .duration_us = 7,
		                            .slot_waited_us = 5,
		                            .code = VM_ERR_INSUFFICIENT_RESOURCES});
		record_at(f, at, 'a', "web",
		          (struct vm_event){.verb = "repair",
		                            .duration_us = 1000,
		                            .repaired = VM_REPAIRED_VMM_DEATH});
	}
	assert_works(f, vm_events_window(f->store, 1000, &window, &f->err));
	assert_int_equal(window.since_us, 1000);
	assert_int_equal(window.operations, 3);
	assert_int_equal(window.duration_us, 157);
	assert_int_equal(window.lock_waits, 1);
	assert_int_equal(window.lock_waited_us, 10);
	assert_int_equal(window.slot_waits, 1);
	assert_int_equal(window.slot_waited_us, 5);
	assert_int_equal(window.alias_relocations, 1);
	assert_int_equal(window.disks_copied, 1);
	assert_int_equal(window.insufficient_resources, 1);
	assert_int_equal(window.vmm_deaths, 1);
	assert_true(window.complete);
}

static void a_window_says_when_some_of_it_is_gone(void **state)
{
	struct fixture *f = *state;
	struct vm_window window;

	vm_store_keep_events(f->store, 2);
	record_plain(f, 100, 'a', "web", "start", VM_OK);
	record_plain(f, 200, 'a', "web", "stop", VM_OK);
	assert_works(f, vm_events_window(f->store, 50, &window, &f->err));
	assert_true(window.complete);
	record_plain(f, 300, 'a', "web", "start", VM_OK);
	assert_works(f, vm_events_window(f->store, 50, &window, &f->err));
	assert_int_equal(window.operations, 2);
	assert_false(window.complete);
	assert_works(f, vm_events_window(f->store, 250, &window, &f->err));
	assert_true(window.complete);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(filters_let_through_what_they_name),
	        TEST(all_of_an_event_comes_back),
	        TEST(what_was_looked_at_is_not_looked_at_again),
	        TEST(events_are_found_by_name_id_and_beginning_of_an_id),
	        TEST(who_never_was_is_not_found),
	        TEST(the_window_sums_up_what_is_in_it),
	        TEST(a_window_says_when_some_of_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
