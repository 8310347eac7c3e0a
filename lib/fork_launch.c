/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing forks up: slots are taken as late as possible and given back at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "alias.h"
#include "fork_impl.h"
#include "interrupt.h"
#include "slot.h"
#include "util.h"

/*
 * A load is mostly a wait for the kernel, so that few threads leave the CPUs idle: with two CPUs
 * 100 bare loads take a third less time by 16 threads than by 8, and little less by more
 * (test/bench/floor.c). More than there are slots would wait for each other.
 */
enum { THREADS_MIN = 16, THREADS_MAX = 32, THREADS_PER_CPU = 4 };

struct launch {
	struct vm_fork *fork;
	struct vm_slot_pool slots;
	atomic_size_t next;
	atomic_size_t ended; /* children that came up, or failed */
};

/* With clocks of this thread's own: the operation's are nobody's while many load. */
static int hold_alias(struct launch *launch, struct vm_child *child, struct vm_alias *alias,
                      struct vm_err *err)
{
	struct vm_fork *fork = launch->fork;
	struct vm_op own = *fork->op;
	int rc;

	own.lock_waited_us = 0;
	rc = vm_alias_prepare(&own, &child->row, child->dir_fd, fork->alias, fork->binary.path,
	                      alias, err);
	if (rc == 0)
		rc = vm_alias_lock(&own, alias, err);
	child->lock_waited_us = own.lock_waited_us;
	child->machine.alias = alias->path ? alias : NULL;
	child->message = vm_alias_message(alias);
	return rc;
}

static int load_child(struct launch *launch, struct vm_child *child, struct vm_err *err)
{
	VM_AUTO(vm_alias_release) struct vm_alias alias = VM_ALIAS_INIT;
	VM_AUTO(vm_slot_release) struct vm_slot slot = VM_SLOT_INIT;
	int rc = hold_alias(launch, child, &alias, err);

	if (rc == 0)
		rc = vm_slot_acquire(&launch->slots, vm_op_deadline(launch->fork->op), &slot,
		                     &child->slot_waited_us, err);
	/*
	 * Loaded and resumed in one call: a fresh fork has no standby that must be retired before
	 * its guest runs, and nobody knows it until it is published.
	 */
	if (rc == 0)
		rc = vm_driver_load(&child->machine, true, err);
	child->machine.alias = NULL; /* it ends here */
	child->machine.view = NULL;
	return rc;
}

static void launch_child(struct launch *launch, struct vm_child *child)
{
	struct vm_fork *fork = launch->fork;
	struct vm_err err = {0};

	child->machine = vm_held_machine(fork->op, &fork->source);
	child->machine.spec = vm_fork_spec(fork, (size_t)(child - fork->children));
	child->machine.id = child->row.id;
	child->machine.name = child->row.name;
	child->machine.guest_cid = child->row.guest_cid;
	child->machine.dir_fd = child->dir_fd;
	child->machine.binary = &fork->binary;
	if (vm_interrupt_check(&err) == 0) {
		if (vm_fork_with_memory(fork))
			load_child(launch, child, &err);
		else
			vm_driver_boot(&child->machine, &err);
	}
	if (err.code != VM_OK)
		child->err = vm_err_keep(&err);
}

/* How many have come to their end; of one alone there is nothing to tell. */
static void tell(const struct launch *launch, size_t ended)
{
	const struct vm_fork *fork = launch->fork;
	const struct vm_tell *told = fork->op->tell;
	char what[VM_FULL_NAME_MAX + 32];
	const struct vm_amount amount = {
	        .what = what, .unit = "forks", .done = ended, .total = fork->count};

	if (!told || fork->count == 1)
		return;
	snprintf(what, sizeof(what), "starting forks of %s", fork->source.row.name);
	told->amount(told->ctx, &amount);
}

static void *worker(void *arg)
{
	struct launch *launch = arg;

	for (;;) {
		size_t i = atomic_fetch_add(&launch->next, 1);

		if (i >= launch->fork->count)
			return NULL;
		launch_child(launch, &launch->fork->children[i]);
		tell(launch, atomic_fetch_add(&launch->ended, 1) + 1);
	}
}

static size_t thread_count(const struct launch *launch)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	size_t n = cpus > 0 ? (size_t)cpus * THREADS_PER_CPU : THREADS_PER_CPU;

	n = n > THREADS_MIN ? n : THREADS_MIN;
	n = n < THREADS_MAX ? n : THREADS_MAX;
	n = n < launch->slots.count ? n : launch->slots.count;
	return n < launch->fork->count ? n : launch->fork->count;
}

void vm_fork_launch(struct vm_fork *fork)
{
	struct launch launch = {.fork = fork, .slots = vm_op_slots(fork->op, fork->source.driver)};
	size_t wanted = thread_count(&launch), made = 0;
	pthread_t threads[THREADS_MAX];

	if (fork->op->progress)
		vm_op_progress(fork->op, "starting %zu fork%s", fork->count,
		               fork->count == 1 ? "" : "s");
	tell(&launch, 0);
	/* This thread is one of the workers: one fork, and a host out of threads, need no other. */
	while (made + 1 < wanted && pthread_create(&threads[made], NULL, worker, &launch) == 0)
		made++;
	worker(&launch);
	for (size_t i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	/* They have waited at the same time: the operation as long as the one that waited longest.
	 */
	for (size_t i = 0; i < fork->count; i++) {
		if (fork->children[i].slot_waited_us > fork->op->slot_waited_us)
			fork->op->slot_waited_us = fork->children[i].slot_waited_us;
	}
}
