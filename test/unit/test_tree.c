/* SPDX-License-Identifier: Apache-2.0 */
/* The family tree: who comes below whom, what is drawn before a name, and ghosts. */
#include "procs.h"

#include <jansson.h>

#include "../../cmd/cli/tree.h"

enum { GENERATIONS = 1000, BROTHERS = 10000, TEXT = 4096 };

static struct vm_instance row(const char *name, const char *source)
{
	struct vm_instance made = {.state = VM_STATE_STOPPED};

	/* An id that looks like its name is enough for a tree. */
	(void)snprintf(made.id, sizeof(made.id), "id-%s", name);
	(void)snprintf(made.name, sizeof(made.name), "%s", name);
	(void)snprintf(made.hypervisor, sizeof(made.hypervisor), "fake");
	if (source != NULL) {
		(void)snprintf(made.parent_id, sizeof(made.parent_id), "id-%s", source);
		(void)snprintf(made.parent_name, sizeof(made.parent_name), "%s", source);
	}
	if (strchr(name, '/') != NULL)
		made.kind = VM_KIND_IMAGE;
	return made;
}

/* Prefix and name of each line. */
static void draw(const struct vm_instance *rows, size_t count, bool utf8, char text[TEXT])
{
	struct cli_tree_line *lines = NULL;
	struct vm_err err = {0};
	size_t used = 0;

	text[0] = '\0';
	assert_int_equal(cli_tree_make(rows, count, utf8, &lines, &err), 0);
	for (size_t i = 0; i < count; i++) {
		assert_non_null(lines[i].instance);
		used += (size_t)snprintf(text + used, TEXT - used, "%s%s\n", lines[i].prefix,
		                         lines[i].instance->name);
	}
	cli_tree_free(lines, count);
}

static void each_source_is_followed_by_what_was_made_of_it(void **state)
{
	const struct vm_instance rows[] = {
	        row("a", NULL), row("a1", "a"),      row("a1/snap", "a1"),
	        row("a2", "a"), row("b", "a1/snap"), row("c", NULL),
	};
	char text[TEXT];

	(void)state;
	draw(rows, VM_ARRAY_LEN(rows), false, text);
	assert_string_equal(text, "a\n"
	                          "|- a1\n"
	                          "|  `- a1/snap\n"
	                          "|     `- b\n"
	                          "`- a2\n"
	                          "c\n");
	draw(rows, VM_ARRAY_LEN(rows), true, text);
	assert_non_null(strstr(text, "│  └─ a1/snap\n"));
}

static void names_are_sorted_as_people_count(void **state)
{
	struct vm_instance rows[] = {row("web-10", NULL), row("web-2", NULL), row("a", NULL)};

	(void)state;
	cli_tree_sort(rows, VM_ARRAY_LEN(rows));
	assert_string_equal(rows[0].name, "a");
	assert_string_equal(rows[1].name, "web-2");
	assert_string_equal(rows[2].name, "web-10");
}

/* An array that may grow, as a store's list. */
static struct vm_instance *copy(const struct vm_instance *rows, size_t count)
{
	struct vm_instance *made = calloc(count, sizeof(*made));

	assert_non_null(made);
	memcpy(made, rows, count * sizeof(*made));
	return made;
}

static void a_removed_source_keeps_its_forks_together(void **state)
{
	const struct vm_instance rows[] = {row("one", "gone"), row("two", "gone"),
	                                   row("three", "gone/snap"), row("four", NULL)};
	size_t count = VM_ARRAY_LEN(rows);
	struct vm_instance *all = copy(rows, count);
	struct vm_err err = {0};
	char text[TEXT];

	(void)state;
	assert_int_equal(cli_tree_add_ghosts(&all, &count, &err), 0);
	assert_int_equal(count, 6);
	cli_tree_sort(all, count);
	draw(all, count, false, text);
	assert_string_equal(text, "four\n"
	                          "gone\n"
	                          "|- one\n"
	                          "`- two\n"
	                          "gone/snap\n"
	                          "`- three\n");
	for (size_t i = 0; i < count; i++) {
		if (strncmp(all[i].name, "gone", 4) != 0)
			continue;
		assert_int_equal(all[i].state, CLI_TREE_REMOVED);
		assert_int_equal(all[i].kind, strchr(all[i].name, '/') != NULL ? VM_KIND_IMAGE
		                                                               : VM_KIND_INSTANCE);
	}
	/* All that is there already needs none. */
	assert_int_equal(cli_tree_add_ghosts(&all, &count, &err), 0);
	assert_int_equal(count, 6);
	free(all);
}

static void two_removed_sources_of_one_name_stay_apart(void **state)
{
	struct vm_instance rows[] = {row("one", "gone"), row("two", "gone")};
	size_t count = VM_ARRAY_LEN(rows);
	struct vm_instance *all;
	struct vm_err err = {0};

	(void)state;
	(void)snprintf(rows[1].parent_id, sizeof(rows[1].parent_id), "id-other");
	rows[0].parent_name[0] = '\0';
	all = copy(rows, count);
	assert_int_equal(cli_tree_add_ghosts(&all, &count, &err), 0);
	assert_int_equal(count, 4);
	/* What has no name that was remembered is called by its id. */
	assert_string_equal(all[2].name, "id-gone");
	assert_string_equal(all[3].name, "gone");
	free(all);
}

