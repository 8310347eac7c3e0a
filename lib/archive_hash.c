/* SPDX-License-Identifier: Apache-2.0 */
#include "archive_impl.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "util.h"

struct vm_archive_hash {
	XXH3_state_t *state;
};

struct vm_archive_hash *vm_archive_hash_new(struct vm_err *err)
{
	struct vm_archive_hash *hash = vm_calloc(1, sizeof(*hash), err);

	if (!hash)
		return NULL;
	hash->state = XXH3_createState();
	if (!hash->state) {
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
		vm_archive_hash_free(&hash);
		return NULL;
	}
	return hash;
}

void vm_archive_hash_free(struct vm_archive_hash **hash)
{
	if (*hash)
		XXH3_freeState((*hash)->state);
	free(*hash);
	*hash = NULL;
}

bool vm_archive_is_zero(const void *data, size_t len)
{
	const unsigned char *bytes = data;

	/* All are zero when the first is and each is like the one before it. */
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void add_number(struct vm_archive_hash *hash, uint64_t number)
{
	uint64_t bytes = htole64(number);

	XXH3_128bits_update(hash->state, &bytes, sizeof(bytes));
}

void vm_archive_hash_begin(struct vm_archive_hash *hash)
{
	XXH3_128bits_reset(hash->state);
}

void vm_archive_hash_block(struct vm_archive_hash *hash, uint64_t index, const void *data,
                           size_t len)
{
	if (vm_archive_is_zero(data, len))
		return;
	add_number(hash, index);
	XXH3_128bits_update(hash->state, data, len);
}

void vm_archive_hash_end(struct vm_archive_hash *hash, uint64_t size_bytes,
                         char ret_sum[VM_ARCHIVE_SUM_LEN + 1])
{
	XXH128_hash_t sum;

	add_number(hash, size_bytes);
	sum = XXH3_128bits_digest(hash->state);
	snprintf(ret_sum, VM_ARCHIVE_SUM_LEN + 1, "%016jx%016jx", (uintmax_t)sum.high64,
	         (uintmax_t)sum.low64);
}

void vm_archive_hash_all(struct vm_archive_hash *hash, const void *data, size_t len,
                         char ret_sum[VM_ARCHIVE_SUM_LEN + 1])
{
	const char *bytes = data;

	vm_archive_hash_begin(hash);
	for (size_t at = 0; at < len; at += VM_ARCHIVE_BLOCK_BYTES) {
		size_t left = len - at;

		vm_archive_hash_block(hash, at / VM_ARCHIVE_BLOCK_BYTES, bytes + at,
		                      left < VM_ARCHIVE_BLOCK_BYTES ? left
		                                                    : VM_ARCHIVE_BLOCK_BYTES);
	}
	vm_archive_hash_end(hash, len, ret_sum);
}
