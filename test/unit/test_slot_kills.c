/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL of processes at random moments of acquiring, holding and releasing a restore slot, under
 * the eyes of an observer that goes by what the kernel knows.
 *
 * Who is inside is counted by a System V semaphore with SEM_UNDO, whose value is one number for all
 * processes at one instant. The kernel takes a killed process out of it before it closes the
 * process's files: so the count is never too high, and what is counted twice was inside twice.
 */
#include "slot_fixture.h"

#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/stat.h>

enum { KILLS = 200, KILLS_PER_PHASE = 20, LOCKS_MAX = 256 * 1024 };

enum phase { OUTSIDE, ACQUIRING, HOLDING, RELEASING, PHASES };

struct watch {
	atomic_int stop;
	atomic_int failures;       /* of the workers */
	atomic_int most_inside;    /* by the semaphore */
	atomic_int most_locked;    /* slot files locked, by /proc/locks */
	atomic_int highest;        /* number of a locked slot file, + 1 */
	atomic_int phase[WORKERS]; /* of each worker */
	atomic_int holders;        /* of assert_all_usable_in_a_second() */
	atomic_int release;
};

struct kill_worker {
	struct fixture *fixture;
	struct watch *watch;
	int inside; /* the semaphore */
	int number;
	unsigned count;
	unsigned seed;
};

static int step(int semaphore, short by)
{
	struct sembuf op = {.sem_op = by, .sem_flg = SEM_UNDO};

	return semop(semaphore, &op, 1);
}

/* Naps are short and random: whoever is killed next shall be anywhere. */
static int one_round(const struct kill_worker *worker, unsigned *seed)
{
	struct vm_slot_pool pool = worker->fixture->pool;
	atomic_int *phase = &worker->watch->phase[worker->number];
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	pool.count = worker->count;
	atomic_store(phase, ACQUIRING);
	if (vm_slot_acquire(&pool, patience(), &slot, NULL, &err) != 0) {
		fprintf(stderr, "worker %d: %s\n", worker->number, err.message);
		return 1;
	}
	if (slot.index >= worker->count || step(worker->inside, 1) != 0)
		return 1;
	atomic_store(phase, HOLDING);
	nap_us(rand_r(seed) % 500);
	if (step(worker->inside, -1) != 0)
		return 1;
	atomic_store(phase, RELEASING);
	vm_slot_release(&slot);
	atomic_store(phase, OUTSIDE);
	return 0;
}

static int work_until_killed(void *arg)
{
	const struct kill_worker *worker = arg;
	unsigned seed = worker->seed;

	while (!atomic_load(&worker->watch->stop)) {
		if (one_round(worker, &seed) != 0) {
			atomic_fetch_add(&worker->watch->failures, 1);
			return 1;
		}
	}
	return 0;
}

/* --- the observer -------------------------------------------------------------------------------
 */

static void note(atomic_int *most, int now)
{
	if (now > atomic_load(most))
		atomic_store(most, now);
}

/* All of /proc/locks. What changes while it is read is there before or after. */
static void read_locks(char text[LOCKS_MAX + 1])
{
	int fd = open("/proc/locks", O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + used, LOCKS_MAX - used)) > 0)
		used += (size_t)n;
	if (fd >= 0)
		close(fd);
	text[used] = '\0';
}

static bool is_locked(const char *locks, ino_t inode)
{
	char end[32];

	snprintf(end, sizeof(end), ":%ju 0 EOF", (uintmax_t)inode);
	for (const char *line = locks; line && *line; line = strchr(line, '\n')) {
		const char *next = strchr(line += *line == '\n', '\n');
		const char *at = strstr(line, end);

		if (at && (!next || at < next) && strstr(line, "FLOCK") < at &&
		    strstr(line, "WRITE") && strstr(line, "WRITE") < at)
			return true;
	}
	return false;
}

