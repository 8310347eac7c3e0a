/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which driver runs a new instance, of a table of three. Every unit test is linked with a table of
 * the fake driver alone, so what looks into the table is compiled here once more, with another.
 */
#define vm_drivers drivers_of_this_test
/* Not for an analyzer of this unit: it would wonder what if vm_err_set() did not return -1. */
#ifndef __clang_analyzer__
#include "../../lib/choose.c"        /* NOLINT(bugprone-suspicious-include) */
#include "../../lib/driver/driver.c" /* NOLINT(bugprone-suspicious-include) */
#endif

#include "choose.h"
#include "kvm.h"
#include "procs.h"

enum ask { CHECK, PROBE, SUITS, ASKS };
static const char *const ask_names[] = {"check", "probe", "suits"};

/* What each of the drivers answers. */
static struct plan {
	enum vm_code code[ASKS]; /* VM_OK: it agrees */
} plans[3];
static const struct vm_spec *asked_spec;
static char heard[512]; /* "a.check a.probe " */

static int answer(size_t i, enum ask ask, const struct vm_spec *spec, struct vm_err *err)
{
	size_t used = strlen(heard);

	snprintf(heard + used, sizeof(heard) - used, "%c.%s ", (char)('a' + i), ask_names[ask]);
	asked_spec = spec;
	if (plans[i].code[ask] == VM_OK)
		return 0;
	vm_err_set(err, plans[i].code[ask], "no %s by %c", ask_names[ask], (char)('a' + i));
	return vm_err_hint(err, "hint of %c", (char)('a' + i));
}

#define DRIVER(n)                                                                                  \
	static int check_##n(const struct vm_spec *spec, struct vm_err *err)                       \
	{                                                                                          \
		return answer(n, CHECK, spec, err);                                                \
	}                                                                                          \
	static int probe_##n(const struct vm_root *root, const struct vm_spec *spec,               \
	                     const char *saved, struct vm_driver_info *ret, struct vm_err *err)    \
	{                                                                                          \
		(void)root;                                                                        \
		(void)saved;                                                                       \
		memset(ret, 0, sizeof(*ret));                                                      \
		return answer(n, PROBE, spec, err);                                                \
	}                                                                                          \
	static int suits_##n(const struct vm_root *root, const struct vm_spec *spec,               \
	                     struct vm_err *err)                                                   \
	{                                                                                          \
		(void)root;                                                                        \
		return answer(n, SUITS, spec, err);                                                \
	}

DRIVER(0)
DRIVER(1)
DRIVER(2)

static bool emulates(const char *version)
{
	return strcmp(vm_version_accelerator(version), "tcg") == 0;
}

static const struct vm_driver a = {
        .name = "alpha", .check_spec = check_0, .probe = probe_0, .suits = suits_0};
static const struct vm_driver b = {.name = "beta",
                                   .check_spec = check_1,
                                   .probe = probe_1,
                                   .suits = suits_1,
                                   .emulates = emulates};
static const struct vm_driver c = {
        .name = "gamma", .check_spec = check_2, .probe = probe_2, .suits = suits_2};
const struct vm_driver *const drivers_of_this_test[] = {&a, &b, &c, NULL};

static struct vm_root root;
static struct vm_spec spec;

/* By the settings, of which the environment is one (test_config.c). */
static void want(const char *name)
{
	snprintf(root.config.hypervisor, sizeof(root.config.hypervisor), "%s", name);
}

static int setup(void **state)
{
	(void)state;
	memset(plans, 0, sizeof(plans));
	root = (struct vm_root){0};
	vm_config_init(&root.config);
	want("auto");
	vm_spec_init(&spec);
	heard[0] = '\0';
	asked_spec = NULL;
	return 0;
}

static void expect_choice(const struct vm_driver *want, const char *questions)
{
	const struct vm_driver *driver = NULL;
	struct vm_err err = {0};

	heard[0] = '\0';
	if (vm_choose_driver(&root, &spec, &driver, &err) < 0)
		fail_msg("%s (%s)", err.message, err.hint);
	assert_string_equal(driver->name, want->name);
	assert_string_equal(heard, questions);
	if (questions[0])
		assert_ptr_equal(asked_spec, &spec);
}

