/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the event of a fork and its counters add to the commit that publishes it: the same commit
 * without and with an event, in a store that was just opened, as every verb finds it. Prints the
 * medians in microseconds. Usage: commit DIRECTORY
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

enum { ROUNDS = 1000 };

static const char id[] = "aaaaaaaaaaaaaaaaaaaaaaaa";

static void die(const struct vm_err *err)
{
	fprintf(stderr, "commit: %s\n", err->message);
	exit(1);
}

static int by_size(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return (left > right) - (left < right);
}

static void make_row(const char *path)
{
	static const char insert[] =
	        "INSERT INTO instance (id, name, state, hypervisor, vcpus, memory_bytes, "
	        "created_us,"
	        " changed_us, spec) VALUES ('aaaaaaaaaaaaaaaaaaaaaaaa', 'bench', 'stopped', 'none',"
	        " 1, 1, 0, 0, '{}')";
	struct vm_store *store;
	struct vm_err err = {0};
	sqlite3 *db = NULL;

	if (vm_store_open(path, true, &store, &err) < 0)
		die(&err);
	vm_store_close(store);
	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db, insert, NULL, NULL, NULL) != SQLITE_OK)
		vm_err_set(&err, VM_ERR_SYSTEM, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
	if (err.code != VM_OK)
		die(&err);
}

static int64_t commit_once(const char *path, const struct vm_event *event)
{
	struct vm_instance row = {0};
	struct vm_store *store;
	struct vm_err err = {0};
	struct vm_change change = {.id = id, .state = VM_STATE_RUNNING, .relocation = "relative"};
	int64_t began;

	/* What was read before is in memory by then: as in a fork, which has looked at its source.
	 */
	if (vm_store_open(path, false, &store, &err) < 0 ||
	    vm_store_get(store, id, &row, &err) < 0 ||
	    vm_store_intend(store, id, "fork", "", NULL, &err) < 0)
		die(&err);
	change.generation = row.generation;
	vm_instance_free(&row);
	began = vm_monotonic_us();
	if (vm_store_commit(store, &change, 1, event, false, &err) < 0)
		die(&err);
	began = vm_monotonic_us() - began;
	vm_store_close(store);
	return began;
}

int main(int argc, char **argv)
{
	const struct vm_event event = {.verb = "fork",
	                               .instance_id = id,
	                               .name = "bench",
	                               .duration_us = 20000,
	                               .relocation = "relative",
	                               .disks = "reflink"};
	int64_t without[ROUNDS], with[ROUNDS];
	char path[4096];

	if (argc != 2)
		return 2;
	snprintf(path, sizeof(path), "%s/commit.db", argv[1]);
	make_row(path);
	for (size_t i = 0; i < ROUNDS; i++) {
		without[i] = commit_once(path, NULL);
		with[i] = commit_once(path, &event);
	}
	qsort(without, ROUNDS, sizeof(*without), by_size);
	qsort(with, ROUNDS, sizeof(*with), by_size);
	printf("%jd %jd\n", (intmax_t)without[ROUNDS / 2], (intmax_t)with[ROUNDS / 2]);
	return 0;
}
