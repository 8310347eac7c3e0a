/* SPDX-License-Identifier: Apache-2.0 */
/* What both walks share, and the walk through bincode. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "firecracker_layout.h"
#include "util.h"

int vm_fc_walk_stop(struct vm_fc_walk *walk, const char *why)
{
	walk->why = why;
	return 1;
}

static int out_of_memory(struct vm_err *err)
{
	return vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES,
	                  "out of memory while reading a state file");
}

/* Makes room for one more element of an array. */
static void *grow(void *array, size_t count, size_t *room, size_t size, struct vm_err *err)
{
	size_t more = *room ? 2 * *room : 32;
	void *grown;

	if (count < *room)
		return array;
	grown = reallocarray(array, more, size);
	if (!grown) {
		out_of_memory(err);
		return NULL;
	}
	*room = more;
	return grown;
}

int vm_fc_walk_note(struct vm_fc_walk *walk, const struct vm_fc_field *field, struct vm_err *err)
{
	struct vm_fc_field *fields;

	if (field->mark == VM_FC_UNMARKED)
		return 0;
	fields = grow(walk->fields, walk->field_count, &walk->field_room, sizeof(*fields), err);
	if (!fields)
		return -1;
	walk->fields = fields;
	walk->fields[walk->field_count++] = *field;
	return 0;
}

int vm_fc_walk_column(struct vm_fc_walk *walk, const struct vm_fc_column *column, size_t *ret,
                      struct vm_err *err)
{
	struct vm_fc_column *columns =
	        grow(walk->columns, walk->column_count, &walk->column_room, sizeof(*columns), err);

	if (!columns)
		return -1;
	walk->columns = columns;
	walk->columns[walk->column_count] = *column;
	*ret = walk->column_count++;
	return 0;
}

void *vm_fc_walk_alloc(struct vm_fc_walk *walk, size_t count, size_t size, struct vm_err *err)
{
	void **owned = grow(walk->owned, walk->owned_count, &walk->owned_room, sizeof(*owned), err);
	void *memory;

	if (!owned)
		return NULL;
	walk->owned = owned;
	memory = calloc(count ? count : 1, size);
	if (!memory) {
		out_of_memory(err);
		return NULL;
	}
	walk->owned[walk->owned_count++] = memory;
	return memory;
}

bool vm_fc_walk_has(const struct vm_fc_walk *walk, const struct vm_fc_type *field)
{
	return (field->with & ~walk->features) == 0 && (field->without & walk->features) == 0;
}

void vm_fc_walk_free(struct vm_fc_walk *walk)
{
	for (size_t i = 0; i < walk->owned_count; i++)
		free(walk->owned[i]);
	free(walk->owned);
	free(walk->fields);
	free(walk->columns);
	*walk = (struct vm_fc_walk){0};
}

/* --- bincode ------------------------------------------------------------------------------------
 * Everything in the order of the structure, integers in their full width, a length of 8 bytes
 * before texts, bytes and lists, a byte before options, four before choices.
 */

static int read_int(struct vm_fc_walk *walk, size_t size, uint64_t *ret)
{
	uint64_t value = 0;

	if (size > walk->end - walk->at)
		return vm_fc_walk_stop(walk, "it ends too early");
	memcpy(&value, walk->bytes + walk->at, size); /* little-endian: the low bytes come first */
	*ret = le64toh(value);
	walk->at += size;
	return 0;
}

/* A length that the rest of the state can hold, at a byte or more for each. */
static int read_length(struct vm_fc_walk *walk, uint64_t *ret)
{
	if (read_int(walk, sizeof(*ret), ret) != 0)
		return 1;
	if (*ret > walk->end - walk->at)
		return vm_fc_walk_stop(walk, "a length goes beyond the end");
	return 0;
}

static int read_below(struct vm_fc_walk *walk, size_t size, uint64_t limit, uint64_t *ret)
{
	if (read_int(walk, size, ret) != 0)
		return 1;
	if (*ret >= limit)
		return vm_fc_walk_stop(walk, "a choice is none of those there are");
	return 0;
}

