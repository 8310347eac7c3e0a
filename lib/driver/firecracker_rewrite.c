/* SPDX-License-Identifier: Apache-2.0 */
/* A state with other paths and another guest CID: a copy in which nothing else differs. */
#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../util.h"
#include "firecracker_paths_impl.h"

enum {
	LENGTH_BYTES = 8,       /* of a bincode string */
	SHORT_LENGTH_MAX = 254, /* of a bitcode string, in one byte */
	EDITS_MAX = 2 * (VM_FC_DRIVES_MAX + 3) + 1,
};

/* One span of the state that is replaced. */
struct edit {
	size_t at, old_len, new_len;
	uint8_t small[VM_FC_CID_SIZE]; /* a length, or a CID */
	char *text;                    /* a path, owned; else NULL */
};

struct edits {
	struct edit list[EDITS_MAX];
	size_t count;
};

static void edits_free(struct edits *edits)
{
	for (size_t i = 0; i < edits->count; i++)
		free(edits->list[i].text);
}

bool vm_fc_pad(const char *path, size_t len, char *buf)
{
	size_t own = strlen(path), pad = len - own;

	if (own == 0 || path[0] == '/' || own > len || pad == 1)
		return false;
	/* "./" as often as it fits, and one "/" more where one byte is left. */
	for (size_t i = 0; i < pad; i++)
		buf[i] = i % 2 == 0 ? '.' : '/';
	if (pad % 2 == 1) {
		buf[pad - 1] = '/';
		buf[pad - 2] = '/';
		buf[pad - 3] = '.';
	}
	memcpy(buf + pad, path, own + 1);
	return true;
}

static struct edit *add(struct edits *edits, size_t at, size_t old_len, size_t new_len)
{
	struct edit *edit = &edits->list[edits->count++];

	assert(edits->count <= EDITS_MAX);
	*edit = (struct edit){.at = at, .old_len = old_len, .new_len = new_len};
	return edit;
}

/* The length in front of a path whose length changes. */
static int edit_length(struct edits *edits, const struct vm_fc_state *st,
                       const struct vm_state_path *path, size_t len, struct vm_err *err)
{
	struct edit *edit;

	if (st->info.encoding == VM_FC_BINCODE) {
		uint64_t raw = htole64(len);

		edit = add(edits, path->length_at, LENGTH_BYTES, LENGTH_BYTES);
		memcpy(edit->small, &raw, sizeof(raw));
		return 0;
	}
	if (path->length_at == 0 || len > SHORT_LENGTH_MAX) {
		vm_err_set(err, VM_ERR_UNSUPPORTED,
		           "the recorded path '%.300s' has %zu bytes, and cannot become one of %zu",
		           path->text, strlen(path->text), len);
		return vm_err_hint(err, "a shorter or equally long path fits");
	}
	edit = add(edits, path->length_at, 1, 1);
	edit->small[0] = (uint8_t)len;
	return 0;
}

/* One path. Padded to the recorded length where that is possible, so that nothing else moves. */
static int edit_path(struct edits *edits, const struct vm_fc_state *st,
                     const struct vm_state_path *path, const char *text, struct vm_err *err)
{
	size_t old_len = strlen(path->text), len = strlen(text);
	size_t limit = path->kind == VM_STATE_VSOCK ? VM_FC_UDS_MAX : VM_FC_PATH_MAX;
	struct edit *edit;

	if (len == 0 || len > limit)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "the new path of a %s must have 1 to %zu bytes, not %zu",
		                  vm_state_path_kind_name(path->kind), limit, len);
	if (len < old_len && text[0] != '/' && old_len - len != 1)
		len = old_len;
	if (len != old_len && edit_length(edits, st, path, len, err) < 0)
		return -1;
	edit = add(edits, path->at, old_len, len);
	edit->text = vm_calloc(1, len + 1, err);
	if (!edit->text)
		return -1;
	if (!vm_fc_pad(text, len, edit->text))
		memcpy(edit->text, text, len + 1);
	return 0;
}

static int collect(struct edits *edits, const struct vm_fc_state *st,
                   const struct vm_state_info *info, const char *const *texts, uint64_t new_cid,
                   struct vm_err *err)
{
	for (size_t i = 0; i < info->count; i++) {
		if (texts && texts[i] && edit_path(edits, st, &info->paths[i], texts[i], err) < 0)
			return -1;
	}
	if (new_cid != 0) {
		uint8_t old[VM_FC_CID_SIZE];
		size_t old_len = vm_fc_state_encode_cid(st->info.encoding, info->guest_cid, old);
		struct edit *edit = add(edits, info->cid_at, old_len, 0);

		edit->new_len = vm_fc_state_encode_cid(st->info.encoding, new_cid, edit->small);
		/* As wide as need be is how it is written; a wider one is not believed. */
		if (memcmp(st->bytes + info->cid_at, old, old_len) != 0)
			return vm_err_set(
			        err, VM_ERR_INCOMPATIBLE,
			        "the guest CID at offset %zu is not encoded as Firecracker "
			        "does",
			        info->cid_at);
	}
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct edit *left = a, *right = b;