static void look(const struct kill_worker *worker)
{
	static char locks[LOCKS_MAX + 1];
	struct watch *watch = worker->watch;
	int locked = 0;

	note(&watch->most_inside, semctl(worker->inside, 0, GETVAL));
	read_locks(locks);
	for (int i = 0; i < SLOTS_MAX; i++) {
		char name[32];
		struct stat st;

		snprintf(name, sizeof(name), "slot.test.%d", i);
		if (fstatat(worker->fixture->dir.fd, name, &st, 0) != 0 ||
		    !is_locked(locks, st.st_ino))
			continue;
		locked++;
		note(&watch->highest, i + 1);
	}
	note(&watch->most_locked, locked);
}

static int observe(void *arg)
{
	const struct kill_worker *worker = arg;

	while (!atomic_load(&worker->watch->stop))
		look(worker);
	return 0;
}

/* --- the tests ----------------------------------------------------------------------------------
 */

static struct kill_worker make_watch(struct fixture *f)
{
	struct kill_worker worker = {.fixture = f,
	                             .watch = shared_memory(sizeof(struct watch)),
	                             .inside = semget(IPC_PRIVATE, 1, 0600)};

	assert_true(worker.inside >= 0);
	assert_int_equal(semctl(worker.inside, 0, SETVAL, 0), 0);
	return worker;
}

static void drop_watch(const struct kill_worker *worker)
{
	semctl(worker->inside, 0, IPC_RMID);
	munmap(worker->watch, sizeof(*worker->watch));
}

static int hold_one_slot(void *arg)
{
	const struct kill_worker *worker = arg;
	struct vm_slot slot = VM_SLOT_INIT;
	struct vm_err err = {0};

	if (vm_slot_acquire(&worker->fixture->pool, vm_monotonic_ms() + 1000, &slot, NULL, &err) !=
	    0)
		return (int)err.code;
	atomic_fetch_add(&worker->watch->holders, 1);
	if (!wait_for(atomic_load(&worker->watch->release)))
		return 98;
	vm_slot_release(&slot);
	return 0;
}

/* N at once, each of which waits for a second at most, one more has none, and the tokens are right.
 */
static void assert_all_usable_in_a_second(struct kill_worker *worker)
{
	struct fixture *f = worker->fixture;
	pid_t pids[SLOTS_MAX];
	int n = (int)f->pool.count;

	for (int i = 0; i < n; i++)
		pids[i] = spawn(hold_one_slot, worker);
	assert_true(wait_for(atomic_load(&worker->watch->holders) == n));
	assert_int_equal(status_of(f).held, n);
	assert_none_left(f); /* which has settled */
	assert_int_equal(status_of(f).tokens, 0);
	atomic_store(&worker->watch->release, 1);
	for (int i = 0; i < n; i++)
		assert_exits(pids[i], 0);
	assert_int_equal(status_of(f).held, 0);
	assert_int_equal(status_of(f).tokens, n);
}

struct storm {
	struct kill_worker workers[WORKERS];
	pid_t pids[WORKERS];
	int killed[PHASES];
	int per_phase; /* so many kills at least in each */
	unsigned seed;
};

static void spawn_worker(struct storm *storm, int i)
{
	atomic_store(&storm->workers[i].watch->phase[i], OUTSIDE);
	storm->workers[i].seed = (unsigned)rand_r(&storm->seed);
	storm->pids[i] = spawn(work_until_killed, &storm->workers[i]);
}

static bool enough(const struct storm *storm)
{
	int all = 0;

	for (int phase = ACQUIRING; phase < PHASES; phase++) {
		if (storm->killed[phase] < storm->per_phase)
			return false;
		all += storm->killed[phase];
	}
	return all >= KILLS;
}

/* Kills until all phases have had enough of it; half of the time it waits for one of them. */
static bool kill_many(struct storm *storm)
{
	int64_t deadline = patience();

	while (!enough(storm) && vm_monotonic_ms() < deadline) {
		int victim = rand_r(&storm->seed) % WORKERS;
		int wanted = ACQUIRING + rand_r(&storm->seed) % (PHASES - ACQUIRING);
		atomic_int *phase = &storm->workers[victim].watch->phase[victim];

		nap_us(rand_r(&storm->seed) % 2000);
		for (int i = 0; i < 10000 && rand_r(&storm->seed) % 2 && *phase != wanted; i++)
			sched_yield();
		kill_and_reap(storm->pids[victim]);
		storm->killed[atomic_load(phase)]++;
		spawn_worker(storm, victim);
	}
	return enough(storm);
}

