/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of a state with other paths and another guest CID. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "firecracker_state_impl.h"
#include "state.h"
#include "util.h"

/* Bytes of the state, and what stands in their place in the copy. */
struct edit {
	size_t offset, size;
	const uint8_t *bytes;
	size_t len;
};

struct rewrite {
	struct vm_fc_state state;
	struct vm_fc_walk walk; /* owns the edits' bytes too */
	struct vm_state_info info;
	const char **texts; /* of each noted field: what it becomes, or NULL */
	uint64_t guest_cid; /* 0: as it is */
	struct edit *edits; /* in the order of their offsets, without overlap */
	size_t edit_count;
};

static void rewrite_free(struct rewrite *rewrite)
{
	free(rewrite->edits);
	free(rewrite->texts);
	vm_state_info_free(&rewrite->info);
	vm_fc_walk_free(&rewrite->walk);
}

/* --- what is asked for --------------------------------------------------------------------------
 */

static int check_text(const struct vm_state_path *path, const char *text, struct vm_err *err)
{
	size_t max = path->kind == VM_STATE_VSOCK ? VM_FC_UDS_PATH_MAX : VM_FC_PATH_MAX;
	size_t len = strlen(text);
	json_t *json;

	if (len == 0 || len > max)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "the new %s path has %zu bytes: it must have 1 to %zu",
		                  vm_state_path_kind_name(path->kind), len, max);
	json = json_string(text);
	if (!json)
		return vm_err_set(err, VM_ERR_USAGE, "the new %s path is not UTF-8 text",
		                  vm_state_path_kind_name(path->kind));
	json_decref(json);
	return 0;
}

/* The noted field that a path is. */
static size_t field_of(const struct rewrite *rewrite, const struct vm_state_path *path)
{
	size_t i = 0;

	while (i < rewrite->walk.field_count && rewrite->walk.fields[i].offset != path->at)
		i++;
	return i;
}

static int take_text(struct rewrite *rewrite, const struct vm_state_path *path, const char *text,
                     struct vm_err *err)
{
	size_t field = field_of(rewrite, path), len = strlen(path->text);
	char *fitted;

	if (path->kind == VM_STATE_BOOT_ARGS || field == rewrite->walk.field_count)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "'%s' is a path of the boot arguments: it means a file of the "
		                  "guest and is not changed",
		                  path->text);
	if (check_text(path, text, err) < 0)
		return -1;
	fitted = vm_fc_walk_alloc(&rewrite->walk, (strlen(text) > len ? strlen(text) : len) + 1, 1,
	                          err);
	if (!fitted)
		return -1;
	if (!vm_state_pad(text, len, fitted))
		memcpy(fitted, text, strlen(text) + 1);
	rewrite->texts[field] = fitted;
	return 0;
}

static int take_changes(struct rewrite *rewrite, const struct vm_state_info *info,
                        const char *const *texts, struct vm_err *err)
{
	rewrite->texts = vm_calloc(rewrite->walk.field_count, sizeof(*rewrite->texts), err);
	if (!rewrite->texts)
		return -1;
	if (info->count != rewrite->info.count || info->guest_cid != rewrite->info.guest_cid)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "what is to be changed was described from another state file");
	for (size_t i = 0; i < info->count && texts; i++) {
		if (texts[i] && take_text(rewrite, &rewrite->info.paths[i], texts[i], err) < 0)
			return -1;
	}
	if (rewrite->guest_cid == 0)
		return 0;
	if (rewrite->info.guest_cid == 0)
		return vm_err_set(err, VM_ERR_INCOMPATIBLE,
		                  "the state is of a microVM without vsock: there is no guest CID "
		                  "to change");
	return vm_fc_state_check_cid(rewrite->guest_cid, err);
}

/* --- which bytes change -------------------------------------------------------------------------
 */

static void add_edit(struct rewrite *rewrite, size_t offset, size_t size, const void *bytes,
                     size_t len)
{
	if (size == len && memcmp(rewrite->state.bytes + offset, bytes, len) == 0)
		return;
	rewrite->edits[rewrite->edit_count++] =
	        (struct edit){.offset = offset, .size = size, .bytes = bytes, .len = len};
}

static size_t new_size(const struct rewrite *rewrite, size_t field)
{
	return rewrite->texts[field] ? strlen(rewrite->texts[field])
	                             : rewrite->walk.fields[field].size;
}

