/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of lock files: whose they are, and who inherits them. */
#include "store_fixture.h"

struct job {
	struct fixture *f;
	const char *letters; /* of the ids that are noted */
	atomic_int *done;    /* set when they are */
};

/* SQLite's connections must not cross fork(): a child has its own, and ours is closed meanwhile. */
static int note_and_wait(void *arg)
{
	const struct job *job = arg;
	struct vm_store *store;
	struct vm_err err = {0};

	if (vm_store_open(job->f->path, false, &store, &err) < 0)
		return 90;
	for (const char *letter = job->letters; *letter; letter++) {
		const struct vm_instance row = row_of(*letter, "");

		if (vm_store_note_locks(store, &row, 1, &err) < 0)
			return 91;
	}
	atomic_store(job->done, 1);
	for (;;)
		pause();
}

/* Another process, alive, that has noted the locks of these ids. */
static pid_t spawn_noter(struct fixture *f, const char *letters)
{
	struct job job = {f, letters, shared_memory(sizeof(*job.done))};
	pid_t pid;

	vm_store_close(f->store);
	f->store = NULL;
	pid = spawn(note_and_wait, &job);
	assert_true(wait_for(atomic_load(job.done)));
	assert_works(f, vm_store_open(f->path, false, &f->store, &f->err));
	munmap(job.done, sizeof(*job.done));
	return pid;
}

static void notes_of_the_dead_are_inherited_those_of_the_living_not(void **state)
{
	struct fixture *f = *state;
	const struct vm_instance mine[] = {row_of('b', ""), row_of('c', "")};
	char id[VM_ID_LEN + 1] = "", before[VM_ID_LEN + 1] = "";
	pid_t noter = spawn_noter(f, "bd");

	assert_works(f, vm_store_note_locks(f->store, mine, 2, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM lock_file"), 4);
	assert_int_equal(vm_store_take_stray_lock(f->store, id, &f->err), 0);
	kill_and_reap(noter);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vm_store_take_stray_lock(f->store, id, &f->err), 1);
		assert_true(id[0] == 'b' || id[0] == 'd');
		assert_string_not_equal(id, before);
		memcpy(before, id, sizeof(id));
	}
	/* They are ours now, one of them together with a note that we had. */
	assert_int_equal(vm_store_take_stray_lock(f->store, id, &f->err), 0);
	assert_int_equal(sql(f, "SELECT count(*) FROM lock_file"), 3);
}

/* Or a file that is about to be made again would have no note, if its maker is killed. */
static void nobody_forgets_another_s_note(void **state)
{
	struct fixture *f = *state;
	const struct vm_instance mine = row_of('b', "");
	char id[VM_ID_LEN + 1] = "";
	pid_t noter = spawn_noter(f, "b");

	assert_works(f, vm_store_note_locks(f->store, &mine, 1, &f->err));
	assert_works(f, vm_store_forget_lock(f->store, mine.id, &f->err));
	assert_int_equal(vm_store_take_stray_lock(f->store, id, &f->err), 0);
	kill_and_reap(noter);
	assert_int_equal(vm_store_take_stray_lock(f->store, id, &f->err), 1);
	assert_string_equal(id, mine.id);
	assert_works(f, vm_store_forget_lock(f->store, id, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM lock_file"), 0);
}

static void lock_files_are_noted_before_and_after_the_row_is_there(void **state)
{
	struct fixture *f = *state;
	struct vm_instance row = row_of('a', "web");
	struct vm_conflict conflict;

	/* Taken for dead and swept: what would be reserved has no lock any more. */
	assert_fails(f,
	             vm_store_reserve(f->store, &row, 1, true, "create", NULL, &conflict, &f->err),
	             VM_ERR_BUSY);
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 0);
	assert_works(f, reserve(f, &row, 1, NULL));
	assert_int_equal(sql(f, "SELECT count(*) FROM lock_file"), 0);
	assert_works(f, vm_store_delete(f->store, row.id, NULL, &f->err));
	assert_int_equal(sql(f, "SELECT count(*) FROM lock_file"), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(notes_of_the_dead_are_inherited_those_of_the_living_not),
	        TEST(nobody_forgets_another_s_note),
	        TEST(lock_files_are_noted_before_and_after_the_row_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
