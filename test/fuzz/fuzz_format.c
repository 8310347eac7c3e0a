/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --format with any template, and YAML of what it makes. Besides "no crash": a template that is
 * refused says so as usage; a table has as many tabs as it has columns, less one, in its header and
 * in its rows; and YAML reads back as the text that it was made of.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "../../cmd/cli/format.h"
#include "../../cmd/cli/yaml_text.h"
#include "util.h"

enum { TEMPLATE_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) require((condition) != 0, #condition, __LINE__)

static void require(int holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, line, what);
	abort();
}

static const char shape[] = "id name memory_bytes parent{id name} disks[id size_bytes] labels{=}"
                            " spec{*}";
static const char values[] =
        "{\"id\": \"a\\tb\\u001b[0m\", \"name\": null, \"memory_bytes\": 1,"
        " \"parent\": {\"id\": \"x\", \"name\": \"y\"}, \"disks\": [{\"id\": \"root\"}],"
        " \"labels\": {\"app\": \"web\"}, \"spec\": {\"boot_args\": \"ro\"}}";

/* malloc'ed. */
static char *written(const struct cli_format *format, const json_t *object)
{
	struct vm_err err = {0};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	REQUIRE(out != NULL);
	if (object == NULL)
		cli_format_write_header(format, out);
	else
		REQUIRE(cli_format_write(format, object, format->table, out, &err) == 0);
	REQUIRE(fclose(out) == 0);
	return text;
}

static size_t tabs(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\t';
	return count;
}

static void require_yaml(const char *text)
{
	json_t *json = json_string(text);
	struct vm_err err = {0};
	yaml_document_t document;
	yaml_parser_t parser;
	yaml_node_t *root;
	char *yaml;

	if (json == NULL) /* no UTF-8 */
		return;
	yaml = cli_yaml_text(json, true, &err);
	REQUIRE(yaml != NULL);
	REQUIRE(yaml_parser_initialize(&parser) == 1);
	yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, strlen(yaml));
	REQUIRE(yaml_parser_load(&parser, &document) == 1);
	root = yaml_document_get_root_node(&document);
	REQUIRE(strcmp((const char *)root->data.scalar.value, text) == 0);
	yaml_document_delete(&document);
	yaml_parser_delete(&parser);
	free(yaml);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cli_format format;
	struct vm_err err = {0};
	char *template;

	if (size > TEMPLATE_MAX)
		return 0;
	template = strndup((const char *)data, size);
	REQUIRE(template != NULL);
	if (cli_format_compile(template, shape, &format, &err) < 0) {
		REQUIRE(err.code == VM_ERR_USAGE && err.message[0] != '\0');
	} else {
		json_t *object = json_loads(values, 0, NULL);
		char *header = written(&format, NULL), *row = written(&format, object);

		if (format.table && strstr(template, "{{\"") == NULL &&
		    strstr(template, "{{ ") == NULL && strstr(template, "{{\t") == NULL)
			REQUIRE(tabs(header) + 1 == format.columns &&
			        tabs(row) + 1 == format.columns);
		require_yaml(row);
		free(header);
		free(row);
		json_decref(object);
	}
	cli_format_free(&format);
	require_yaml(template);
	free(template);
	return 0;
}
