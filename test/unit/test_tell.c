/* SPDX-License-Identifier: Apache-2.0 */
/* What the library tells of long work and of waits, and that it tells nothing of what is short. */
#include "slot_fixture.h"

#include <sys/file.h>
#include <sys/stat.h>

#include "compress.h"
#include "fs.h"
#include "tell.h"

enum { MEGABYTE = 1 << 20 };

/* What was told, and a holder that lets go as soon as it is told of. */
struct heard {
	unsigned amounts, waits, overs;
	uint64_t first, done, total, largest_step;
	bool backwards;
	char what[256], note[VM_WAITING_NOTE];
	atomic_int *let_go;
};

static void hear_amount(void *ctx, const struct vm_amount *amount)
{
	struct heard *heard = ctx;

	if (heard->amounts++ == 0)
		heard->first = amount->done;
	else if (amount->done - heard->done > heard->largest_step)
		heard->largest_step = amount->done - heard->done;
	heard->backwards |= amount->done < heard->done;
	heard->done = amount->done;
	heard->total = amount->total;
	snprintf(heard->what, sizeof(heard->what), "%s", amount->what);
}

static void hear_wait(void *ctx, const struct vm_waiting *waiting)
{
	struct heard *heard = ctx;

	heard->waits += !waiting->over;
	heard->overs += waiting->over;
	snprintf(heard->what, sizeof(heard->what), "%s", waiting->what);
	snprintf(heard->note, sizeof(heard->note), "%s", waiting->note);
	if (heard->let_go)
		atomic_store(heard->let_go, 1);
}

static struct vm_tell listener(struct heard *heard, atomic_int *let_go)
{
	memset(heard, 0, sizeof(*heard));
	heard->let_go = let_go;
	return (struct vm_tell){.amount = hear_amount, .waiting = hear_wait, .ctx = heard};
}

static void assert_told_whole(const struct heard *heard, uint64_t total)
{
	assert_true(heard->amounts >= 2);
	assert_int_equal(heard->first, 0);
	assert_false(heard->backwards);
	assert_int_equal(heard->total, total);
	assert_int_equal(heard->done, total);
}

/* A file with data at these megabytes, and holes elsewhere. */
static int make_file(int dir, const char *name, off_t megabytes, const off_t *data, size_t count)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	VM_AUTO_FREE char *bytes = malloc(MEGABYTE);

	assert_true(fd >= 0 && bytes);
	assert_int_equal(ftruncate(fd, megabytes * MEGABYTE), 0);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < MEGABYTE; k++)
			bytes[k] = (char)(k * 7 + i + (k >> 11));
		assert_int_equal(pwrite(fd, bytes, MEGABYTE, data[i] * MEGABYTE), MEGABYTE);
	}
	return fd;
}

/* --- work ---------------------------------------------------------------------------------------
 */

static void a_copy_tells_its_data_and_not_its_holes(void **state)
{
	static const off_t data[] = {0, 1, 2, 3, 100, 101, 102, 103, 104, 990};
	const struct fixture *f = *state;
	int fd = make_file(f->dir.fd, "disk", 1000, data, VM_ARRAY_LEN(data));
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	struct vm_work job;
	enum vm_copy how;

	vm_work_init(&job, &tell, "copying disk %s of %s", "root", "web");
	assert_int_equal(vm_fs_copy(fd, f->dir.fd, "copy", 0600, &job, &how, &err), 0);
	if (how == VM_COPY_REFLINK) {
		assert_int_equal(heard.amounts, 0);
	} else {
		assert_told_whole(&heard, (uint64_t)10 * MEGABYTE);
		assert_string_equal(heard.what, "copying disk root of web");
	}
	close(fd);
}

