/* SPDX-License-Identifier: Apache-2.0 */
/* doctor looks while others change things. */
#include "site.h"

#include <stdlib.h>

static struct vm_root *the_root; /* of the test that runs now, for the driver's hook */

/* Between the look at the liveness and the question to the VMM somebody kills it. */
static void kill_when_asked(enum fake_call call, const struct vm_machine *machine)
{
	struct vm_err err = {0};

	if (call == FAKE_QUERY)
		assert_int_equal(vm_vmm_reap(the_root, machine->id, &err), 0);
}

/* Findings of this level that say so. */
static size_t count_findings(struct site *site, enum vm_finding_level level, const char *text)
{
	VM_AUTO_FREE struct vm_finding *findings = NULL;
	size_t count = 0, n = 0;

	if (vm_doctor(site_op(site, "doctor"), VM_DOCTOR_LOOK, &findings, &count, &site->err) < 0)
		fail_msg("%s", site->err.message);
	for (size_t i = 0; i < count; i++)
		n += findings[i].level == level && strstr(findings[i].message, text);
	return n;
}

static void a_vmm_that_dies_meanwhile_is_not_called_silent(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	the_root = &site->root;
	fake_expect(FAKE_QUERY, FAKE_FAIL, 0, NULL);
	fake_get()->on_call = kill_when_asked;
	assert_int_equal(count_findings(site, VM_FINDING_ERROR, "web"), 0);
	fake_forgive();
	assert_int_equal(count_findings(site, VM_FINDING_LEFTOVER, "web"), 1);
}

static void a_vmm_that_lives_and_does_not_answer_is(void **state)
{
	struct site *site = *state;

	site_make(site, "web", VM_STATE_RUNNING);
	fake_expect(FAKE_QUERY, FAKE_FAIL, 0, NULL);
	assert_int_equal(count_findings(site, VM_FINDING_ERROR, "web"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_vmm_that_dies_meanwhile_is_not_called_silent,
	                                        site_setup, site_teardown),
	        cmocka_unit_test_setup_teardown(a_vmm_that_lives_and_does_not_answer_is, site_setup,
	                                        site_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
