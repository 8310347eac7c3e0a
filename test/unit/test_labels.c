/* SPDX-License-Identifier: Apache-2.0 */
/* What labels may be, and what a selector chooses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "labels.h"
#include "util.h"

/* "a=1,b=2", in the order of the set; at most as long as the buffer. */
static const char *text_of(const struct vm_labels *labels, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < labels->count; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s=%s", i ? "," : "",
		                         labels->list[i].key, labels->list[i].value);
	return buf;
}

static void set(struct vm_labels *labels, const char *text)
{
	struct vm_err err = {0};

	if (vm_labels_set_text(labels, text, &err) < 0)
		fail_msg("%s: %s", text, err.message);
}

static void refuse(const char *text, const char *message)
{
	struct vm_labels labels = {0};
	struct vm_err err = {0};

	if (vm_labels_set_text(&labels, text, &err) == 0)
		fail_msg("was taken: %s", text);
	assert_int_equal(err.code, VM_ERR_USAGE);
	if (!strstr(err.message, message))
		fail_msg("%s, but expected: %s", err.message, message);
	assert_int_equal(labels.count, 0);
}

static void labels_are_kept_in_order_of_key_and_the_last_value_counts(void **state)
{
	struct vm_labels labels = {0}, more = {0};
	struct vm_err err = {0};
	char buf[256];

	(void)state;
	set(&labels, "tier=1");
	set(&labels, "app=web");
	set(&labels, "b=");
	set(&labels, "app=db=x");
	assert_string_equal(text_of(&labels, buf, sizeof(buf)), "app=db=x,b=,tier=1");
	set(&more, "zone=a");
	set(&more, "tier=2");
	assert_int_equal(vm_labels_put_all(&labels, &more, &err), 0);
	assert_string_equal(text_of(&labels, buf, sizeof(buf)), "app=db=x,b=,tier=2,zone=a");
	assert_true(vm_labels_remove(&labels, "b"));
	assert_false(vm_labels_remove(&labels, "b"));
	assert_true(vm_labels_remove(&labels, "zone"));
	assert_string_equal(text_of(&labels, buf, sizeof(buf)), "app=db=x,tier=2");
	assert_string_equal(vm_labels_get(&labels, "tier"), "2");
	assert_null(vm_labels_get(&labels, "tie"));
	vm_labels_free(&labels);
	vm_labels_free(&more);
}

static void keys_and_values_have_rules(void **state)
{
	char text[512];

	(void)state;
	refuse("app", "'app' is not KEY=VALUE");
	refuse("=x", "is not KEY=VALUE");
	refuse("", "is not KEY=VALUE");
	refuse("a b=x", "is not KEY=VALUE");
	refuse("a,b=x", "is not KEY=VALUE");
	refuse("a!=x", "is not KEY=VALUE");
	refuse("\xc3\xa4=x", "is not KEY=VALUE");
	refuse("a=\xff", "label 'a': the value is not UTF-8");
	refuse("a=x\ny", "control character (byte 0x0a)");
	refuse("a=\033[2J", "control character (byte 0x1b)");
	refuse("a=\x7f", "control character");
	memset(text, 'k', sizeof(text));
	memcpy(text + VM_LABEL_KEY_MAX + 1, "=x", 3);
	refuse(text, "is not KEY=VALUE");
	memcpy(text, "v=", 2);
	memset(text + 2, 'v', VM_LABEL_VALUE_MAX + 1);
	text[2 + VM_LABEL_VALUE_MAX + 1] = '\0';
	refuse(text, "more than 255 bytes");
}

static void the_longest_that_the_rules_allow_is_taken(void **state)
{
	struct vm_labels labels = {0};
	struct vm_err err = {0};
	char text[512];

	(void)state;
	memset(text, 'k', VM_LABEL_KEY_MAX);
	text[VM_LABEL_KEY_MAX] = '=';
	memset(text + VM_LABEL_KEY_MAX + 1, 'v', VM_LABEL_VALUE_MAX);
	text[VM_LABEL_KEY_MAX + 1 + VM_LABEL_VALUE_MAX] = '\0';
	set(&labels, text);
	set(&labels, "example.com/App_1-x.Y=\xc3\xa4, \"=\\");
	for (int i = 2; i < VM_LABELS_MAX; i++) {
		snprintf(text, sizeof(text), "n%d=", i);
		set(&labels, text);
	}
	set(&labels, "n2=another value of one that is there");
	assert_int_equal(vm_labels_set(&labels, "more", "", &err), -1);
	assert_int_equal(err.code, VM_ERR_USAGE);
	assert_non_null(strstr(err.message, "65 labels are too many, the limit is 64"));
	assert_int_equal(labels.count, VM_LABELS_MAX);
	vm_labels_free(&labels);
}

static void labels_come_back_from_json(void **state)
{
	struct vm_labels labels = {0}, back = {0};
	struct vm_err err = {0};
	char buf[256];
	json_t *json;

	(void)state;
	set(&labels, "b=\"\\");
	set(&labels, "a=\xc3\xa4");
	json = vm_labels_to_json(&labels);
	assert_int_equal(vm_labels_from_json(json, &back, &err), 0);
	assert_string_equal(text_of(&back, buf, sizeof(buf)), "a=\xc3\xa4,b=\"\\");
	json_decref(json);
	vm_labels_free(&labels);
	vm_labels_free(&back);
}

