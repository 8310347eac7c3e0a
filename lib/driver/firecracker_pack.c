/* SPDX-License-Identifier: Apache-2.0 */
/* bitcode's lengths, written as its encoder does: what was read and written again is the same. */
#include <assert.h>
#include <string.h>

#include "firecracker_layout.h"
#include "util.h"

const struct vm_fc_packing vm_fc_packings[VM_FC_PACKINGS] = {{0, 1}, {16, 2}, {6, 3},
                                                             {4, 4}, {3, 5},  {2, 8}};

static size_t packing_for(unsigned max)
{
	size_t packing = VM_FC_PACKINGS - 1;

	while (packing > 0 && max >= vm_fc_packings[packing].states)
		packing--;
	return packing;
}

static size_t pack_bytes(const uint8_t *values, size_t count, uint8_t *ret)
{
	unsigned min = UINT8_MAX, max = 0;
	size_t plain, less, states, per_byte, at = 0;

	if (count <= 2) {
		memcpy(ret, values, count);
		return count;
	}
	for (size_t i = 0; i < count; i++) {
		min = values[i] < min ? values[i] : min;
		max = values[i] > max ? values[i] : max;
	}
	plain = packing_for(max);
	less = packing_for(max - min);
	if (less > plain && count > 5) {
		ret[at++] = (uint8_t)(2 * less - 1);
		ret[at++] = (uint8_t)min;
		plain = less;
	} else {
		ret[at++] = (uint8_t)(2 * plain);
		min = 0;
	}
	states = vm_fc_packings[plain].states;
	per_byte = vm_fc_packings[plain].per_byte;
	for (size_t i = 0; i < count; i += per_byte) {
		size_t k = i + per_byte < count ? i + per_byte : count;
		unsigned packed = 0;

		while (k-- > i)
			packed = packed * (unsigned)states + values[k] - min;
		ret[at++] = (uint8_t)packed;
	}
	return at;
}

/* The narrowest of 8, 4, 2 and 1 byte, as its number. */
static size_t width_for(uint64_t max)
{
	size_t packing = 3;

	while (packing > 0 && max >> (64 >> packing) != 0)
		packing--;
	return packing;
}

static size_t put_little_endian(uint64_t value, size_t width, uint8_t *ret)
{
	for (size_t k = 0; k < width; k++)
		ret[k] = (uint8_t)(value >> (8 * k));
	return width;
}

static size_t pack_wide(const uint64_t *values, size_t count, uint8_t *ret)
{
	uint64_t min = UINT64_MAX, max = 0;
	uint8_t narrow[VM_FC_TEXTS_MAX];
	size_t plain, less, at = 0;

	for (size_t i = 0; i < count; i++) {
		min = values[i] < min ? values[i] : min;
		max = values[i] > max ? values[i] : max;
	}
	plain = width_for(max);
	less = width_for(max - min);
	if (less > plain && count > 5) {
		ret[at++] = (uint8_t)(2 * less - 1);
		at += put_little_endian(min, sizeof(min), ret + at);
		plain = less;
	} else {
		ret[at++] = (uint8_t)(2 * plain);
		min = 0;
	}
	for (size_t i = 0; i < count && plain < 3; i++)
		at += put_little_endian(values[i] - min, sizeof(min) >> plain, ret + at);
	for (size_t i = 0; i < count; i++)
		narrow[i] = (uint8_t)(values[i] - min);
	return plain < 3 ? at : at + pack_bytes(narrow, count, ret + at);
}

size_t vm_fc_pack_lengths(const uint64_t *lengths, size_t count, uint8_t *ret)
{
	uint64_t wide[VM_FC_TEXTS_MAX];
	uint8_t small[VM_FC_TEXTS_MAX] = {0};
	size_t large = 0, size;

	assert(count <= VM_FC_TEXTS_MAX);
	for (size_t i = 0; i < count; i++) {
		small[i] = lengths[i] < UINT8_MAX ? (uint8_t)lengths[i] : UINT8_MAX;
		if (small[i] == UINT8_MAX)
			wide[large++] = lengths[i];
	}
	size = pack_bytes(small, count, ret);
	return large ? size + pack_wide(wide, large, ret + size) : size;
}
