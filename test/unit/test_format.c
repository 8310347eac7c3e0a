/* SPDX-License-Identifier: Apache-2.0 */
/* --format: what templates make of objects, and what is wrong with those that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cmd/cli/format.h"
#include "util.h"

static const char shape[] = "id name memory_bytes pid parent{id name} disks[id size_bytes]"
                            " labels{=} spec{*} started";

static json_t *object;

static int make_object(void **state)
{
	(void)state;
	object = json_loads(
	        "{\"id\": \"abc\", \"name\": \"web\", \"memory_bytes\": 1048576,"
	        " \"pid\": null, \"parent\": {\"id\": \"x\", \"name\": \"base\"},"
	        " \"disks\": [{\"id\": \"root\", \"size_bytes\": 7}, {\"id\": \"d\"}],"
	        " \"labels\": {\"app\": \"web\", \"a_b\": \"1\", \"x.y/z\": \"t\\tn\\n\"},"
	        " \"spec\": {\"boot_args\": \"ro\"}, \"started\": true}",
	        0, NULL);
	return object != NULL ? 0 : -1;
}

static int free_object(void **state)
{
	(void)state;
	json_decref(object);
	return 0;
}

/* malloc'ed. */
static char *made(const char *template, bool header)
{
	struct cli_format format;
	struct vm_err err = {0};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	if (cli_format_compile(template, shape, &format, &err) < 0)
		fail_msg("%s: %s", template, err.message);
	if (header)
		cli_format_write_header(&format, out);
	else
		assert_int_equal(cli_format_write(&format, object, format.table, out, &err), 0);
	assert_int_equal(fclose(out), 0);
	cli_format_free(&format);
	return text;
}

struct pair {
	const char *template, *text;
};

static void assert_made(const struct pair *pairs, size_t count, bool header)
{
	for (size_t i = 0; i < count; i++) {
		char *text = made(pairs[i].template, header);

		assert_string_equal(text, pairs[i].text);
		free(text);
	}
}

static void templates_give_values_and_text(void **state)
{
	static const struct pair pairs[] = {
	        {"{{.name}}", "web"},
	        {"{{ .Name }}", "web"},
	        {"{{.ID}}-{{.Id}}-{{.id}}", "abc-abc-abc"},
	        {"{{.MemoryBytes}} {{.memory_bytes}} {{.MEMORYBYTES}}", "1048576 1048576 1048576"},
	        {"{{.Parent.Name}}", "base"},
	        {"[{{.Pid}}]", "[]"},
	        {"{{.Started}}", "true"},
	        {"a\\tb\\nc\\\\n\\q\\", "a\tb\nc\\n\\q\\"},
	        {"}} { {{\"{{\"}} \xc3\xa9", "}} { {{ \xc3\xa9"},
	        {"{{.Labels.app}}/{{.Labels.nope}}", "web/"},
	        {"{{index .Labels \"x.y/z\"}}", "t\tn\n"},
	        {"{{.Spec.BootArgs}} {{.Spec.nope.deeper}}", "ro "},
	        {"{{index .Spec \"boot_args\"}}", "ro"},
	        {"{{index .Disks 0 \"SizeBytes\"}}{{index .Disks 9}}", "7"},
	        {"{{.Disks}}", "[{\"id\":\"root\",\"size_bytes\":7},{\"id\":\"d\"}]"},
	        {"{{index .Disks 1}}", "{\"id\":\"d\"}"},
	        {"{{json .Name}} {{json .Pid}} {{json .MemoryBytes}}", "\"web\" null 1048576"},
	        {"{{json .Parent}}", "{\"id\":\"x\",\"name\":\"base\"}"},
	        {"tables", "tables"},
	};

	(void)state;
	assert_made(pairs, VM_ARRAY_LEN(pairs), false);
}

static void json_alone_is_the_whole_object(void **state)
{
	static const char *const templates[] = {"json", "{{json .}}", "{{.}}"};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(templates); i++) {
		char *text = made(templates[i], false);
		json_t *back = json_loads(text, 0, NULL);

		assert_true(json_equal(back, object));
		assert_null(strchr(text, '\n'));
		json_decref(back);
		free(text);
	}
}

/* app and APP are two labels. */
static void keys_of_labels_are_exact(void **state)
{
	static const struct pair pairs[] = {
	        {"{{.Labels.App}}|{{.Labels.ab}}|{{.LABELS.a_b}}", "||1"},
	};

	(void)state;
	assert_made(pairs, VM_ARRAY_LEN(pairs), false);
}