static bool is_text(const struct vm_fc_field *field)
{
	switch (field->mark) {
	case VM_FC_KERNEL:
	case VM_FC_INITRD:
	case VM_FC_BOOT_ARGS:
	case VM_FC_DISK_ID:
	case VM_FC_DISK_PATH:
	case VM_FC_PMEM_ID:
	case VM_FC_PMEM_PATH:
	case VM_FC_UDS_PATH:
		return true;
	default:
		return false;
	}
}

/* The lengths of a column's texts, once any of them changes. */
static int edit_lengths(struct rewrite *rewrite, size_t number, struct vm_err *err)
{
	const struct vm_fc_column *column = &rewrite->walk.columns[number];
	uint64_t lengths[VM_FC_TEXTS_MAX];
	size_t count = 0, size;
	bool change = false;
	uint8_t *packed;

	for (size_t i = 0; i < rewrite->walk.field_count; i++) {
		const struct vm_fc_field *field = &rewrite->walk.fields[i];

		if (!is_text(field) || field->column != number || count == VM_FC_TEXTS_MAX)
			continue;
		lengths[count++] = new_size(rewrite, i);
		change = change || new_size(rewrite, i) != field->size;
	}
	if (!change)
		return 0;
	if (count != column->count)
		return vm_err_set(err, VM_ERR_UNSUPPORTED,
		                  "the state has %zu paths of a kind: the lengths of at most %d "
		                  "can be changed",
		                  column->count, VM_FC_TEXTS_MAX);
	packed = vm_fc_walk_alloc(&rewrite->walk, VM_FC_LENGTHS_MAX, 1, err);
	if (!packed)
		return -1;
	if (rewrite->state.info.encoding == VM_FC_BITCODE) {
		size = vm_fc_pack_lengths(lengths, count, packed);
	} else {
		vm_fc_write_le64(packed, lengths[0]);
		size = sizeof(uint64_t);
	}
	add_edit(rewrite, column->offset, column->size, packed, size);
	return 0;
}

