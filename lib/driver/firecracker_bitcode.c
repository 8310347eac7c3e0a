/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk through bitcode. All values of one field of one kind of struct stand together, in a
 * column; the columns follow each other in the order in which a reader who goes through the
 * structure comes to need them first. So the walk goes through the structure as the reader does,
 * and takes a column from the input at the moment when its first value is asked for.
 */
#include <string.h>

#include "firecracker_layout.h"
#include "util.h"

/* One field of one kind of struct, or the elements of one kind of list: a column. */
struct node {
	size_t length; /* how many values it has */
	size_t next;   /* the one that is asked for next */
	bool read;
	size_t offset, size; /* of what was read, without the bytes of texts */
	size_t text, column; /* where the next text begins; the number of the column */
	uint64_t *values;    /* integers that are noted; lengths of texts and lists */
	uint8_t *variants;   /* of options and choices */
	struct node *children;
};

/* --- packed numbers -----------------------------------------------------------------------------
 */

/* NULL, and the walk stopped, when there are not so many bytes left. */
static const uint8_t *take(struct vm_fc_walk *walk, size_t size)
{
	const uint8_t *bytes = walk->bytes + walk->at;

	if (size > walk->end - walk->at) {
		vm_fc_walk_stop(walk, "it ends too early");
		return NULL;
	}
	walk->at += size;
	return bytes;
}

/* Reads the byte before a packed column: its number, and whether all values are less a minimum. */
static int take_packing(struct vm_fc_walk *walk, size_t count, size_t *ret, bool *ret_less)
{
	const uint8_t *tag = take(walk, 1);

	if (!tag)
		return 1;
	*ret = ((size_t)*tag + 1) / 2;
	*ret_less = *tag & 1;
	if (*ret >= count)
		return vm_fc_walk_stop(walk, "a column is packed in an unknown way");
	return 0;
}

/* `count` values of one byte; `ret` may be NULL: then they are only passed over. */
static int take_bytes(struct vm_fc_walk *walk, size_t count, uint8_t *ret)
{
	const uint8_t *packed, *minimum = NULL;
	size_t packing = 0, states, per_byte;
	bool less = false;

	if (count > 2 && take_packing(walk, VM_FC_PACKINGS, &packing, &less) != 0)
		return 1;
	if (less) {
		minimum = take(walk, 1);
		if (!minimum)
			return 1;
	}
	states = vm_fc_packings[packing].states;
	per_byte = vm_fc_packings[packing].per_byte;
	packed = take(walk, count / per_byte + (count % per_byte != 0));
	if (!packed)
		return 1;
	for (size_t i = 0; i < count && ret; i++) {
		unsigned value = packed[i / per_byte];

		for (size_t k = 0; k < i % per_byte; k++)
			value /= (unsigned)states;
		if (states)
			value %= (unsigned)states;
		ret[i] = (uint8_t)(value + (minimum ? *minimum : 0U));
	}
	return 0;
}