static void a_small_file_or_one_for_nobody_is_copied_silently(void **state)
{
	static const off_t data[] = {0, 3, 6};
	const struct fixture *f = *state;
	int small = make_file(f->dir.fd, "small", 7, data, 3);
	int sparse = make_file(f->dir.fd, "sparse", 1000, data, 3);
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	struct vm_work job;
	enum vm_copy how;

	vm_work_init(&job, &tell, "small");
	assert_int_equal(vm_fs_copy(small, f->dir.fd, "a", 0600, &job, &how, &err), 0);
	vm_work_init(&job, &tell, "sparse");
	assert_int_equal(vm_fs_copy(sparse, f->dir.fd, "b", 0600, &job, &how, &err), 0);
	vm_work_init(&job, NULL, "nobody listens");
	assert_int_equal(vm_fs_copy(sparse, f->dir.fd, "c", 0600, &job, &how, &err), 0);
	assert_int_equal(vm_fs_copy(sparse, f->dir.fd, "d", 0600, NULL, &how, &err), 0);
	assert_int_equal(heard.amounts, 0);
	close(small);
	close(sparse);
}

static void completing_a_layer_tells_what_comes_from_below(void **state)
{
	static const off_t below[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22};
	static const off_t layer[] = {1, 2, 3, 30};
	const struct fixture *f = *state;
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	struct vm_work job;
	char bytes[2];
	int fd;

	close(make_file(f->dir.fd, "below", 40, below, VM_ARRAY_LEN(below)));
	fd = make_file(f->dir.fd, "layer", 40, layer, VM_ARRAY_LEN(layer));
	vm_work_init(&job, &tell, "completing");
	assert_int_equal(vm_fs_fill_holes(f->dir.fd, "below", f->dir.fd, "layer", &job, &err), 0);
	assert_told_whole(&heard, (uint64_t)10 * MEGABYTE);
	/* That of the layer stays, and what it had not is there. */
	assert_int_equal(pread(fd, &bytes[0], 1, MEGABYTE), 1);
	assert_int_equal(pread(fd, &bytes[1], 1, (off_t)22 * MEGABYTE), 1);
	assert_int_equal(bytes[0], 0);
	assert_int_equal(bytes[1], 12);
	close(fd);
}

static void compression_and_decompression_tell_how_far_they_are(void **state)
{
	static const off_t data[] = {0, 1, 2, 3, 4, 5, 20};
	const struct fixture *f = *state;
	const uint64_t size = (uint64_t)32 * MEGABYTE;
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	struct vm_work job;

	close(make_file(f->dir.fd, "memory", 32, data, VM_ARRAY_LEN(data)));
	vm_work_init(&job, &tell, "compressing");
	assert_int_equal(vm_compress_file(f->dir.fd, "memory", "packed", &job, &err), 0);
	assert_told_whole(&heard, size);
	assert_in_range(heard.largest_step, 1, 2 * VM_WORK_STEP_BYTES);
	tell = listener(&heard, NULL);
	vm_work_init(&job, &tell, "decompressing");
	assert_int_equal(vm_decompress_file(f->dir.fd, "packed", "again", size, &job, &err), 0);
	assert_told_whole(&heard, size);
	assert_in_range(heard.largest_step, 1, 2 * VM_WORK_STEP_BYTES);
	assert_int_equal(vm_compress_file(f->dir.fd, "memory", "other", NULL, &err), 0);
	assert_int_equal(vm_decompress_file(f->dir.fd, "other", "third", size, NULL, &err), 0);
}

/* --- waits --------------------------------------------------------------------------------------
 */

/* Holds the lock until it is told of. */
static int hold_lock(void *arg)
{
	const struct fixture *f = arg;
	int fd = openat(f->dir.fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || flock(fd, LOCK_EX) != 0)
		return 1;
	atomic_store(&f->shared->ready, 1);
	return wait_for(atomic_load(&f->shared->stop)) ? 0 : 2;
}