static void a_table_has_a_header_and_values_without_tabs(void **state)
{
	static const struct pair headers[] = {
	        {"table {{.Name}}\\t{{.MemoryBytes}}", "NAME\tMEMORY BYTES"},
	        {"table {{.Parent.Name}}\\t{{.Labels.app}}\\t{{json .}}", "PARENT NAME\tAPP\tJSON"},
	        {"table {{index .Labels \"x.y/z\"}} {{index .Disks 0 \"id\"}}", "X.Y/Z DISKS 0 ID"},
	        {"table\\t{{.Name}}", "NAME"},
	};
	static const struct pair rows[] = {
	        {"table {{.Name}}\\t{{index .Labels \"x.y/z\"}}|", "web\tt n |"},
	};
	struct cli_format format;
	struct vm_err err = {0};

	(void)state;

	assert_made(headers, VM_ARRAY_LEN(headers), true);
	assert_made(rows, VM_ARRAY_LEN(rows), false);
	assert_int_equal(cli_format_compile(rows[0].template, shape, &format, &err), 0);
	assert_true(format.table);
	assert_int_equal(format.columns, 2);
	cli_format_free(&format);
}

static void what_is_wrong_is_named_with_its_column(void **state)
{
	static const struct {
		const char *template, *message, *hint;
	} cases[] = {
	        {"", "column 1: there is nothing to print", ""},
	        {"table", "column 6: there is nothing to print", ""},
	        {"é {{.nmae}}", "column 6: there is no key '.nmae'", "did you mean '.name'?"},
	        {"{{.MemoryByte}}", "column 4: there is no key '.MemoryByte'",
	         "did you mean '.memory_bytes'?"},
	        {"{{.xyzzy}}", "there is no key '.xyzzy'", ".id .name .memory_bytes .pid .parent"},
	        {"{{.Parent.xyzzy}}", "column 11: there is no key '.xyzzy'",
	         "the keys are .id .name"},
	        {"{{.Name.x}}", "column 9: there is no key '.x' in a plain value", ""},
	        {"{{.Labels.a.b}}", "column 13: there is no key '.b' in a plain value", ""},
	        {"{{.Disks.id}}", "column 10: there is no key '.id' in a list", "{{index .LIST 0"},
	        {"{{index .Name 0}}", "column 15: a number is for items of lists", ""},
	        {"{{index .Disks}}", "column 15: index needs", ""},
	        {"{{index .Labels \"a}}", "column 17: the text has no closing", ""},
	        {"{{index .Disks 99999999999999999999999}}", "the number is too large", ""},
	        {"ab {{.Name", "column 4: {{ has no closing }}", ""},
	        {"{{.Name}", "column 8: '}' where }} is expected", ""},
	        {"{{", "column 1: {{ has no closing }}", ""},
	        {"{{}}", "column 3: {{ is followed by", ""},
	        {"{{.Name .Id}}", "column 9: '.' where }} is expected", ""},
	        {"{{.Labels.my-app}}", "column 13: '-' where }} is expected", ""},
	        {"{{Name}}", "column 3: there is no function 'Name'", "a key has a dot"},
	        {"{{jsno .}}", "column 3: there is no function 'jsno'", "did you mean 'json'?"},
	        {"{{range .Disks}}", "there is no function 'range'", "there are json and index"},
	        {"{{json}}", "column 7: a value begins with a dot", ""},
	        {"{{.Parent..Name}}", "column 11: a name is missing", ""},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct cli_format format;
		struct vm_err err = {0};

		assert_int_equal(cli_format_compile(cases[i].template, shape, &format, &err), -1);
		assert_int_equal(err.code, VM_ERR_USAGE);
		if (strstr(err.message, cases[i].message) == NULL ||
		    strncmp(err.message, "--format, column ", 17) != 0)
			fail_msg("%s: %s", cases[i].template, err.message);
		if (strstr(err.hint, cases[i].hint) == NULL)
			fail_msg("%s: hint %s", cases[i].template, err.hint);
		cli_format_free(&format);
	}
}

static void a_table_has_a_limit_of_columns(void **state)
{
	char template[128];
	int len = snprintf(template, sizeof(template), "table {{.Name}}");
	struct cli_format format;
	struct vm_err err = {0};

	(void)state;
	for (size_t i = 0; i < 32; i++)
		len += snprintf(template + len, sizeof(template) - (size_t)len, "\\t");
	assert_int_equal(cli_format_compile(template, shape, &format, &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	cli_format_free(&format);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(templates_give_values_and_text),
	        cmocka_unit_test(json_alone_is_the_whole_object),
	        cmocka_unit_test(keys_of_labels_are_exact),
	        cmocka_unit_test(a_table_has_a_header_and_values_without_tabs),
	        cmocka_unit_test(what_is_wrong_is_named_with_its_column),
	        cmocka_unit_test(a_table_has_a_limit_of_columns),
	};

	return cmocka_run_group_tests(tests, make_object, free_object);
}
