/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: everything that turns outside text into a spec or settings. The first byte chooses the
 * reader. What is accepted must pass the rules, survive being stored, and come back the same.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined ... && ./fuzz_spec -max_total_time=60 CORPUS
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "spec.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "fuzz_spec: %s\n", what);
	abort();
}

/* A failure must say what and why; an accepted text must not leave an error behind. */
static bool settle(int rc, struct vm_err *err)
{
	require((rc == 0) == (err->code == VM_OK), "result and error disagree");
	require(rc == 0 || err->message[0], "an error without a message");
	require(!strpbrk(err->message, "\r\n\t\x1b"), "a control character in a message");
	vm_err_clear(err);
	return rc == 0;
}

static void round_trip(const struct vm_spec *spec)
{
	json_t *json = vm_spec_to_json(spec);
	struct vm_spec back, copy;
	struct vm_err err = {0};
	json_t *again;

	require(json != NULL, "an accepted spec cannot be stored");
	require(vm_spec_from_json(json, &back, &err) == 0, "a stored spec is refused");
	again = vm_spec_to_json(&back);
	require(json_equal(json, again), "a stored spec comes back different");
	json_decref(again);
	require(vm_spec_copy(&back, &copy, &err) == 0, "a copy failed");
	vm_spec_free(&back);
	again = vm_spec_to_json(&copy);
	require(json_equal(json, again), "a copy is different");
	json_decref(again);
	vm_spec_free(&copy);
	json_decref(json);
}

static void fuzz_yaml(const char *text, size_t len)
{
	struct vm_err err = {0};
	struct vm_spec spec;

	if (!settle(vm_spec_parse(text, len, "fuzz.yaml", "dir", &spec, &err), &err))
		return;
	round_trip(&spec);
	if (spec.kernel)
		require(vm_spec_check(&spec, &err) == 0, "an accepted file fails the check");
	vm_spec_free(&spec);
}

static void fuzz_config(const char *text, size_t len)
{
	struct vm_config config;
	struct vm_err err = {0};

	vm_config_init(&config);
	if (!settle(vm_config_parse(text, len, "fuzz.yaml", VM_PLACE_ROOT, &config, &err), &err))
		return;
	require(config.memory_overcommit >= 0 && config.memory_overcommit <= 1000, "overcommit");
	require(config.api_timeout_ms >= 100 && config.lock_wait_ms >= -1, "a wait");
	require(config.max_concurrent_restores <= 1024, "restores");
}

static void fuzz_json(const char *text, size_t len)
{
	json_t *json = json_loadb(text, len, JSON_ALLOW_NUL, NULL);
	struct vm_err err = {0};
	struct vm_spec spec;

	if (!json)
		return;
	if (vm_spec_from_json(json, &spec, &err) == 0) {
		round_trip(&spec);
		vm_spec_free(&spec);
	} else {
		require(err.code == VM_ERR_CORRUPT, "a damaged store is not called corrupt");
	}
	json_decref(json);
}

/* Lines, each one --disk argument or a number. */
static void fuzz_arguments(const char *text, size_t len)
{
	char *copy = calloc(1, len + 1);
	struct vm_spec spec;
	char *rest = copy;

	require(copy != NULL, "memory");
	memcpy(copy, text, len);
	vm_spec_init(&spec);
	while (rest) {
		const char *argument = strsep(&rest, "\n");
		struct vm_err err = {0};
		uint64_t bytes;
		int64_t n;

		if (vm_spec_add_disk(&spec, argument, &err) == 0)
			round_trip(&spec);
		vm_err_clear(&err);
		if (vm_size_parse(argument, "size", &bytes, &err) == 0)
			require(bytes <= INT64_MAX, "a size out of range");
		vm_err_clear(&err);
		if (vm_duration_parse(argument, "wait", &n, &err) == 0)
			require(n >= -1, "a duration out of range");
		vm_err_clear(&err);
		if (vm_int_parse(argument, "n", -5, 5, &n, &err) == 0)
			require(n >= -5 && n <= 5, "a number out of range");
	}
	vm_spec_free(&spec);
	free(copy);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		fuzz_yaml(text, size - 1);
		break;
	case 1:
		fuzz_config(text, size - 1);
		break;
	case 2:
		fuzz_json(text, size - 1);
		break;
	default:
		fuzz_arguments(text, size - 1);
		break;
	}
	return 0;
}
