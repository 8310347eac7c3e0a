/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs.h"

#include <string.h>

#include "util.h"

const struct cli_verb_entry cli_verbs[] = {
        {"create", "Make an instance from a spec file or from flags", NULL},
        {"start", "Boot stopped instances", NULL},
        {"stop", "Shut instances down", NULL},
        {"pause", "Halt the CPUs of running instances", NULL},
        {"resume", "Let paused instances run on", NULL},
        {"standby", "Save instances to disk and end their hypervisor", NULL},
        {"restore", "Run instances on from standby", NULL},
        {"fork", "Make new instances that continue from the state of another", NULL},
        {"snapshot", "Keep images of instances, and fork, restore and move them", NULL},
        {"state", "Look into the state file of a snapshot, and change its paths", NULL},
        {"ls", "List instances", "list"},
        {"tree", "Draw the family tree of instances and snapshots", NULL},
        {"label", "Show and change the labels of an instance or snapshot", NULL},
        {"inspect", "Show everything about instances as JSON", NULL},
        {"rm", "Remove instances", "remove"},
        {"wait", "Wait until instances are in a state", NULL},
        {"logs", "Print what an instance wrote to its console", NULL},
        {"console", "Attach to the serial console of an instance", NULL},
        {"events", "Show what was done, by which verb, and how it ended", NULL},
        {"stats", "Show counters, restore slots, locks, and what makes a host slow", NULL},
        {"top", "Show what instances use, live", NULL},
        {"config", "Show the settings, where each comes from, and the templates of specs", NULL},
        {"doctor", "Check the host and the data root", NULL},
        {NULL, NULL, NULL},
};

const char *cli_verb_summary(const char *name)
{
	for (const struct cli_verb_entry *verb = cli_verbs; verb->name != NULL; verb++)
		if (strcmp(verb->name, name) == 0)
			return verb->summary;
	return NULL;
}

const char *cli_verb_resolve(const char *name)
{
	for (const struct cli_verb_entry *verb = cli_verbs; verb->name != NULL; verb++) {
		if (strcmp(verb->name, name) == 0)
			return verb->name;
		if (verb->alias != NULL && strcmp(verb->alias, name) == 0)
			return verb->name;
	}
	return NULL;
}

const char *cli_verb_suggest(const char *name)
{
	const char *words[2 * VM_ARRAY_LEN(cli_verbs) + 1] = {NULL};
	size_t count = 0;

	for (const struct cli_verb_entry *verb = cli_verbs; verb->name != NULL; verb++) {
		words[count++] = verb->name;
		if (verb->alias != NULL)
			words[count++] = verb->alias;
	}
	words[count] = "help";
	return vm_suggest(name, words);
}