static struct vm_err expect_none(enum vm_code code, const char *message)
{
	const struct vm_driver *driver = NULL;
	struct vm_err err = {0};

	heard[0] = '\0';
	assert_int_equal(vm_choose_driver(&root, &spec, &driver, &err), -1);
	assert_string_equal(err.message, message);
	assert_string_equal(vm_code_name(err.code), vm_code_name(code));
	return err;
}

static void auto_takes_the_first_that_suits(void **state)
{
	static const enum vm_code codes[ASKS] = {VM_ERR_UNSUPPORTED, VM_ERR_HYPERVISOR,
	                                         VM_ERR_HYPERVISOR};
	static const char *const questions[ASKS] = {"a.check ", "a.check a.probe ",
	                                            "a.check a.probe a.suits "};
	char text[128];

	(void)state;
	expect_choice(&a, "a.check a.probe a.suits ");
	for (int ask = 0; ask < ASKS; ask++) {
		memset(plans, 0, sizeof(plans));
		plans[0].code[ask] = codes[ask];
		snprintf(text, sizeof(text), "%sb.check b.probe b.suits ", questions[ask]);
		expect_choice(&b, text);
	}
	plans[1].code[CHECK] = VM_ERR_USAGE;
	expect_choice(&c, "a.check a.probe a.suits b.check c.check c.probe c.suits ");
}

static void when_none_suits_the_reason_of_each_is_told(void **state)
{
	struct vm_err err;

	(void)state;
	plans[0].code[CHECK] = VM_ERR_UNSUPPORTED;
	plans[1].code[SUITS] = VM_ERR_HYPERVISOR;
	plans[2].code[PROBE] = VM_ERR_HYPERVISOR;
	err = expect_none(VM_ERR_HYPERVISOR, "no hypervisor here runs this guest");
	assert_string_equal(err.hint,
	                    "alpha: no check by a; beta: no suits by b; gamma: no probe by c");
	assert_string_equal(heard, "a.check b.check b.probe b.suits c.check c.probe ");
}

/* Another driver is no answer to that: an instance stays with what it was made with. */
static void what_keeps_from_asking_is_not_taken_for_a_no(void **state)
{
	static const enum vm_code codes[] = {VM_ERR_SYSTEM, VM_ERR_BUSY};

	(void)state;
	for (size_t i = 0; i < VM_ARRAY_LEN(codes); i++) {
		struct vm_err err;

		plans[0].code[PROBE] = codes[i];
		err = expect_none(codes[i], "no probe by a");
		assert_string_equal(err.hint, "hint of a");
		assert_string_equal(heard, "a.check a.probe ");
	}
}

/* As a probe says it of EMFILE, or of a fork() that fails (vm_err_sys). */
static void a_lack_of_resources_is_not_taken_for_a_no(void **state)
{
	(void)state;
	plans[0].code[PROBE] = VM_ERR_INSUFFICIENT_RESOURCES;
	expect_none(VM_ERR_INSUFFICIENT_RESOURCES, "no probe by a");
	assert_string_equal(heard, "a.check a.probe ");
}

static void the_spec_goes_before_the_settings(void **state)
{
	char gamma[] = "gamma", automatic[] = "auto";

	(void)state;
	want("beta");
	expect_choice(&b, "b.check ");
	want("alpha");
	expect_choice(&a, "a.check ");
	spec.hypervisor = gamma;
	expect_choice(&c, "c.check ");
	spec.hypervisor = automatic;
	plans[0].code[SUITS] = VM_ERR_HYPERVISOR;
	expect_choice(&b, "a.check a.probe a.suits b.check b.probe b.suits ");
	spec.hypervisor = NULL;
	want("auto");
	expect_choice(&b, "a.check a.probe a.suits b.check b.probe b.suits ");
}

