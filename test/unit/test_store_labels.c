/* SPDX-License-Identifier: Apache-2.0 */
/* Labels in the store: who gets which, and that they come and go with their rows. */
#include "store_fixture.h"

static void set(struct vm_labels *labels, const char *text)
{
	struct vm_err err = {0};

	if (vm_labels_set_text(labels, text, &err) < 0)
		fail_msg("%s", err.message);
}

static void assert_labels(struct fixture *f, const char *id, const char *expected)
{
	struct vm_labels labels = {0};
	char text[512] = "";
	size_t used = 0;

	assert_works(f, vm_store_get_labels(f->store, id, &labels, &f->err));
	for (size_t i = 0; i < labels.count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s=%s", i ? "," : "",
		                         labels.list[i].key, labels.list[i].value);
	assert_string_equal(text, expected);
	vm_labels_free(&labels);
}

/* A row with labels of its own, of a parent or none. */
static struct vm_instance child_of(char letter, const char *name, const struct vm_instance *parent,
                                   const struct vm_labels *labels)
{
	struct vm_instance row = row_of(letter, name);

	if (parent)
		memcpy(row.parent_id, parent->id, sizeof(row.parent_id));
	row.labels = labels;
	return row;
}

static void a_row_is_admitted_with_its_labels_and_those_of_its_parent(void **state)
{
	struct fixture *f = *state;
	struct vm_labels base = {0}, own = {0};
	struct vm_instance parent, forks[2];

	set(&base, "app=web");
	set(&base, "tier=1");
	set(&own, "tier=2");
	set(&own, "zone=a");
	parent = child_of('p', "parent", NULL, &base);
	assert_works(f, reserve(f, &parent, 1, NULL));
	assert_labels(f, parent.id, "app=web,tier=1");
	forks[0] = child_of('a', "a", &parent, &own);
	forks[1] = child_of('b', "b", &parent, NULL);
	assert_works(f, reserve(f, forks, 2, NULL));
	assert_labels(f, forks[0].id, "app=web,tier=2,zone=a");
	assert_labels(f, forks[1].id, "app=web,tier=1");
	assert_labels(f, parent.id, "app=web,tier=1");
	vm_labels_free(&base);
	vm_labels_free(&own);
}

static void rows_of_one_reservation_may_have_other_parents(void **state)
{
	struct fixture *f = *state;
	struct vm_labels labels = {0};
	struct vm_instance parent, plain = row_of('q', "plain"), forks[3];

	set(&labels, "app=web");
	parent = child_of('p', "parent", NULL, &labels);
	assert_works(f, reserve(f, &parent, 1, NULL));
	assert_works(f, reserve(f, &plain, 1, NULL));
	forks[0] = child_of('a', "a", &plain, NULL);
	forks[1] = child_of('b', "b", &parent, NULL);
	forks[2] = child_of('c', "c", NULL, NULL);
	assert_works(f, reserve(f, forks, 3, NULL));
	assert_labels(f, forks[0].id, "");
	assert_labels(f, forks[1].id, "app=web");
	assert_labels(f, forks[2].id, "");
	vm_labels_free(&labels);
}

static void too_many_labels_refuse_all_rows(void **state)
{
	struct fixture *f = *state;
	struct vm_labels full = {0}, one = {0};
	struct vm_instance parent, forks[2];
	char text[16];

	for (int i = 0; i < VM_LABELS_MAX; i++) {
		snprintf(text, sizeof(text), "n%d=", i);
		set(&full, text);
	}
	parent = child_of('p', "parent", NULL, &full);
	assert_works(f, reserve(f, &parent, 1, NULL));
	set(&one, "n0=another");
	forks[0] = child_of('a', "a", &parent, &one);
	assert_works(f, reserve(f, forks, 1, NULL));
	set(&one, "one=more");
	forks[0] = child_of('b', "b", &parent, NULL);
	forks[1] = child_of('c', "c", &parent, &one);
	assert_fails(f, reserve(f, forks, 2, NULL), VM_ERR_USAGE);
	assert_non_null(strstr(f->err.message, "c: 65 labels are too many"));
	assert_int_equal(sql(f, "SELECT count(*) FROM instance"), 2);
	assert_int_equal(sql(f, "SELECT count(*) FROM label"), 2 * VM_LABELS_MAX);
	vm_labels_free(&full);
	vm_labels_free(&one);
}

