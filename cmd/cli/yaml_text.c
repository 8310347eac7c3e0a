/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "util.h"

/* Plain scalars beginning with a letter that one of the YAMLs takes for something else than text.
 */
static bool is_word_of_yaml(const char *text)
{
	static const char *const words[] = {"y",   "n",    "yes",   "no",  "on",
	                                    "off", "true", "false", "null"};

	for (size_t i = 0; i < VM_ARRAY_LEN(words); i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	return false;
}

/*
 * Numbers, dates, times and all that has a meaning of its own begin with something else than a
 * letter or a slash. Whether what follows needs quotes the emitter knows.
 */
static bool is_plain(const char *text)
{
	bool letter = (text[0] >= 'a' && text[0] <= 'z') || (text[0] >= 'A' && text[0] <= 'Z');

	return (letter || text[0] == '/' || text[0] == '_') && !is_word_of_yaml(text);
}

/* Line breaks and what is not ASCII: in double quotes it cannot be changed by how lines fold. */
static bool needs_escapes(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return true;
	return strstr(text, "\xc2\x85") != NULL || strstr(text, "\xe2\x80\xa8") != NULL ||
	       strstr(text, "\xe2\x80\xa9") != NULL;
}

static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int made)
{
	return made != 0 && yaml_emitter_emit(emitter, event) != 0;
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, size_t len, bool plain,
                        yaml_scalar_style_t style)
{
	yaml_event_t event;

	return emit(emitter, &event,
	            yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
	                                         (int)len, plain, true, style));
}

static bool emit_string(yaml_emitter_t *emitter, const char *text, size_t len)
{
	if (needs_escapes(text, len))
		return emit_scalar(emitter, text, len, false, YAML_DOUBLE_QUOTED_SCALAR_STYLE);
	return emit_scalar(emitter, text, len, is_plain(text), YAML_PLAIN_SCALAR_STYLE);
}

static bool emit_plain(yaml_emitter_t *emitter, const char *text)
{
	return emit_scalar(emitter, text, strlen(text), true, YAML_PLAIN_SCALAR_STYLE);
}

/* As many digits as in JSON (emit.c). YAML 1.1 knows a number with an exponent by its
 * point: 1.0e+20. */
static bool emit_real(yaml_emitter_t *emitter, double value)
{
	char digits[40], text[48];
	size_t mantissa;

	(void)snprintf(digits, sizeof(digits), "%.15g", value);
	mantissa = strcspn(digits, "e");
	(void)snprintf(text, sizeof(text), "%.*s%s%s", (int)mantissa, digits,
	               memchr(digits, '.', mantissa) != NULL ? "" : ".0", digits + mantissa);
	return emit_plain(emitter, text);
}

static bool emit_integer(yaml_emitter_t *emitter, json_int_t value)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, value);
	return emit_plain(emitter, text);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *json);

static bool emit_array(yaml_emitter_t *emitter, const json_t *json)
{
	yaml_event_t event;

	if (!emit(emitter, &event,
	          yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
	                                               YAML_BLOCK_SEQUENCE_STYLE)))
		return false;
	for (size_t i = 0; i < json_array_size(json); i++)
		if (!emit_value(emitter, json_array_get(json, i)))
			return false;
	return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

static bool emit_object(yaml_emitter_t *emitter, const json_t *json)
{
	json_t *object = (json_t *)json, *value; /* jansson iterates over what is not const only */
	yaml_event_t event;
	const char *key;

	if (!emit(emitter, &event,
	          yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
	                                              YAML_BLOCK_MAPPING_STYLE)))
		return false;
	json_object_foreach(object, key, value) if (!emit_string(emitter, key, strlen(key)) ||
	                                            !emit_value(emitter, value)) return false;
	return emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return emit_object(emitter, json);
	case JSON_ARRAY:
		return emit_array(emitter, json);
	case JSON_STRING:
		return emit_string(emitter, json_string_value(json), json_string_length(json));
	case JSON_INTEGER:
		return emit_integer(emitter, json_integer_value(json));
	case JSON_REAL:
		return emit_real(emitter, json_real_value(json));
	case JSON_TRUE:
		return emit_plain(emitter, "true");
	case JSON_FALSE:
		return emit_plain(emitter, "false");
	default:
		return emit_plain(emitter, "null");
	}
}

static bool emit_document(yaml_emitter_t *emitter, const json_t *json, bool marked)
{
	yaml_event_t event;

	return emit(emitter, &event,
	            yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
	       emit(emitter, &event,
	            yaml_document_start_event_initialize(&event, NULL, NULL, NULL, !marked)) &&
	       emit_value(emitter, json) &&
	       emit(emitter, &event, yaml_document_end_event_initialize(&event, 1)) &&
	       emit(emitter, &event, yaml_stream_end_event_initialize(&event));
}

static int take_output(void *file, unsigned char *data, size_t size)
{
	return fwrite(data, 1, size, file) == size;
}

char *cli_yaml_text(const json_t *json, bool marked, struct vm_err *err)
{
	yaml_emitter_t emitter;
	char *text = NULL;
	size_t size = 0;
	bool done = false;
	FILE *file = open_memstream(&text, &size);

	if (file != NULL && yaml_emitter_initialize(&emitter) != 0) {
		yaml_emitter_set_output(&emitter, take_output, file);
		yaml_emitter_set_unicode(&emitter, 1);
		yaml_emitter_set_width(&emitter, -1); /* a line each */
		done = emit_document(&emitter, json, marked) && yaml_emitter_flush(&emitter) != 0;
		yaml_emitter_delete(&emitter);
	}
	if (file != NULL && fclose(file) != 0)
		done = false;
	if (done)
		return text;
	free(text);
	vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return NULL;
}