static int edit_field(struct rewrite *rewrite, size_t i, struct vm_err *err)
{
	const struct vm_fc_field *field = &rewrite->walk.fields[i];
	uint8_t *cid;

	if (rewrite->texts[i])
		add_edit(rewrite, field->offset, field->size, rewrite->texts[i],
		         strlen(rewrite->texts[i]));
	if (field->mark != VM_FC_GUEST_CID || rewrite->guest_cid == 0 ||
	    rewrite->guest_cid == field->value)
		return 0;
	cid = vm_fc_walk_alloc(&rewrite->walk, 9, 1, err);
	if (!cid)
		return -1;
	add_edit(rewrite, field->offset, field->size, cid,
	         vm_fc_state_encode_cid(rewrite->state.info.encoding, rewrite->guest_cid, cid));
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct edit *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int make_edits(struct rewrite *rewrite, struct vm_err *err)
{
	const struct vm_fc_walk *walk = &rewrite->walk;

	rewrite->edits =
	        vm_calloc(2 * walk->field_count + walk->column_count, sizeof(*rewrite->edits), err);
	if (!rewrite->edits)
		return -1;
	for (size_t i = 0; i < walk->column_count; i++) {
		if (edit_lengths(rewrite, i, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < walk->field_count; i++) {
		if (edit_field(rewrite, i, err) < 0)
			return -1;
	}
	qsort(rewrite->edits, rewrite->edit_count, sizeof(*rewrite->edits), by_offset);
	return 0;
}

/* --- the copy -----------------------------------------------------------------------------------
 */

static uint8_t *make_copy(const struct rewrite *rewrite, size_t *ret_len, struct vm_err *err)
{
	size_t len = rewrite->state.end + VM_FC_TRAILER_LEN, from = 0, to = 0;
	uint8_t *copy;

	for (size_t i = 0; i < rewrite->edit_count; i++)
		len = len - rewrite->edits[i].size + rewrite->edits[i].len;
	copy = vm_calloc(len, 1, err);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < rewrite->edit_count; i++) {
		const struct edit *edit = &rewrite->edits[i];

		memcpy(copy + to, rewrite->state.bytes + from, edit->offset - from);
		to += edit->offset - from;
		memcpy(copy + to, edit->bytes, edit->len);
		to += edit->len;
		from = edit->offset + edit->size;
	}
	memcpy(copy + to, rewrite->state.bytes + from, rewrite->state.end - from);
	to += rewrite->state.end - from;
	vm_fc_write_le64(copy + to, vm_fc_state_crc(copy, to));
	*ret_len = len;
	return copy;
}

static int not_as_meant(const char *what, size_t offset, struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_INCOMPATIBLE,
	                  "the rewritten state file does not read back: %s differs at offset %zu",
	                  what, offset);
}

static int compare_field(const struct rewrite *rewrite, size_t i, const struct vm_fc_walk *copy,
                         struct vm_err *err)
{
	const struct vm_fc_field *was = &rewrite->walk.fields[i], *is = &copy->fields[i];
	uint64_t value = was->value;

	if (was->mark == VM_FC_GUEST_CID && rewrite->guest_cid)
		value = rewrite->guest_cid;
	if (is->mark != was->mark || is->value != value || is->column != was->column)
		return not_as_meant("a field", is->offset, err);
	if (!is_text(was))
		return 0;
	if (is->size != new_size(rewrite, i) ||
	    memcmp(copy->bytes + is->offset,
	           rewrite->texts[i] ? (const uint8_t *)rewrite->texts[i]
	                             : rewrite->walk.bytes + was->offset,
	           is->size) != 0)
		return not_as_meant("a text", is->offset, err);
	return 0;
}

/* What is between the changes must be what it was, and no byte more or less. */
static int compare_rest(const struct rewrite *rewrite, const struct vm_fc_walk *copy,
                        struct vm_err *err)
{
	const uint8_t *was = rewrite->state.bytes;
	size_t from = 0, to = 0;

	for (size_t i = 0; i <= rewrite->edit_count; i++) {
		const struct edit *edit = i < rewrite->edit_count ? &rewrite->edits[i] : NULL;
		size_t gap = (edit ? edit->offset : rewrite->state.end) - from;

		if (gap > copy->end - to || memcmp(was + from, copy->bytes + to, gap) != 0)
			return not_as_meant("what was not to be changed", to, err);
		from += gap + (edit ? edit->size : 0);
		to += gap + (edit ? edit->len : 0);
		if (to > copy->end)
			return not_as_meant("the length", to, err);
	}
	return to == copy->end ? 0 : not_as_meant("the length", to, err);
}

/* Reads the copy by the road that every later reader takes. */
static int verify_copy(const struct rewrite *rewrite, const uint8_t *copy, size_t len,
                       struct vm_err *err)
{
	struct vm_fc_state state = {0};
	struct vm_fc_walk walk = {0};
	int rc;

	if (vm_fc_state_open(copy, len, &state, err) < 0 ||
	    vm_fc_state_walk(&state, &walk, err) < 0)
		return vm_err_wrap(err, "checking the rewritten state file");
	rc = compare_rest(rewrite, &walk, err);
	if (rc == 0 && walk.field_count != rewrite->walk.field_count)
		rc = not_as_meant("the structure", state.body, err);
	for (size_t i = 0; i < walk.field_count && rc == 0; i++)
		rc = compare_field(rewrite, i, &walk, err);
	vm_fc_walk_free(&walk);
	return rc;
}

static int run(struct rewrite *rewrite, const struct vm_state_info *info, const char *const *texts,
               uint8_t **ret, size_t *ret_len, struct vm_err *err)
{
	if (vm_fc_state_walk(&rewrite->state, &rewrite->walk, err) < 0 ||
	    vm_fc_state_read(&rewrite->state, &rewrite->walk, &rewrite->info, err) < 0 ||
	    take_changes(rewrite, info, texts, err) < 0 || make_edits(rewrite, err) < 0)
		return -1;
	*ret = make_copy(rewrite, ret_len, err);
	return *ret ? verify_copy(rewrite, *ret, *ret_len, err) : -1;
}

int vm_fc_state_rewrite(const void *data, size_t len, const struct vm_state_info *info,
                        const char *const *texts, uint64_t new_cid, void **ret_data,
                        size_t *ret_len, struct vm_err *err)
{
	VM_AUTO_FREE uint8_t *copy = NULL;
	struct rewrite rewrite = {.guest_cid = new_cid};
	size_t copy_len = 0;
	int rc;

	if (vm_fc_state_open(data, len, &rewrite.state, err) < 0)
		return -1;
	rc = run(&rewrite, info, texts, &copy, &copy_len, err);
	rewrite_free(&rewrite);
	if (rc < 0)
		return -1;
	*ret_data = vm_take_ptr(&copy);
	*ret_len = copy_len;
	return 0;
}