static void a_named_one_need_not_suit_but_must_run_the_spec(void **state)
{
	(void)state;
	want("beta");
	plans[1].code[PROBE] = plans[1].code[SUITS] = VM_ERR_HYPERVISOR;
	expect_choice(&b, "b.check ");
	plans[1].code[CHECK] = VM_ERR_UNSUPPORTED;
	expect_none(VM_ERR_UNSUPPORTED, "no check by b");
}

static void an_unknown_name_is_unsupported_and_the_known_ones_are_listed(void **state)
{
	char name[] = "Alpha";

	(void)state;
	spec.hypervisor = name;
	expect_none(VM_ERR_UNSUPPORTED,
	            "there is no driver for hypervisor 'Alpha'; there are: alpha beta gamma");
	assert_string_equal(heard, "");
}

static void whether_any_guest_would_run_is_asked_without_a_spec(void **state)
{
	struct vm_driver easy = a;
	struct vm_err err = {0};

	(void)state;
	assert_int_equal(vm_choose_suits(&root, &a, NULL, &err), 0);
	assert_string_equal(heard, "a.probe a.suits ");
	assert_null(asked_spec);
	/* One that has nothing to say of that would. */
	easy.suits = NULL;
	plans[0].code[SUITS] = VM_ERR_HYPERVISOR;
	assert_int_equal(vm_choose_suits(&root, &easy, &spec, &err), 0);
	plans[0].code[PROBE] = VM_ERR_HYPERVISOR;
	assert_int_equal(vm_choose_suits(&root, &a, NULL, &err), -1);
	assert_string_equal(err.message, "no probe by a");
}

static const char *reason(const char *version, char *json, char buf[160])
{
	struct vm_instance row = {.spec = json};
	struct vm_err err = {0};

	snprintf(row.hypervisor, sizeof(row.hypervisor), "beta");
	snprintf(row.hypervisor_version, sizeof(row.hypervisor_version), "%s", version);
	memset(buf, 'x', 160);
	if (vm_choose_reason(&root, &row, buf, 160, &err) < 0)
		fail_msg("%s", err.message);
	return buf;
}

static void the_accelerator_of_an_instance_has_a_reason(void **state)
{
	char none[] = "{}", asks[] = "{\"accelerator\": \"tcg\"}",
	     automatic[] = "{\"accelerator\": \"auto\"}", path[96], buf[160];
	struct vm_kvm_status kvm;
	struct test_dir dir = {.fd = -1};
	struct vm_err err = {0};
	bool good;

	(void)state;
	/* Without a choice there is nothing to look for, in no store. */
	assert_string_equal(reason("1.0", asks, buf), "");
	test_dir_open(&dir);
	snprintf(path, sizeof(path), "%s/vmctl.db", dir.path);
	assert_int_equal(vm_store_open(path, true, &root.store, &err), 0);
	assert_int_equal(vm_kvm_status(root.store, &kvm, &err), 0);
	good = kvm.verdict == VM_KVM_GOOD;
	assert_string_equal(reason("1.0+tcg", asks, buf), "the spec asks for tcg");
	assert_string_equal(reason(good ? "1.0+kvm" : "1.0+tcg", automatic, buf), kvm.why);
	assert_string_equal(reason(good ? "1.0+tcg" : "1.0+kvm", none, buf),
	                    good ? "it was saved with it, or started when KVM was no good"
	                         : "it was saved with it, or started when KVM was good");
	vm_store_close(root.store);
	test_dir_close(&dir);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
	        TEST(auto_takes_the_first_that_suits),
	        TEST(when_none_suits_the_reason_of_each_is_told),
	        TEST(what_keeps_from_asking_is_not_taken_for_a_no),
	        TEST(a_lack_of_resources_is_not_taken_for_a_no),
	        TEST(the_spec_goes_before_the_settings),
	        TEST(a_named_one_need_not_suit_but_must_run_the_spec),
	        TEST(an_unknown_name_is_unsupported_and_the_known_ones_are_listed),
	        TEST(whether_any_guest_would_run_is_asked_without_a_spec),
	        TEST(the_accelerator_of_an_instance_has_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
