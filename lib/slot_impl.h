/* SPDX-License-Identifier: Apache-2.0 */
/* Private to lib/slot*.c: the names of things, and who counts the held files. */
#ifndef VM_SLOT_IMPL_H
#define VM_SLOT_IMPL_H

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "slot.h"

enum { NAME_SIZE = 96, VM_SLOT_COUNT_MAX = 1024 };

static inline void semaphore_name(const struct vm_slot_pool *pool, char name[NAME_SIZE])
{
	int n = snprintf(name, NAME_SIZE, "/vmctl-%s-%s", pool->root_id, pool->hypervisor);

	assert(n > 0 && n < NAME_SIZE && !strchr(name + 1, '/'));
	(void)n;
}

static inline void slot_name(const struct vm_slot_pool *pool, unsigned index, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "slot.%s.%u", pool->hypervisor, index);
}

/*
 * Which files are held now, and how many. May be more than the pool's count, after that was made
 * smaller. Creates nothing; holds up takers for an instant. Error: busy, system.
 */
int vm_slot_census(const struct vm_slot_pool *pool, bool ret_held[VM_SLOT_COUNT_MAX],
                   unsigned *ret_count, struct vm_err *err);
/*
 * For people, once no slot was free: "all 4 are held, by pid 4711 (...) and others", of whom some
 * are named. Whether any of those is somebody else than we.
 */
bool vm_slot_describe(const struct vm_slot_pool *pool, char *buf, size_t size);

#endif