static int bincode_number(struct vm_fc_walk *walk, const struct vm_fc_type *type,
                          struct vm_err *err)
{
	struct vm_fc_field field = {.mark = type->mark, .offset = walk->at};
	int rc = type->kind == VM_FC_BOOL ? read_below(walk, 1, 2, &field.value)
	                                  : read_int(walk, type->size, &field.value);

	field.size = walk->at - field.offset;
	return rc ? rc : vm_fc_walk_note(walk, &field, err);
}

static int bincode_text(struct vm_fc_walk *walk, const struct vm_fc_type *type, struct vm_err *err)
{
	struct vm_fc_column column = {.offset = walk->at, .size = sizeof(uint64_t), .count = 1};
	struct vm_fc_field field = {.mark = type->mark};
	uint64_t length;

	if (read_length(walk, &length) != 0)
		return 1;
	field.offset = walk->at;
	field.size = (size_t)length;
	walk->at += field.size;
	if (field.mark == VM_FC_UNMARKED)
		return 0;
	if (vm_fc_walk_column(walk, &column, &field.column, err) < 0)
		return -1;
	return vm_fc_walk_note(walk, &field, err);
}

static int bincode(struct vm_fc_walk *walk, const struct vm_fc_type *type, struct vm_err *err);

static int bincode_struct(struct vm_fc_walk *walk, const struct vm_fc_type *type,
                          struct vm_err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < type->n && rc == 0; i++) {
		if (vm_fc_walk_has(walk, &type->of[i]))
			rc = bincode(walk, &type->of[i], err);
	}
	return rc;
}

static int bincode_list(struct vm_fc_walk *walk, const struct vm_fc_type *type, struct vm_err *err)
{
	struct vm_fc_field field = {.mark = type->mark, .offset = walk->at, .size = 8};
	int rc;

	if (read_length(walk, &field.value) != 0)
		return 1;
	rc = vm_fc_walk_note(walk, &field, err);
	for (uint64_t i = 0; i < field.value && rc == 0; i++)
		rc = bincode(walk, type->of, err);
	return rc;
}

static int bincode_option(struct vm_fc_walk *walk, const struct vm_fc_type *type,
                          struct vm_err *err)
{
	uint64_t some;

	if (read_below(walk, 1, 2, &some) != 0)
		return 1;
	return some ? bincode(walk, type->of, err) : 0;
}

static int bincode_choice(struct vm_fc_walk *walk, const struct vm_fc_type *type,
                          struct vm_err *err)
{
	uint64_t variant;

	if (read_below(walk, 4, type->n, &variant) != 0)
		return 1;
	return type->of ? bincode(walk, &type->of[variant], err) : 0;
}

static int bincode_bytes(struct vm_fc_walk *walk)
{
	uint64_t length;

	if (read_length(walk, &length) != 0)
		return 1;
	walk->at += (size_t)length;
	return 0;
}

static int bincode(struct vm_fc_walk *walk, const struct vm_fc_type *type, struct vm_err *err)
{
	int rc;

	if (walk->depth >= VM_FC_DEPTH_MAX)
		return vm_fc_walk_stop(walk, "it is nested too deeply");
	walk->depth++;
	switch (type->kind) {
	case VM_FC_INT:
	case VM_FC_BOOL:
		rc = bincode_number(walk, type, err);
		break;
	case VM_FC_TEXT:
		rc = bincode_text(walk, type, err);
		break;
	case VM_FC_BYTES:
		rc = bincode_bytes(walk);
		break;
	case VM_FC_STRUCT:
		rc = bincode_struct(walk, type, err);
		break;
	case VM_FC_LIST:
		rc = bincode_list(walk, type, err);
		break;
	case VM_FC_OPTION:
		rc = bincode_option(walk, type, err);
		break;
	case VM_FC_CHOICE:
		rc = bincode_choice(walk, type, err);
		break;
	default:
		walk->never = true;
		rc = vm_fc_walk_stop(walk, "it has a device that vmctl cannot look into");
	}
	walk->depth--;
	return rc;
}

int vm_fc_walk_bincode(struct vm_fc_walk *walk, struct vm_err *err)
{
	int rc = bincode(walk, &vm_fc_layout, err);

	if (rc == 0 && walk->at != walk->end)
		return vm_fc_walk_stop(walk, "it goes on behind its last field");
	return rc;
}
