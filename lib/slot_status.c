/* SPDX-License-Identifier: Apache-2.0 */
/* Restore slots as those see them who only look. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slot_impl.h"
#include "util.h"

enum { LISTED_MAX = 3 };

static void close_semaphore(sem_t **semaphore)
{
	if (*semaphore)
		sem_close(*semaphore);
}

/* Value of the semaphore, -1 when it does not exist or cannot be read. */
static int count_tokens(const struct vm_slot_pool *pool)
{
	char name[NAME_SIZE];
	VM_AUTO(close_semaphore) sem_t *semaphore = NULL;
	int value = -1;

	semaphore_name(pool, name);
	semaphore = sem_open(name, 0);
	if (semaphore == SEM_FAILED)
		semaphore = NULL;
	if (semaphore && sem_getvalue(semaphore, &value) != 0)
		return -1;
	return value;
}

int vm_slot_status(const struct vm_slot_pool *pool, struct vm_slot_status *ret, struct vm_err *err)
{
	bool held[VM_SLOT_COUNT_MAX];
	unsigned count;

	if (vm_slot_census(pool, held, &count, err) < 0)
		return -1;
	*ret = (struct vm_slot_status){
	        .total = pool->count, .held = count, .tokens = count_tokens(pool)};
	return 0;
}

bool vm_slot_describe(const struct vm_slot_pool *pool, char *buf, size_t size)
{
	size_t used = (size_t)snprintf(buf, size, "all %u are held", pool->count);
	unsigned listed = 0;
	bool others = false;

	for (unsigned i = 0; i < pool->count && listed < LISTED_MAX && used < size; i++) {
		struct vm_lock_process holder;
		char name[NAME_SIZE], one[160];
		VM_AUTO_CLOSE int fd = -1;

		slot_name(pool, i, name);
		fd = openat(pool->run_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 || vm_lock_holders(fd, &holder, 1) == 0 ||
		    vm_lock_list_holders(fd, one, sizeof(one)) == 0)
			continue;
		others |= holder.pid != getpid();
		used += (size_t)snprintf(buf + used, size - used, "%s%s", listed ? "; " : ", by ",
		                         one);
		listed++;
	}
	if (pool->count > listed && listed > 0 && used < size)
		snprintf(buf + used, size - used, " and others");
	return others;
}

/* 1 and the holder of a slot's file; 0 when it has been let go meanwhile. */
static int find_holder(const struct vm_slot_pool *pool, unsigned index, struct vm_slot_holder *ret)
{
	VM_AUTO_CLOSE int fd = -1;
	char name[NAME_SIZE];
	struct stat st;

	slot_name(pool, index, name);
	fd = openat(pool->run_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || vm_lock_holders(fd, &ret->process, 1) == 0)
		return 0;
	ret->index = index;
	/* Whoever takes a slot touches its file. */
	ret->since_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
	return 1;
}

int vm_slot_holders(const struct vm_slot_pool *pool, struct vm_slot_status *ret_status,
                    struct vm_slot_holder **ret, size_t *ret_count, struct vm_err *err)
{
	VM_AUTO_FREE struct vm_slot_holder *holders = NULL;
	bool held[VM_SLOT_COUNT_MAX];
	unsigned count;
	size_t found = 0;

	if (vm_slot_census(pool, held, &count, err) < 0)
		return -1;
	holders = vm_calloc(count + 1, sizeof(*holders), err);
	if (!holders)
		return -1;
	/* Looking for them takes its time: nobody is held up for that. */
	for (unsigned i = 0; i < VM_SLOT_COUNT_MAX; i++)
		found += held[i] && find_holder(pool, i, &holders[found]);
	*ret_status = (struct vm_slot_status){
	        .total = pool->count, .held = count, .tokens = count_tokens(pool)};
	*ret = vm_take_ptr(&holders);
	*ret_count = found;
	return 0;
}