	return left->at < right->at ? -1 : left->at > right->at;
}

/* The copy, with its new trailer. */
static int apply(const struct vm_fc_state *st, struct edits *edits, uint8_t **ret, size_t *ret_len,
                 struct vm_err *err)
{
	size_t from = 0, to = 0, len = st->end + VM_FC_TRAILER;
	uint64_t crc;
	uint8_t *copy;

	if (edits->count > 1)
		qsort(edits->list, edits->count, sizeof(edits->list[0]), by_place);
	for (size_t i = 0; i < edits->count; i++)
		len = len - edits->list[i].old_len + edits->list[i].new_len;
	copy = vm_calloc(1, len, err);
	if (!copy)
		return -1;
	for (size_t i = 0; i < edits->count; i++) {
		const struct edit *edit = &edits->list[i];

		assert(edit->at >= from && edit->at + edit->old_len <= st->end);
		memcpy(copy + to, st->bytes + from, edit->at - from);
		to += edit->at - from;
		memcpy(copy + to, edit->text ? (const void *)edit->text : edit->small,
		       edit->new_len);
		to += edit->new_len;
		from = edit->at + edit->old_len;
	}
	memcpy(copy + to, st->bytes + from, st->end - from);
	crc = htole64(vm_fc_state_crc(copy, len - VM_FC_TRAILER));
	memcpy(copy + len - VM_FC_TRAILER, &crc, sizeof(crc));
	*ret = copy;
	*ret_len = len;
	return 0;
}

/* Whether a path, with all that is said beside it, is as it was but for its text. */
static bool same_path(const struct vm_state_path *before, const struct vm_state_path *now,
                      const char *text)
{
	size_t old_len = strlen(before->text), len = text ? strlen(text) : 0;
	char padded[VM_FC_PATH_MAX + 1];

	if (before->kind != now->kind || strcmp(before->id, now->id) != 0 ||
	    before->root != now->root || before->read_only != now->read_only)
		return false;
	if (!text)
		return strcmp(before->text, now->text) == 0;
	return strcmp(now->text, text) == 0 || (len < old_len && vm_fc_pad(text, old_len, padded) &&
	                                        strcmp(now->text, padded) == 0);
}

/* What was written is read by the road that every later reader takes. */
static int verify(const uint8_t *copy, size_t len, const struct vm_state_info *before,
                  const char *const *texts, uint64_t new_cid, struct vm_err *err)
{
	struct vm_state_info now = {0};
	bool same;

	if (vm_fc_describe(copy, len, &now, err) < 0)
		return vm_err_wrap(err, "checking the rewritten state");
	same = now.count == before->count && now.memory_bytes == before->memory_bytes &&
	       now.guest_cid == (new_cid ? new_cid : before->guest_cid) &&
	       strcmp(now.format, before->format) == 0;
	for (size_t i = 0; same && i < now.count; i++)
		same = same_path(&before->paths[i], &now.paths[i], texts ? texts[i] : NULL);
	vm_state_info_free(&now);
	return same ? 0
	            : vm_err_set(err, VM_ERR_INCOMPATIBLE,
	                         "the rewritten state does not say what it should");
}

static int check_cid(const struct vm_state_info *info, uint64_t new_cid, struct vm_err *err)
{
	if (new_cid == 0)
		return 0;
	if (new_cid < VM_FC_CID_MIN || new_cid >= UINT32_MAX)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "%" PRIu64 " is no guest CID: it must be from %d to %u", new_cid,
		                  VM_FC_CID_MIN, UINT32_MAX - 1);
	if (info->guest_cid == 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the state holds no vsock, and so no CID");
	return 0;
}

int vm_fc_rewrite(const void *data, size_t len, const struct vm_state_info *info,
                  const char *const *texts, uint64_t new_cid, void **ret_data, size_t *ret_len,
                  struct vm_err *err)
{
	VM_AUTO_FREE uint8_t *copy = NULL;
	VM_AUTO_FREE struct edits *edits = vm_calloc(1, sizeof(*edits), err);
	struct vm_fc_state st = {0};
	size_t copy_len = 0;
	int rc;

	if (!edits)
		return -1;
	if (check_cid(info, new_cid, err) < 0 || vm_fc_state_open(data, len, &st, err) < 0)
		return -1;
	rc = collect(edits, &st, info, texts, new_cid, err);
	if (rc == 0)
		rc = apply(&st, edits, &copy, &copy_len, err);
	edits_free(edits);
	if (rc < 0 || verify(copy, copy_len, info, texts, new_cid, err) < 0)
		return -1;
	*ret_data = vm_take_ptr(&copy);
	*ret_len = copy_len;
	return 0;
}
