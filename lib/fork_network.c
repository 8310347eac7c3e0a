/* SPDX-License-Identifier: Apache-2.0 */
/* Forks with a network of their own: two guests never have one tap device. */
#include <stdlib.h>
#include <string.h>

#include "fork_impl.h"
#include "network.h"
#include "util.h"

/* The network of fork number `index`: {} of the pattern is 1, 2, ... */
static int set_network(const struct vm_fork *fork, size_t index, struct vm_spec *spec,
                       struct vm_err *err)
{
	const char *pattern = fork->request->network, *at = strstr(pattern, "{}");
	char text[64];
	int n = at ? snprintf(text, sizeof(text), "%.*s%zu%s", (int)(at - pattern), pattern,
	                      index + 1, at + 2)
	           : snprintf(text, sizeof(text), "%s", pattern);

	if (n < 0 || (size_t)n >= sizeof(text))
		return vm_err_set(err, VM_ERR_USAGE, "network: '%.64s' is too long", pattern);
	return vm_spec_set_network(spec, text, err) < 0 ? vm_err_wrap(err, "network") : 0;
}

/* The device is in the saved state, and what it is attached to has to be of the same kind. */
static int check_kind(const struct vm_fork *fork, const struct vm_spec *spec, struct vm_err *err)
{
	const struct vm_spec *source = &fork->source.spec;

	if (!vm_fork_with_memory(fork) || spec->network == source->network)
		return 0;
	vm_err_set(err, VM_ERR_INCOMPATIBLE,
	           "%s was saved with the network '%s', and goes on with none of another kind",
	           fork->source.row.name,
	           source->network == VM_NETWORK_TAP    ? "tap"
	           : source->network == VM_NETWORK_USER ? "user"
	                                                : "none");
	return vm_err_hint(err, "a fork that boots afresh can have any: --target-state=stopped");
}

static int check_given(struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_fork_request *request = fork->request;

	if (!fork->source.driver->caps.network_override)
		return vm_err_set(err, VM_ERR_UNSUPPORTED, "network: %s cannot give a fork another",
		                  fork->source.driver->name);
	if (request->count > 1 && strncmp(request->network, "tap=", 4) == 0 &&
	    !strstr(request->network, "{}")) {
		vm_err_set(err, VM_ERR_USAGE, "%u forks cannot all have the network '%s'",
		           request->count, request->network);
		return vm_err_hint(err, "put {} where the number goes: --network '%s{}'",
		                   request->network);
	}
	fork->specs = vm_calloc(request->count, sizeof(*fork->specs), err);
	if (!fork->specs)
		return -1;
	for (size_t i = 0; i < request->count; i++) {
		struct vm_spec *spec = &fork->specs[i];

		if (vm_spec_copy(&fork->source.spec, spec, err) < 0 ||
		    set_network(fork, i, spec, err) < 0 || check_kind(fork, spec, err) < 0 ||
		    fork->source.driver->check_spec(spec, err) < 0 ||
		    (fork->target == VM_STATE_RUNNING && vm_network_check(spec, err) < 0))
			return -1;
		if (fork->source.row.state == VM_STATE_RUNNING &&
		    fork->target == VM_STATE_RUNNING && spec->network == VM_NETWORK_TAP &&
		    strcmp(spec->tap, fork->source.spec.tap) == 0)
			return vm_err_set(err, VM_ERR_BUSY, "%s runs with the tap device '%s'",
			                  fork->source.row.name, spec->tap);
	}
	return 0;
}

int vm_fork_check_network(struct vm_fork *fork, struct vm_err *err)
{
	const struct vm_spec *source = &fork->source.spec;
	bool runs = fork->source.row.state == VM_STATE_RUNNING;

	if (fork->request->network)
		return check_given(fork, err);
	if (source->network != VM_NETWORK_TAP || fork->target != VM_STATE_RUNNING)
		return 0;
	if (fork->request->count == 1 && !runs)
		return vm_network_check(source, err);
	vm_err_set(err, VM_ERR_BUSY,
	           runs ? "%s runs with the tap device '%s': a fork that runs needs another"
	                : "%s has the tap device '%s': only one of its forks could run with it",
	           fork->source.row.name, source->tap);
	return vm_err_hint(err, "give each its own: --network 'tap=NAME{}'");
}

const struct vm_spec *vm_fork_spec(const struct vm_fork *fork, size_t index)
{
	return fork->specs ? &fork->specs[index] : &fork->source.spec;
}

void vm_fork_free_specs(struct vm_fork *fork)
{
	for (size_t i = 0; fork->specs && i < fork->request->count; i++)
		vm_spec_free(&fork->specs[i]);
	free(fork->specs);
}
