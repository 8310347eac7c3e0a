/* SPDX-License-Identifier: Apache-2.0 */
/* What compilers call behind one's back even in freestanding code. */
#include "mem.h"

void *memset(void *to, int value, size_t size)
{
	void *end = to;

	__asm__ volatile("rep stosb" : "+D"(end), "+c"(size) : "a"(value) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	void *end = to;

	__asm__ volatile("rep movsb" : "+D"(end), "+S"(from), "+c"(size) : : "memory");
	return to;
}

void mem_fill64(void *to, uint64_t value, size_t words)
{
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}