static void labels_go_with_their_row(void **state)
{
	struct fixture *f = *state;
	struct vm_labels labels = {0}, gone = {0};
	struct vm_instance row, fork;

	set(&labels, "app=web");
	row = child_of('p', "web", NULL, &labels);
	assert_works(f, reserve(f, &row, 1, NULL));
	fork = child_of('a', "a", &row, NULL);
	assert_works(f, reserve(f, &fork, 1, NULL));
	assert_works(f, vm_store_delete(f->store, row.id, NULL, &f->err));
	assert_fails(f, vm_store_get_labels(f->store, row.id, &gone, &f->err), VM_ERR_NOT_FOUND);
	assert_int_equal(sql(f, "SELECT count(*) FROM label"), 1);
	assert_labels(f, fork.id, "app=web");
	vm_labels_free(&labels);
}

static void changes_are_one_transaction_with_their_event(void **state)
{
	/* The last is set, too: that wins. */
	static const char *const drop[] = {"old", "not-there", "new"};
	struct fixture *f = *state;
	struct vm_labels labels = {0}, change = {0};
	struct vm_instance row;
	struct vm_event event = {.verb = "label", .name = "web", .code = VM_OK};

	set(&labels, "old=1");
	set(&labels, "app=web");
	row = child_of('p', "web", NULL, &labels);
	event.instance_id = row.id;
	assert_works(f, reserve(f, &row, 1, NULL));
	set(&change, "app=db");
	set(&change, "new=1");
	assert_works(f,
	             vm_store_change_labels(f->store, row.id, &change, drop, 3, &event, &f->err));
	assert_labels(f, row.id, "app=db,new=1");
	assert_int_equal(sql(f, "SELECT count(*) FROM event WHERE verb = 'label'"), 1);
	/* Of one that is gone nothing is kept, the event neither. */
	memset(row.id, 'z', VM_ID_LEN);
	assert_fails(f, vm_store_change_labels(f->store, row.id, &change, drop, 3, &event, &f->err),
	             VM_ERR_SYSTEM);
	assert_int_equal(sql(f, "SELECT count(*) FROM event WHERE verb = 'label'"), 1);
	assert_int_equal(sql(f, "SELECT count(*) FROM label"), 2);
	vm_labels_free(&labels);
	vm_labels_free(&change);
}

static void the_labels_of_all_are_found_by_id(void **state)
{
	static const char letters[] = "qgzamx";
	struct fixture *f = *state;
	struct vm_label_index *index = NULL;

	for (size_t i = 0; letters[i]; i++) {
		struct vm_labels labels = {0};
		struct vm_instance row;
		char text[16], name[2] = {letters[i], '\0'};

		snprintf(text, sizeof(text), "letter=%c", letters[i]);
		set(&labels, text);
		set(&labels, "all=");
		row = child_of(letters[i], name, NULL, letters[i] == 'm' ? NULL : &labels);
		assert_works(f, reserve(f, &row, 1, NULL));
		vm_labels_free(&labels);
	}
	assert_works(f, vm_store_list_labels(f->store, &index, &f->err));
	for (size_t i = 0; letters[i]; i++) {
		struct vm_instance row = row_of(letters[i], "");
		const struct vm_labels *labels = vm_label_index_of(index, row.id);

		assert_int_equal(labels->count, letters[i] == 'm' ? 0 : 2);
		if (letters[i] != 'm')
			assert_int_equal(vm_labels_get(labels, "letter")[0], letters[i]);
	}
	assert_int_equal(vm_label_index_of(index, "bbbbbbbbbbbbbbbbbbbbbbbb")->count, 0);
	vm_label_index_free(index);
}

static void where_there_are_no_labels_none_are_found(void **state)
{
	struct fixture *f = *state;
	struct vm_label_index *index = NULL;

	assert_works(f, vm_store_list_labels(f->store, &index, &f->err));
	assert_int_equal(vm_label_index_of(index, "bbbbbbbbbbbbbbbbbbbbbbbb")->count, 0);
	vm_label_index_free(index);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(a_row_is_admitted_with_its_labels_and_those_of_its_parent),
	        TEST(rows_of_one_reservation_may_have_other_parents),
	        TEST(too_many_labels_refuse_all_rows),
	        TEST(labels_go_with_their_row),
	        TEST(changes_are_one_transaction_with_their_event),
	        TEST(the_labels_of_all_are_found_by_id),
	        TEST(where_there_are_no_labels_none_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