static uint64_t little_endian(const uint8_t *bytes, size_t size)
{
	uint64_t value = 0;

	for (size_t i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static int take_narrow(struct vm_fc_walk *walk, size_t width, size_t count, uint64_t *ret,
                       struct vm_err *err)
{
	const uint8_t *bytes;

	if (width == 1) {
		uint8_t *narrow = ret ? vm_fc_walk_alloc(walk, count, 1, err) : NULL;

		if (ret && !narrow)
			return -1;
		if (take_bytes(walk, count, narrow) != 0)
			return 1;
		for (size_t i = 0; i < count && ret; i++)
			ret[i] = narrow[i];
		return 0;
	}
	/* a product that would overflow is too much as well */
	bytes = take(walk, count <= walk->end ? count * width : SIZE_MAX);
	if (!bytes)
		return 1;
	for (size_t i = 0; i < count && ret; i++)
		ret[i] = little_endian(bytes + i * width, width);
	return 0;
}

/* `count` integers of `size` bytes each; `ret` may be NULL. */
static int take_ints(struct vm_fc_walk *walk, size_t size, size_t count, uint64_t *ret,
                     struct vm_err *err)
{
	size_t widths = size == 8 ? 4 : size == 4 ? 3 : 2, packing = 0, width;
	const uint8_t *bytes = NULL;
	bool less = false;
	int rc;

	if (count == 0)
		return 0;
	if (size == 1)
		return take_narrow(walk, 1, count, ret, err);
	/* A single integer of two bytes would not get shorter. */
	if ((size > 2 || count > 1) && take_packing(walk, widths, &packing, &less) != 0)
		return 1;
	width = size >> packing;
	if (less) {
		bytes = take(walk, size);
		if (!bytes)
			return 1;
	}
	rc = take_narrow(walk, width, count, ret, err);
	for (size_t i = 0; i < count && ret && bytes && rc == 0; i++) {
		ret[i] += little_endian(bytes, size);
		if (size < sizeof(*ret))
			ret[i] &= (UINT64_C(1) << (8 * size)) - 1;
	}
	return rc;
}

/* Lengths below 255 are a byte, all others are 255 and follow as integers. Sets their sum. */
static int take_lengths(struct vm_fc_walk *walk, struct node *node, size_t *ret_sum,
                        struct vm_err *err)
{
	size_t large = 0, sum = 0, limit = 8 * walk->end;
	uint64_t *wide;
	uint8_t *small;
	int rc;

	if (node->length > VM_FC_COLUMN_MAX)
		return vm_fc_walk_stop(walk, "a column is too long");
	small = vm_fc_walk_alloc(walk, node->length, 1, err);
	node->values = small ? vm_fc_walk_alloc(walk, node->length, sizeof(uint64_t), err) : NULL;
	if (!node->values)
		return -1;
	if (take_bytes(walk, node->length, small) != 0)
		return 1;
	for (size_t i = 0; i < node->length; i++)
		large += small[i] == UINT8_MAX;
	wide = vm_fc_walk_alloc(walk, large, sizeof(*wide), err);
	if (!wide)
		return -1;
	rc = take_ints(walk, sizeof(uint64_t), large, wide, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < node->length; i++) {
		node->values[i] = small[i] == UINT8_MAX ? *wide++ : small[i];
		/* nothing takes less than an eighth of a byte */
		if (node->values[i] > limit - sum)
			return vm_fc_walk_stop(walk, "a length goes beyond the end");
		sum += (size_t)node->values[i];
	}
	*ret_sum = sum;
	return 0;
}

/* --- columns ------------------------------------------------------------------------------------
 */

static int read_number(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                       struct vm_err *err)
{
	if (type->mark == VM_FC_UNMARKED && type->kind == VM_FC_INT)
		return take_ints(walk, type->size, node->length, NULL, err);
	if (node->length > VM_FC_COLUMN_MAX && type->mark != VM_FC_UNMARKED)
		return vm_fc_walk_stop(walk, "a column is too long");
	if (type->kind == VM_FC_BOOL)
		return take(walk, node->length / 8 + (node->length % 8 != 0)) ? 0 : 1;
	node->values = vm_fc_walk_alloc(walk, node->length, sizeof(uint64_t), err);
	if (!node->values)
		return -1;
	return take_ints(walk, type->size, node->length, node->values, err);
}

static int read_text(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                     struct vm_err *err)
{
	struct vm_fc_column column = {.offset = walk->at, .count = node->length};
	size_t sum;
	int rc = take_lengths(walk, node, &sum, err);

	if (rc != 0)
		return rc;
	column.size = walk->at - column.offset;
	node->text = walk->at;
	if (!take(walk, sum))
		return 1;
	return type->mark ? vm_fc_walk_column(walk, &column, &node->column, err) : 0;
}

static int read_bytes(struct vm_fc_walk *walk, struct node *node, struct vm_err *err)
{
	size_t sum;
	int rc = take_lengths(walk, node, &sum, err);

	return rc ? rc : take_bytes(walk, sum, NULL);
}

static int read_list(struct vm_fc_walk *walk, struct node *node, struct vm_err *err)
{
	size_t sum;
	int rc = take_lengths(walk, node, &sum, err);

	if (rc != 0)
		return rc;
	node->children = vm_fc_walk_alloc(walk, 1, sizeof(*node), err);
	if (!node->children)
		return -1;
	node->children->length = sum;
	return 0;
}

/* Which variant each value is; each variant is a column of its own. */
static int read_variants(struct vm_fc_walk *walk, struct node *node, size_t variants,
                         struct vm_err *err)
{
	if (node->length > VM_FC_COLUMN_MAX)
		return vm_fc_walk_stop(walk, "a column is too long");
	node->variants = vm_fc_walk_alloc(walk, node->length, 1, err);
	node->children =
	        node->variants ? vm_fc_walk_alloc(walk, variants, sizeof(*node), err) : NULL;
	if (!node->children)
		return -1;
	if (take_bytes(walk, node->length, node->variants) != 0)
		return 1;
	for (size_t i = 0; i < node->length; i++) {
		if (node->variants[i] >= variants)
			return vm_fc_walk_stop(walk, "a choice is none of those there are");
		node->children[node->variants[i]].length++;
	}
	return 0;
}

static int read_struct(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                       struct vm_err *err)
{
	node->children = vm_fc_walk_alloc(walk, type->n, sizeof(*node), err);
	if (!node->children)
		return -1;
	for (unsigned i = 0; i < type->n; i++)
		node->children[i].length = node->length;
	return 0;
}

static int read_column(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                       struct vm_err *err)
{
	switch (type->kind) {
	case VM_FC_INT:
	case VM_FC_BOOL:
		return read_number(walk, node, type, err);
	case VM_FC_TEXT:
		return read_text(walk, node, type, err);
	case VM_FC_BYTES:
		return read_bytes(walk, node, err);
	case VM_FC_STRUCT:
		return read_struct(walk, node, type, err);
	case VM_FC_LIST:
		return read_list(walk, node, err);
	case VM_FC_OPTION:
		return read_variants(walk, node, 2, err);
	case VM_FC_CHOICE:
		return read_variants(walk, node, type->n, err);
	default:
		walk->never = true;
		return vm_fc_walk_stop(walk, "it has a device that vmctl cannot look into");
	}
}

/* --- the walk -----------------------------------------------------------------------------------
 */

static int bitcode(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                   struct vm_err *err);

static int visit_number(struct vm_fc_walk *walk, const struct node *node,
                        const struct vm_fc_type *type, size_t i, struct vm_err *err)
{
	struct vm_fc_field field = {.mark = type->mark, .offset = node->offset, .size = node->size};

	if (field.mark == VM_FC_UNMARKED)
		return 0;
	if (type->kind == VM_FC_BOOL)
		field.value = walk->bytes[node->offset + i / 8] >> (i % 8) & 1;
	else
		field.value = node->values[i];
	return vm_fc_walk_note(walk, &field, err);
}

static int visit_text(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                      size_t i, struct vm_err *err)
{
	struct vm_fc_field field = {.mark = type->mark,
	                            .offset = node->text,
	                            .size = (size_t)node->values[i],
	                            .column = node->column};

	node->text += field.size;
	return vm_fc_walk_note(walk, &field, err);
}

static int visit_struct(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                        struct vm_err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < type->n && rc == 0; i++) {
		if (vm_fc_walk_has(walk, &type->of[i]))
			rc = bitcode(walk, &node->children[i], &type->of[i], err);
	}
	return rc;
}

static int visit_list(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                      size_t i, struct vm_err *err)
{
	struct vm_fc_field field = {.mark = type->mark,
	                            .value = node->values[i],
	                            .offset = node->offset,
	                            .size = node->size};
	int rc = vm_fc_walk_note(walk, &field, err);

	for (uint64_t k = 0; k < field.value && rc == 0; k++)
		rc = bitcode(walk, node->children, type->of, err);
	return rc;
}

static int visit(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                 size_t i, struct vm_err *err)
{
	switch (type->kind) {
	case VM_FC_INT:
	case VM_FC_BOOL:
		return visit_number(walk, node, type, i, err);
	case VM_FC_TEXT:
		return visit_text(walk, node, type, i, err);
	case VM_FC_STRUCT:
		return visit_struct(walk, node, type, err);
	case VM_FC_LIST:
		return visit_list(walk, node, type, i, err);
	case VM_FC_OPTION:
		return node->variants[i] ? bitcode(walk, &node->children[1], type->of, err) : 0;
	case VM_FC_CHOICE:
		if (!type->of)
			return 0;
		return bitcode(walk, &node->children[node->variants[i]],
		               &type->of[node->variants[i]], err);
	default:
		return 0;
	}
}

/* The next value of a column. */
static int bitcode(struct vm_fc_walk *walk, struct node *node, const struct vm_fc_type *type,
                   struct vm_err *err)
{
	int rc = 0;

	if (walk->depth >= VM_FC_DEPTH_MAX)
		return vm_fc_walk_stop(walk, "it is nested too deeply");
	if (!node->read) {
		node->offset = walk->at;
		rc = read_column(walk, node, type, err);
		node->size = walk->at - node->offset;
		node->read = true;
	}
	walk->depth++;
	if (rc == 0)
		rc = visit(walk, node, type, node->next++, err);
	walk->depth--;
	return rc;
}

int vm_fc_walk_bitcode(struct vm_fc_walk *walk, struct vm_err *err)
{
	struct node top = {.length = 1};
	int rc = bitcode(walk, &top, &vm_fc_layout, err);

	if (rc == 0 && walk->at != walk->end)
		return vm_fc_walk_stop(walk, "it goes on behind its last field");
	return rc;
}
