/* SPDX-License-Identifier: Apache-2.0 */
/* Guest CIDs in the store: who may have one that another has, and who not. */
#include "store_fixture.h"

enum { CID = 4711 };

/* An instance with a CID that was given, in a state. */
static void put(struct fixture *f, char letter, const char *name, enum vm_state state)
{
	struct vm_instance row = row_of(letter, name);
	const struct vm_change change = {.id = row.id, .state = state};

	row.guest_cid = CID;
	row.occupies = state == VM_STATE_RUNNING || state == VM_STATE_PAUSED;
	assert_works(f, reserve(f, &row, 1, NULL));
	assert_works(f, vm_store_commit(f->store, &change, 1, NULL, false, &f->err));
}

static int intend(struct fixture *f, char letter, bool boots, struct vm_admission *ret)
{
	char id[VM_ID_LEN + 1] = "";

	memset(id, letter, VM_ID_LEN);
	*ret = (struct vm_admission){.boots = boots};
	return vm_store_intend(f->store, id, boots ? "start" : "restore", "", ret, &f->err);
}

static int64_t cid_of(struct fixture *f, const char *name)
{
	struct vm_instance row = get(f, name);

	vm_instance_free(&row);
	return (int64_t)row.guest_cid;
}

static void many_that_rest_may_share_one_cid(void **state)
{
	struct fixture *f = *state;

	put(f, 'a', "one", VM_STATE_STANDBY);
	put(f, 'b', "two", VM_STATE_STANDBY);
	put(f, 'c', "three", VM_STATE_STOPPED);
	put(f, 'd', "four", VM_STATE_FAILED);
	put(f, 'e', "runs", VM_STATE_RUNNING);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE guest_cid = 4711"), 5);
}

static void a_reservation_to_run_with_a_cid_in_use_is_refused_and_names_who_has_it(void **state)
{
	struct fixture *f = *state;
	struct vm_instance rows[] = {row_of('b', "one"), row_of('c', "two")};
	struct vm_conflict conflict = {0};

	put(f, 'a', "web", VM_STATE_PAUSED);
	rows[1].guest_cid = CID;
	rows[1].occupies = true;
	assert_fails(f, note_and_reserve(f->store, rows, 2, NULL, &conflict, &f->err),
	             VM_ERR_ALREADY_EXISTS);
	assert_int_equal(conflict.row, 1);
	assert_string_equal(conflict.cid_holder, "aaaaaaaaaaaaaaaaaaaaaaaa");
	assert_non_null(strstr(f->err.message, "guest CID 4711 is in use by 'web'"));
	assert_non_null(strstr(f->err.hint, "stop 'web' or put it in standby"));
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 1);
	rows[1].occupies = false;
	assert_works(f, note_and_reserve(f->store, rows, 2, NULL, &conflict, &f->err));
	assert_int_equal(sql(f, "SELECT count(DISTINCT guest_cid) FROM instance"), 2);
}

static void two_of_one_request_cannot_run_with_one_cid(void **state)
{
	struct fixture *f = *state;
	struct vm_instance rows[] = {row_of('b', "one"), row_of('c', "two")};
	struct vm_conflict conflict = {0};

	for (size_t i = 0; i < 2; i++) {
		rows[i].guest_cid = CID;
		rows[i].occupies = true;
	}
	assert_fails(f, note_and_reserve(f->store, rows, 2, NULL, &conflict, &f->err),
	             VM_ERR_ALREADY_EXISTS);
	assert_int_equal(conflict.row, 1);
	assert_string_equal(conflict.cid_holder, rows[0].id);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 0);
}

static void a_name_that_is_taken_names_no_holder_of_a_cid(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = row_of('b', "web");
	struct vm_conflict conflict = {.cid_holder = "x"};

	put(f, 'a', "web", VM_STATE_RUNNING);
	row.guest_cid = CID;
	row.occupies = true;
	assert_fails(f, note_and_reserve(f->store, &row, 1, NULL, &conflict, &f->err),
	             VM_ERR_ALREADY_EXISTS);
	assert_string_equal(conflict.cid_holder, "");
}

