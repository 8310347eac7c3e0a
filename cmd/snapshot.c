/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "snapshot/snapshot.h"

/* They take libraries that the others would have to load as well: snapshot-transfer.c. */
static const struct cli_verb snapshot_export = {
        .name = "export", .summary = "Write a snapshot as one file, or to a pipe"};
static const struct cli_verb snapshot_import = {
        .name = "import", .summary = "Make a snapshot of what export has written"};

static const struct cli_verb *const commands[] = {
        &snapshot_create,  &snapshot_ls,       &snapshot_inspect, &snapshot_fork,
        &snapshot_restore, &snapshot_compress, &snapshot_adopt,   &snapshot_rm,
        &snapshot_export,  &snapshot_import,   &snapshot_gc,      NULL,
};

static const struct cli_group group = {
        .name = "snapshot", .commands = commands, .other = "vmctl-snapshot-transfer"};

int main(int argc, char **argv)
{
	struct snapshot_options options = {
	        .fork = {.request = {.count = 1}},
	        .gc = {.keep_last = -1, .keep_within_us = -1, .max_bytes = -1},
	};
	int status = cli_main_group(&group, &options, argc, argv);

	vm_image_info_free(&options.info);
	vm_labels_free(&options.fork.labels);
	vm_label_selector_free(&options.selector);
	for (size_t i = 0; i < options.adopt.disk_count; i++)
		free(options.disks[i].recorded);
	return status;
}