static void control_characters_that_an_older_vmctl_exported_do_not_come_back(void **state)
{
	struct vm_labels labels = {0};
	struct vm_err err = {0};
	char buf[256];
	json_t *json = json_loads("{\"a\": \"x\\ny\\u001b[2J\\u007f\\u00e4\"}", 0, NULL);

	(void)state;
	assert_int_equal(vm_labels_from_json(json, &labels, &err), 0);
	assert_string_equal(text_of(&labels, buf, sizeof(buf)), "a=x?y?[2J?\xc3\xa4");
	json_decref(json);
	vm_labels_free(&labels);
}

/* Out of an archive, which may come from anybody. */
static void json_that_breaks_the_rules_is_corrupt(void **state)
{
	static const char *const texts[] = {
	        "[]",
	        "[1]",
	        "{\"a\": 1}",
	        "{\"a\": null}",
	        "{\"a\": \"x\\u0000y\"}",
	        "{\"\": \"x\"}",
	        "{\"a b\": \"x\"}",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_labels labels = {0};
		struct vm_err err = {0};
		json_t *json = json_loads(texts[i], JSON_ALLOW_NUL, NULL);

		assert_non_null(json);
		if (vm_labels_from_json(json, &labels, &err) == 0)
			fail_msg("was taken: %s", texts[i]);
		assert_int_equal(err.code, VM_ERR_CORRUPT);
		json_decref(json);
	}
	assert_int_equal(vm_labels_from_json(NULL, &(struct vm_labels){0}, &(struct vm_err){0}),
	                 -1);
}

static void a_selector_chooses_what_meets_all_of_it(void **state)
{
	static const struct {
		const char *text;
		bool chosen;
	} cases[] = {
	        {"app", true},
	        {"ap", false},
	        {"!app", false},
	        {"!ap", true},
	        {"app=web", true},
	        {"app=we", false},
	        {"app=", false},
	        {"empty=", true},
	        {"empty", true},
	        {"none=", false},
	        {"app!=web", false},
	        {"app!=db", true},
	        {"none!=db", true},
	        {"app=web,tier=1", true},
	        {"app=web,tier=2", false},
	        {"tier!=2,!none,empty", true},
	        {"list=a\\,b", true},
	        {"list=a\\,b,app=web", true},
	        {"list=a\\,b,app=db", false},
	        {"slash=a\\\\", true},
	        {"eq==x", true},
	};
	struct vm_labels labels = {0};

	(void)state;
	set(&labels, "app=web");
	set(&labels, "tier=1");
	set(&labels, "empty=");
	set(&labels, "list=a,b");
	set(&labels, "slash=a\\");
	set(&labels, "eq==x");
	for (size_t i = 0; i < VM_ARRAY_LEN(cases); i++) {
		struct vm_label_selector selector = {0};
		struct vm_err err = {0};

		if (vm_label_selector_add(&selector, cases[i].text, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.message);
		if (vm_label_selector_matches(&selector, &labels) != cases[i].chosen)
			fail_msg("%s", cases[i].text);
		vm_label_selector_free(&selector);
	}
	vm_labels_free(&labels);
}

static void selectors_add_up_and_an_empty_one_chooses_all(void **state)
{
	struct vm_label_selector selector = {0};
	struct vm_labels labels = {0};
	struct vm_err err = {0};

	(void)state;
	set(&labels, "app=web");
	assert_true(vm_label_selector_matches(&selector, &labels));
	assert_int_equal(vm_label_selector_add(&selector, "app", &err), 0);
	assert_true(vm_label_selector_matches(&selector, &labels));
	assert_int_equal(vm_label_selector_add(&selector, "app!=web,!tier", &err), 0);
	assert_int_equal(selector.count, 3);
	assert_false(vm_label_selector_matches(&selector, &labels));
	vm_label_selector_free(&selector);
	vm_labels_free(&labels);
}

static void a_selector_that_says_nothing_or_two_things_is_refused(void **state)
{
	static const char *const texts[] = {
	        "",          ",",          "app,",  ",app", "=x",       "!",     "!app=web",
	        "!app!=web", "a b",        "a b=c", "app!", "app!x",    "app>1", "!!a",
	        "a,,b",      "\xc3\xa4=1", "app ",  " app", "app =web",
	};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(texts); i++) {
		struct vm_label_selector selector = {0};
		struct vm_err err = {0};

		if (vm_label_selector_add(&selector, texts[i], &err) == 0)
			fail_msg("was taken: '%s'", texts[i]);
		assert_int_equal(err.code, VM_ERR_USAGE);
		assert_non_null(strstr(err.hint, "KEY!=VALUE"));
		vm_label_selector_free(&selector);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(labels_are_kept_in_order_of_key_and_the_last_value_counts),
	        cmocka_unit_test(keys_and_values_have_rules),
	        cmocka_unit_test(the_longest_that_the_rules_allow_is_taken),
	        cmocka_unit_test(labels_come_back_from_json),
	        cmocka_unit_test(json_that_breaks_the_rules_is_corrupt),
	        cmocka_unit_test(control_characters_that_an_older_vmctl_exported_do_not_come_back),
	        cmocka_unit_test(a_selector_chooses_what_meets_all_of_it),
	        cmocka_unit_test(selectors_add_up_and_an_empty_one_chooses_all),
	        cmocka_unit_test(a_selector_that_says_nothing_or_two_things_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