static void saved_state_goes_on_with_its_cid_or_not_at_all(void **state)
{
	struct fixture *f = *state;
	struct vm_admission admission;

	put(f, 'a', "one", VM_STATE_STANDBY);
	put(f, 'b', "two", VM_STATE_STANDBY);
	assert_works(f, intend(f, 'a', false, &admission));
	assert_int_equal(admission.guest_cid, CID);
	/* About to run counts as running, and does not stand in its own way. */
	assert_fails(f, intend(f, 'b', false, &admission), VM_ERR_ALREADY_EXISTS);
	assert_string_equal(admission.conflict.cid_holder, "aaaaaaaaaaaaaaaaaaaaaaaa");
	assert_int_equal(sql(f, "SELECT count(*) FROM intent WHERE verb = 'restore'"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE occupies"), 1);
	assert_works(f, intend(f, 'a', false, &admission));
	assert_works(f, vm_store_forget_intent(f->store, "aaaaaaaaaaaaaaaaaaaaaaaa", false, NULL,
	                                       &f->err));
	assert_works(f, intend(f, 'b', false, &admission));
	assert_int_equal(cid_of(f, "two"), CID);
}

static void one_that_boots_keeps_its_cid_while_all_others_that_have_it_are_stopped(void **state)
{
	struct fixture *f = *state;
	struct vm_admission admission;

	put(f, 'a', "one", VM_STATE_STOPPED);
	put(f, 'b', "two", VM_STATE_STOPPED);
	assert_works(f, intend(f, 'a', true, &admission));
	assert_int_equal(admission.guest_cid, CID);
	assert_int_equal(cid_of(f, "one"), CID);
	/* The other one is about to run now. */
	assert_works(f, intend(f, 'b', true, &admission));
	assert_int_not_equal(admission.guest_cid, CID);
	assert_int_equal(cid_of(f, "two"), admission.guest_cid);
}

static void one_that_boots_takes_no_cid_that_somebody_will_need(void **state)
{
	static const enum vm_state needed[] = {VM_STATE_STANDBY, VM_STATE_RUNNING, VM_STATE_PAUSED,
	                                       VM_STATE_FAILED};
	struct fixture *f = *state;
	struct vm_admission admission;

	for (size_t i = 0; i < VM_ARRAY_LEN(needed); i++) {
		put(f, 'a', "boots", VM_STATE_STOPPED);
		put(f, 'b', "other", needed[i]);
		assert_works(f, intend(f, 'a', true, &admission));
		assert_int_not_equal(admission.guest_cid, CID);
		assert_int_equal(cid_of(f, "boots"), admission.guest_cid);
		assert_int_equal(cid_of(f, "other"), CID);
		sql(f, "DELETE FROM intent");
		sql(f, "DELETE FROM instance");
	}
}

static void one_without_a_vsock_has_no_cid_to_be_refused_for(void **state)
{
	struct fixture *f = *state;
	struct vm_admission admission;

	put(f, 'a', "one", VM_STATE_STANDBY);
	put(f, 'b', "two", VM_STATE_STANDBY);
	sql(f, "UPDATE instance SET guest_cid = NULL");
	for (int boots = 0; boots < 2; boots++) {
		assert_works(f, intend(f, 'a', boots, &admission));
		assert_works(f, intend(f, 'b', boots, &admission));
		assert_int_equal(admission.guest_cid, 0);
	}
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE guest_cid IS NULL"), 2);
}

/* What no code of ours may do, the schema refuses. */
static void the_schema_itself_lets_no_two_run_with_one_cid(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db = NULL;

	put(f, 'a', "one", VM_STATE_RUNNING);
	put(f, 'b', "two", VM_STATE_STANDBY);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE instance SET occupies = 1 WHERE name = 'two'",
	                              NULL, NULL, NULL),
	                 SQLITE_CONSTRAINT);
	sqlite3_close(db);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance WHERE occupies"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(many_that_rest_may_share_one_cid),
	        TEST(a_reservation_to_run_with_a_cid_in_use_is_refused_and_names_who_has_it),
	        TEST(two_of_one_request_cannot_run_with_one_cid),
	        TEST(a_name_that_is_taken_names_no_holder_of_a_cid),
	        TEST(saved_state_goes_on_with_its_cid_or_not_at_all),
	        TEST(one_that_boots_keeps_its_cid_while_all_others_that_have_it_are_stopped),
	        TEST(one_that_boots_takes_no_cid_that_somebody_will_need),
	        TEST(one_without_a_vsock_has_no_cid_to_be_refused_for),
	        TEST(the_schema_itself_lets_no_two_run_with_one_cid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