/* Workers of two numbers of slots, or of the same twice. */
static void run_storm(struct fixture *f, unsigned count, unsigned odd_count)
{
	/* With one slot most are waiting, and each lost token stops all of them for a slice. */
	struct storm storm = {.seed = (unsigned)getpid(),
	                      .per_phase = count == 1 ? 1 : KILLS_PER_PHASE};
	struct kill_worker watcher = make_watch(f);
	int limit = (int)(count > odd_count ? count : odd_count);
	struct watch *watch = watcher.watch;
	pid_t observer = spawn(observe, &watcher);
	bool done;

	for (int i = 0; i < WORKERS; i++) {
		storm.workers[i] = watcher;
		storm.workers[i].number = i;
		storm.workers[i].count = i % 2 ? odd_count : count;
		spawn_worker(&storm, i);
	}
	done = kill_many(&storm);
	for (int i = 0; i < WORKERS; i++)
		kill_and_reap(storm.pids[i]);
	atomic_store(&watch->stop, 1);
	assert_exits(observer, 0);
	if (!done)
		fprintf(stderr, "kills: %d acquiring, %d holding, %d releasing\n",
		        storm.killed[ACQUIRING], storm.killed[HOLDING], storm.killed[RELEASING]);
	assert_true(done);
	assert_int_equal(atomic_load(&watch->failures), 0);
	assert_in_range(atomic_load(&watch->most_inside), 1, limit);
	assert_in_range(atomic_load(&watch->most_locked), 0, limit);
	assert_in_range(atomic_load(&watch->highest), 0, limit);
	assert_int_equal(semctl(watcher.inside, 0, GETVAL), 0);
	f->pool.count = count;
	assert_all_usable_in_a_second(&watcher);
	drop_watch(&watcher);
}

static void two_hundred_kills_let_in_none_too_many_and_lose_no_slot(void **state)
{
	run_storm(*state, 3, 3);
}

static void nor_do_they_with_one_slot(void **state)
{
	run_storm(*state, 1, 1);
}

static void nor_while_the_number_of_slots_changes_all_the_time(void **state)
{
	run_storm(*state, 2, 5);
}

/* Without a slot: locks the file of its number and says that it is inside. */
static int intrude(void *arg)
{
	const struct kill_worker *worker = arg;
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "slot.test.%d", worker->number);
	fd = openat(worker->fixture->dir.fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || vm_flock_until(fd, LOCK_EX, patience(), &(struct vm_err){0}) != 0 ||
	    step(worker->inside, 1) != 0)
		return 1;
	atomic_fetch_add(&worker->watch->holders, 1);
	return wait_for(atomic_load(&worker->watch->release)) ? 0 : 98;
}

static void the_observer_sees_one_too_many(void **state)
{
	struct kill_worker watcher = make_watch(*state);
	struct watch *watch = watcher.watch;
	struct kill_worker intruders[4];
	pid_t pids[4];

	for (int i = 0; i < 4; i++) {
		intruders[i] = watcher;
		intruders[i].number = i;
		pids[i] = spawn(intrude, &intruders[i]);
	}
	assert_true(wait_for(atomic_load(&watch->holders) == 4));
	look(&watcher);
	assert_int_equal(atomic_load(&watch->most_inside), 4);
	assert_int_equal(atomic_load(&watch->most_locked), 4);
	assert_int_equal(atomic_load(&watch->highest), 4);
	/* And no more once they are killed. */
	for (int i = 0; i < 4; i++)
		kill_and_reap(pids[i]);
	atomic_store(&watch->most_locked, 0);
	look(&watcher);
	assert_int_equal(semctl(watcher.inside, 0, GETVAL), 0);
	assert_int_equal(atomic_load(&watch->most_locked), 0);
	drop_watch(&watcher);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(the_observer_sees_one_too_many),
	        TEST(two_hundred_kills_let_in_none_too_many_and_lose_no_slot),
	        TEST(nor_do_they_with_one_slot),
	        TEST(nor_while_the_number_of_slots_changes_all_the_time),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