static void take_what_is_held(const struct fixture *f, const char *gate)
{
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, &f->shared->stop);
	int64_t waited_us = 0;
	const struct vm_lock_request request = {
	        .dir_fd = f->dir.fd,
	        .name = "lock",
	        .gate = gate,
	        .rank = VM_RANK_SOURCE,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .deadline_ms = patience(),
	        .create = true,
	        .what = "the thing",
	        .waited_us = &waited_us,
	        .tell = &tell,
	};
	pid_t holder;
	char pid[32];

	atomic_store(&f->shared->ready, 0);
	atomic_store(&f->shared->stop, 0);
	holder = spawn(hold_lock, (void *)f);
	assert_true(wait_for(atomic_load(&f->shared->ready)));
	if (vm_lock_take(&request, &lock, &err) != 0)
		fail_msg("%s", err.message);
	snprintf(pid, sizeof(pid), "held by pid %d (", (int)holder);
	assert_true(heard.waits >= 1);
	assert_int_equal(heard.overs, 1);
	assert_string_equal(heard.what, "the thing");
	assert_non_null(strstr(heard.note, pid));
	assert_true(waited_us > 0);
	vm_lock_release(&lock);
	assert_exits(holder, 0);
}

static void a_wait_for_a_lock_tells_who_has_it(void **state)
{
	const struct fixture *f = *state;

	take_what_is_held(f, NULL);
	take_what_is_held(f, "gate");
}

/* Behind a gate: it is the holder of the lock who is told of, not who waits in front of us. */
static int wait_alone(void *arg)
{
	const struct fixture *f = arg;
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};
	const struct vm_lock_request request = {
	        .dir_fd = f->dir.fd,
	        .name = "lock",
	        .gate = "gate",
	        .rank = VM_RANK_SOURCE,
	        .mode = VM_LOCK_EXCLUSIVE,
	        .deadline_ms = patience(),
	        .create = true,
	        .what = "the thing",
	};

	if (vm_lock_take(&request, &lock, &err) != 0)
		return 1;
	vm_lock_release(&lock);
	return 0;
}

static bool is_locked(const struct fixture *f, const char *name)
{
	VM_AUTO_CLOSE int fd = openat(f->dir.fd, name, O_RDWR | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0;
}

static void a_wait_in_the_queue_tells_who_has_the_lock_behind_the_gate(void **state)
{
	struct fixture *f = *state;
	struct heard heard;
	struct vm_tell tell = listener(&heard, &f->shared->stop);
	struct vm_lock lock = VM_LOCK_INIT;
	struct vm_err err = {0};
	const struct vm_lock_request request = {
	        .dir_fd = f->dir.fd,
	        .name = "lock",
	        .gate = "gate",
	        .rank = VM_RANK_SOURCE,
	        .mode = VM_LOCK_SHARED,
	        .deadline_ms = patience(),
	        .create = true,
	        .what = "the thing",
	        .tell = &tell,
	};
	pid_t holder = spawn(hold_lock, f), first;
	char pid[32];

	assert_true(wait_for(atomic_load(&f->shared->ready)));
	first = spawn(wait_alone, f);
	assert_true(wait_for(is_locked(f, "gate")));
	if (vm_lock_take(&request, &lock, &err) != 0)
		fail_msg("%s", err.message);
	snprintf(pid, sizeof(pid), "held by pid %d (", (int)holder);
	assert_true(heard.waits >= 1);
	assert_int_equal(heard.overs, heard.waits > 0);
	assert_non_null(strstr(heard.note, pid));
	vm_lock_release(&lock);
	assert_exits(holder, 0);
	assert_exits(first, 0);
}

static void a_wait_that_nobody_listens_to_ends_at_its_deadline_as_ever(void **state)
{
	struct fixture *f = *state;
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	int64_t deadline_ms;
	pid_t holder = spawn(hold_lock, f);

	assert_true(wait_for(atomic_load(&f->shared->ready)));
	for (int i = 0; i < 2; i++) {
		struct vm_lock lock = VM_LOCK_INIT;
		struct vm_err err = {0};
		struct vm_lock_request request = {.dir_fd = f->dir.fd,
		                                  .name = "lock",
		                                  .rank = VM_RANK_SOURCE,
		                                  .mode = VM_LOCK_SHARED,
		                                  .what = "the thing",
		                                  .tell = i ? &tell : NULL};

		deadline_ms = vm_monotonic_ms() + 450;
		request.deadline_ms = deadline_ms;
		assert_int_equal(vm_lock_take(&request, &lock, &err), -1);
		assert_int_equal(err.code, VM_ERR_BUSY);
		assert_true(vm_monotonic_ms() >= deadline_ms);
	}
	assert_true(heard.waits >= 1);
	assert_int_equal(heard.overs, 1);
	atomic_store(&f->shared->stop, 1);
	assert_exits(holder, 0);
}

static void a_wait_for_a_slot_tells_who_has_them_unless_it_is_we(void **state)
{
	struct fixture *f = *state;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, &f->shared->stop);
	char text[32];
	pid_t pids[3];

	spawn_holders(f, pids, 3);
	f->pool.tell = &tell;
	assert_int_equal(vm_slot_acquire(&f->pool, patience(), &slot, NULL, &err), 0);
	assert_true(heard.waits >= 1);
	assert_int_equal(heard.overs, 1);
	assert_string_equal(heard.what, "a restore slot");
	assert_non_null(strstr(heard.note, "all 3 are held, by pid "));
	snprintf(text, sizeof(text), "pid %d (", (int)pids[0]);
	assert_non_null(strstr(heard.note, text));
	vm_slot_release(&slot);
	for (int i = 0; i < 3; i++)
		assert_exits(pids[i], 0);
}

