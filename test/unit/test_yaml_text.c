/* SPDX-License-Identifier: Apache-2.0 */
/* JSON as YAML: quoted where it must be, and read back by the library as what it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <yaml.h>

#include "../../cmd/cli/yaml_text.h"
#include "util.h"

/* Takes over `json`. */
static void assert_yaml(json_t *json, const char *expected)
{
	struct vm_err err = {0};
	char *text = cli_yaml_text(json, false, &err);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
	json_decref(json);
}

static void texts_that_would_be_something_else_are_quoted(void **state)
{
	static const struct {
		const char *text, *yaml;
	} cases[] = {
	        {"", "''"},
	        {"web", "web"},
	        {"two words", "two words"},
	        {"/path/to-a/file.img", "/path/to-a/file.img"},
	        {"yes", "'yes'"},
	        {"No", "'No'"},
	        {"ON", "'ON'"},
	        {"y", "'y'"},
	        {"null", "'null'"},
	        {"~", "'~'"},
	        {"true", "'true'"},
	        {"trueish", "trueish"},
	        {"1", "'1'"},
	        {"1e5", "'1e5'"},
	        {"0x1f", "'0x1f'"},
	        {"-1.5", "'-1.5'"},
	        {".inf", "'.inf'"},
	        {"12:30:00", "'12:30:00'"},
	        {"2026-11-23", "'2026-11-23'"},
	        {"<<", "'<<'"},
	        {"=", "'='"},
	        {"---", "'---'"},
	        {"- a", "'- a'"},
	        {" a", "' a'"},
	        {"a ", "'a '"},
	        {"a: b", "'a: b'"},
	        {"a:", "'a:'"},
	        {"a #b", "'a #b'"},
	        {"it's", "it's"},
	        {"'it", "'''it'"},
	        {"a\nb", "\"a\\nb\""},
	        {"\t", "\"\\t\""},
	        {"\033[0m", "\"\\e[0m\""},
	        {"\x7f", "\"\\x7F\""},
	        {"a\xc2\x85"
	         "b",
	         "\"a\\Nb\""},
	        {"a\xe2\x80\xa8"
	         "b",
	         "\"a\\Lb\""},
	        {"\xef\xbb\xbf"
	         "b",
	         "\"\\uFEFFb\""},
	        {"\xc3\xa9t\xc3\xa9", "'\xc3\xa9t\xc3\xa9'"},
	        {"\xf0\x9f\x98\x80", "\"\\U0001F600\""},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		char expected[64];

		(void)snprintf(expected, sizeof(expected), "- %s\n", cases[i].yaml);
		assert_yaml(json_pack("[s]", cases[i].text), expected);
	}
}

static void keys_are_quoted_as_texts_are(void **state)
{
	static const struct {
		const char *key, *yaml;
	} cases[] = {
	        {"app", "app: 0\n"},
	        {"yes", "'yes': 0\n"},
	        {"1.5", "'1.5': 0\n"},
	        {"", "'': 0\n"},
	        {"a: b", "'a: b': 0\n"},
	        {"\033[0m", "\"\\e[0m\": 0\n"},
	        {"a\nb", "? \"a\\nb\"\n: 0\n"},
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++)
		assert_yaml(json_pack("{s:i}", cases[i].key, 0), cases[i].yaml);
}

static void all_kinds_of_values_are_told(void **state)
{
	(void)state;
	assert_yaml(json_pack("{s:[n, b, b, I, i, []], s:{s:{}, s:s}}", "list", 1, 0,
	                      (json_int_t)INT64_MAX, -7, "object", "empty", "text", "x"),
	            "list:\n- null\n- true\n- false\n- 9223372036854775807\n- -7\n- []\n"
	            "object:\n  empty: {}\n  text: x\n");
	assert_yaml(json_pack("[f, f, f, f]", 0.5, 3.0, 1e20, -1.5e20),
	            "- 0.5\n- 3.0\n- 1.0e+20\n- -1.5e+20\n");
}

static void a_document_of_several_is_marked(void **state)
{
	json_t *json = json_pack("{s:s}", "a", "b");
	struct vm_err err = {0};
	char *text = cli_yaml_text(json, true, &err);

	(void)state;
	assert_string_equal(text, "---\na: b\n");
	free(text);
	json_decref(json);
}

/* Every text of up to two of these characters is what it was when it is read again. */
static void texts_come_back(void **state)
{
	static const char *const pieces[] = {
	        "",  " ",  "\n", "\t", "a", "1", "-",  "?",  ":", "#",  ",", "[",  "]",
	        "{", "}",  "&",  "*",  "!", "|", ">",  "'",  "%", "@",  "`", "~",  "=",
	        "<", "\"", "\\", "y",  ".", "+", "\r", "\1", "_", "0x", "é", "漢", "\xc2\xa0"};
	enum { COUNT = VM_ARRAY_LEN(pieces) };

	(void)state;
	for (size_t i = 0; i < (size_t)COUNT * COUNT; i++) {
		char text[16];
		struct vm_err err = {0};
		yaml_document_t document;
		yaml_parser_t parser;
		yaml_node_t *root;
		json_t *json;
		char *yaml;

		(void)snprintf(text, sizeof(text), "%s%s", pieces[i / COUNT], pieces[i % COUNT]);
		json = json_string(text);
		yaml = cli_yaml_text(json, false, &err);
		assert_non_null(yaml);
		assert_int_equal(yaml_parser_initialize(&parser), 1);
		yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, strlen(yaml));
		assert_int_equal(yaml_parser_load(&parser, &document), 1);
		root = yaml_document_get_root_node(&document);
		assert_string_equal((const char *)root->data.scalar.value, text);
		yaml_document_delete(&document);
		yaml_parser_delete(&parser);
		free(yaml);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(texts_that_would_be_something_else_are_quoted),
	        cmocka_unit_test(keys_are_quoted_as_texts_are),
	        cmocka_unit_test(all_kinds_of_values_are_told),
	        cmocka_unit_test(a_document_of_several_is_marked),
	        cmocka_unit_test(texts_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
