/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in single string instructions: a loop is what a slow, emulated guest has to avoid. */
#ifndef GUEST_MEM_H
#define GUEST_MEM_H

#include <stddef.h>
#include <stdint.h>

void *memset(void *to, int value, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
/* Fill @words 64-bit words at @to with @value. */
void mem_fill64(void *to, uint64_t value, size_t words);

#endif