/* Holds the only slot in one thread, for another. */
struct own {
	struct fixture *fixture;
	atomic_int had, stop;
};

static void *hold_own(void *arg)
{
	struct own *own = arg;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	struct vm_slot_pool pool = own->fixture->pool;

	pool.tell = NULL;
	atomic_store(&own->had,
	             vm_slot_acquire(&pool, patience(), &slot, NULL, &err) == 0 ? 1 : -1);
	(void)wait_for(atomic_load(&own->stop));
	vm_slot_release(&slot);
	return NULL;
}

static void who_waits_for_slots_of_his_own_waits_for_nobody(void **state)
{
	struct fixture *f = *state;
	struct own own = {.fixture = f};
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};
	struct heard heard;
	struct vm_tell tell = listener(&heard, NULL);
	pthread_t thread;

	f->pool.count = 1;
	f->pool.tell = &tell;
	assert_int_equal(pthread_create(&thread, NULL, hold_own, &own), 0);
	assert_true(wait_for(atomic_load(&own.had) == 1));
	assert_int_equal(vm_slot_acquire(&f->pool, vm_monotonic_ms() + 500, &slot, NULL, &err), -1);
	assert_int_equal(err.code, VM_ERR_INSUFFICIENT_RESOURCES);
	assert_int_equal(heard.waits, 0);
	assert_int_equal(heard.overs, 0);
	atomic_store(&own.stop, 1);
	pthread_join(thread, NULL);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        WITH_FIXTURE(a_copy_tells_its_data_and_not_its_holes),
	        WITH_FIXTURE(a_small_file_or_one_for_nobody_is_copied_silently),
	        WITH_FIXTURE(completing_a_layer_tells_what_comes_from_below),
	        WITH_FIXTURE(compression_and_decompression_tell_how_far_they_are),
	        WITH_FIXTURE(a_wait_for_a_lock_tells_who_has_it),
	        WITH_FIXTURE(a_wait_in_the_queue_tells_who_has_the_lock_behind_the_gate),
	        WITH_FIXTURE(a_wait_that_nobody_listens_to_ends_at_its_deadline_as_ever),
	        WITH_FIXTURE(a_wait_for_a_slot_tells_who_has_them_unless_it_is_we),
	        WITH_FIXTURE(who_waits_for_slots_of_his_own_waits_for_nobody),
	};

	vm_interrupt_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