static void only_the_subtrees_that_are_marked_are_kept(void **state)
{
	const struct vm_instance rows[] = {row("a", NULL), row("a1", "a"), row("a2", "a1"),
	                                   row("b", NULL), row("b1", "b")};
	const bool marked[] = {false, true, false, false, true};
	size_t count = VM_ARRAY_LEN(rows);
	struct vm_instance *all = copy(rows, count);
	struct vm_err err = {0};
	char text[TEXT];

	(void)state;
	assert_int_equal(cli_tree_keep(all, &count, marked, &err), 0);
	draw(all, count, false, text);
	assert_string_equal(text, "a1\n`- a2\nb1\n");
	free(all);
}

static void a_circle_in_a_damaged_store_is_cut(void **state)
{
	const struct vm_instance rows[] = {row("a", "c"), row("b", "a"), row("c", "b"),
	                                   row("d", "d"), row("e", "a")};
	char text[TEXT];

	(void)state;
	draw(rows, VM_ARRAY_LEN(rows), false, text);
	assert_string_equal(text, "b\n`- c\n   `- a\n      `- e\nd\n");
}

static struct vm_instance *many(size_t count, bool deep)
{
	struct vm_instance *rows = calloc(count, sizeof(*rows));

	assert_non_null(rows);
	for (size_t i = 0; i < count; i++) {
		char name[32], source[32];

		(void)snprintf(name, sizeof(name), "n%zu", i);
		(void)snprintf(source, sizeof(source), "n%zu", deep ? i - 1 : 0);
		rows[i] = row(name, i > 0 ? source : NULL);
	}
	return rows;
}

static void a_thousand_generations_and_ten_thousand_forks_are_drawn(void **state)
{
	const size_t counts[] = {GENERATIONS, BROTHERS};

	(void)state;
	for (int wide = 0; wide < 2; wide++) {
		size_t count = counts[wide];
		struct vm_instance *rows = many(count, wide == 0);
		struct cli_tree_line *lines = NULL;
		struct vm_err err = {0};
		json_t *json, *at;
		char *text;

		assert_int_equal(cli_tree_make(rows, count, false, &lines, &err), 0);
		assert_int_equal(strlen(lines[count - 1].prefix), wide ? 3 : 3 * (count - 1));
		cli_tree_free(lines, count);
		json = cli_tree_json(rows, count, NULL, false, &err);
		assert_non_null(json);
		at = json_array_get(json, 0);
		assert_int_equal(json_array_size(json_object_get(at, "children")),
		                 wide ? count - 1 : 1);
		for (size_t i = 1; !wide && i < count; i++)
			at = json_array_get(json_object_get(at, "children"), 0);
		assert_string_equal(json_string_value(json_object_get(at, "name")),
		                    wide ? "n0" : "n999");
		text = json_dumps(json, JSON_COMPACT);
		assert_non_null(text);
		free(text);
		json_decref(json);
		free(rows);
	}
}

static void a_graph_quotes_what_a_store_may_have(void **state)
{
	struct vm_instance rows[] = {row("a", NULL), row("b", "a"), row("a/s", "a"),
	                             row("gone", NULL)};
	struct cli_tree tree;
	struct vm_err err = {0};
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	(void)snprintf(rows[1].name, sizeof(rows[1].name), "b\"\\\n");
	rows[3].state = (enum vm_state)CLI_TREE_REMOVED;
	assert_non_null(out);
	assert_int_equal(cli_tree_link(rows, VM_ARRAY_LEN(rows), &tree, &err), 0);
	cli_tree_dot(rows, &tree, NULL, out);
	cli_tree_close(&tree);
	fclose(out);
	assert_non_null(strstr(text, "[label=\"b\\\"\\\\?\\nstopped, fake"));
	assert_non_null(strstr(text, "\"id-a\" -> \"id-b\"\n"));
	assert_non_null(strstr(text, "\"id-a\" -> \"id-a/s\" [style=dashed]\n"));
	assert_non_null(
	        strstr(text, "[label=\"gone\\nremoved\" shape=box style=\"filled,dashed\""));
	assert_non_null(strstr(text, "shape=folder"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_source_is_followed_by_what_was_made_of_it),
	        cmocka_unit_test(names_are_sorted_as_people_count),
	        cmocka_unit_test(a_removed_source_keeps_its_forks_together),
	        cmocka_unit_test(two_removed_sources_of_one_name_stay_apart),
	        cmocka_unit_test(only_the_subtrees_that_are_marked_are_kept),
	        cmocka_unit_test(a_circle_in_a_damaged_store_is_cut),
	        cmocka_unit_test(a_thousand_generations_and_ten_thousand_forks_are_drawn),
	        cmocka_unit_test(a_graph_quotes_what_a_store_may_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
