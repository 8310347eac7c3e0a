/* SPDX-License-Identifier: Apache-2.0 */
/* ls and inspect. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli/table.h"
#include "snapshot.h"
#include "usage.h"
#include "util.h"
#include "when.h"

enum { SHORT_ID = 12 };

/* What snapshot_json() makes, for --format; a test holds them against each other. */
#define SNAPSHOT_SHAPE                                                                             \
	"id name state memory instance{id name} hypervisor hypervisor_version guest_cid vcpus"     \
	" memory_bytes disks[id file size_bytes format read_only root] directory created expires"  \
	" comment labels{=} relocation alias_path exclusive_bytes shared_bytes spec{*}"

int snapshot_find(struct cli *cli, const char *selector, struct vm_instance *ret,
                  struct vm_err *err)
{
	if (vm_store_find(cli->root.store, selector, ret, err) < 0)
		return -1;
	if (vm_snapshot_require(ret, err) == 0)
		return 0;
	vm_instance_free(ret);
	return -1;
}

static json_t *moment_json(int64_t moment_us)
{
	char text[VM_WHEN_SIZE];

	return moment_us != 0 ? json_string(vm_when_format(moment_us, text)) : json_null();
}

json_t *snapshot_json(const struct cli *cli, const struct vm_instance *image,
                      const struct vm_usage *usage, struct vm_err *err)
{
	struct vm_usage_bytes bytes = {0};
	struct vm_image_info info = {0};
	json_t *spec = json_loads(image->spec, 0, NULL), *json;

	if (vm_store_get_image(cli->root.store, image->id, &info, err) < 0) {
		json_decref(spec);
		return NULL;
	}
	if (usage != NULL)
		bytes = vm_usage_of(usage, image->id);
	json = json_pack(
	        "{s:s, s:s, s:s, s:b, s:o, s:s, s:s, s:o, s:i, s:I, s:o, s:o, s:o, s:o, s:o, s:o,"
	        " s:o, s:o, s:I, s:I, s:o}",
	        "id", image->id, "name", image->name, "state", vm_state_name(image->state),
	        "memory", (int)(image->state == VM_STATE_STANDBY), "instance",
	        json_pack("{s:o, s:o}", "id", cli_json_text(image->parent_id), "name",
	                  cli_json_text(image->parent_name)),
	        "hypervisor", image->hypervisor, "hypervisor_version", image->hypervisor_version,
	        "guest_cid",
	        image->guest_cid != 0 ? json_integer((json_int_t)image->guest_cid) : json_null(),
	        "vcpus", (int)image->vcpus, "memory_bytes", (json_int_t)image->memory_bytes,
	        "disks", cli_disks_json(spec), "directory", cli_file_json(&cli->root, image, NULL),
	        "created", moment_json(image->created_us), "expires", moment_json(info.expires_us),
	        "comment", cli_json_text(info.comment), "labels", vm_labels_to_json(&info.labels),
	        "relocation", cli_json_text(image->relocation), "alias_path",
	        cli_json_text(image->alias_path), "exclusive_bytes", (json_int_t)bytes.exclusive,
	        "shared_bytes", (json_int_t)bytes.shared, "spec",
	        spec != NULL ? spec : json_null());
	vm_image_info_free(&info);
	if (json == NULL)
		vm_err_set(err, VM_ERR_INSUFFICIENT_RESOURCES, "out of memory");
	return json;
}

/* --- ls ------------------------------------------------------------------------------------------
 */

/* Whether it is asked for: by INSTANCE or INSTANCE/NAME; all are where nothing is. */
static bool is_wanted(const struct cli *cli, const struct vm_instance *image, bool *found)
{
	bool wanted = cli->operand_count == 0;

	for (int i = 0; i < cli->operand_count; i++) {
		const char *operand = cli->operands[i];
		size_t len = strlen(operand);
		bool fits = strcmp(operand, image->name) == 0 || strcmp(operand, image->id) == 0 ||
		            strcmp(operand, image->parent_id) == 0 ||
		            (strncmp(operand, image->name, len) == 0 && image->name[len] == '/');

		wanted |= fits;
		found[i] |= fits;
	}
	return wanted;
}

/* An instance without snapshots is no mistake; what is neither an instance nor one is. */
static void report_missing(struct cli *cli, const bool *found)
{
	for (int i = 0; i < cli->operand_count; i++) {
		VM_AUTO(vm_instance_free) struct vm_instance row = {0};
		struct vm_err err = {0};

		if (!found[i] && vm_store_find(cli->root.store, cli->operands[i], &row, &err) < 0)
			cli_fail(cli, &err);
	}
}

/* Moves those that are wanted to the front; returns how many they are. */
static int select_images(struct cli *cli, struct vm_instance *images, size_t *count,
                         struct vm_err *err)
{
	VM_AUTO_FREE bool *found = vm_calloc((size_t)cli->operand_count + 1, sizeof(*found), err);
	size_t kept = 0;

	if (found == NULL)
		return -1;
	for (size_t i = 0; i < *count; i++) {
		if (is_wanted(cli, &images[i], found))
			images[kept++] = images[i];
		else
			vm_instance_free(&images[i]);
	}
	*count = kept;
	report_missing(cli, found);
	return 0;
}

static void put_row(const struct cli *cli, struct cli_grid *grid, size_t row,
                    const struct vm_instance *image, const struct vm_usage *usage)
{
	struct vm_usage_bytes bytes = vm_usage_of(usage, image->id);
	struct vm_image_info info = {0};
	struct vm_err err = {0};
	char size[32];

	(void)vm_store_get_image(cli->root.store, image->id, &info, &err);
	cli_grid_put(grid, row, 0, vm_strdup(image->name, &err));
	cli_grid_put(grid, row, 1, vm_strf(&err, "%.*s", SHORT_ID, image->id));
	cli_grid_put(grid, row, 2, vm_strdup(vm_state_name(image->state), &err));
	cli_grid_colour(grid, row, 2, cli_state_colour(image->state));
	cli_grid_put(grid, row, 3,
	             vm_strdup(vm_size_format(image->memory_bytes, size, sizeof(size)), &err));
	cli_grid_put(grid, row, 4,
	             vm_strdup(vm_size_format(bytes.exclusive, size, sizeof(size)), &err));
	cli_grid_put(grid, row, 5,
	             vm_strdup(vm_size_format(bytes.shared, size, sizeof(size)), &err));
	cli_grid_put(grid, row, 6, cli_when(image->created_us, &err));
	if (info.expires_us != 0)
		cli_grid_put(grid, row, 7, cli_when(info.expires_us, &err));
	if (info.comment != NULL)
		cli_grid_put(grid, row, 8, vm_strdup(info.comment, &err));
	vm_image_info_free(&info);
}

static int print_table(const struct cli *cli, const struct vm_instance *images, size_t count,
                       const struct vm_usage *usage, struct vm_err *err)
{
	static const char *const header[] = {"NAME",   "ID",      "STATE",   "MEMORY", "EXCLUSIVE",
	                                     "SHARED", "CREATED", "EXPIRES", "COMMENT"};
	static const struct cli_column gives[] = {
	        {0},                         /* NAME */
	        {.rank = 4},                 /* ID */
	        {.rank = 3},                 /* STATE */
	        {.rank = 8},                 /* MEMORY */
	        {.rank = 2},                 /* EXCLUSIVE */
	        {.rank = 7},                 /* SHARED */
	        {.rank = 1, .moment = true}, /* CREATED */
	        {.rank = 6, .moment = true}, /* EXPIRES */
	        {.least = 10, .rank = 5},    /* COMMENT */
	};
	VM_AUTO(cli_grid_free) struct cli_grid grid = {0};

	if (cli_grid_init(&grid, header, VM_ARRAY_LEN(header), count, err) < 0)
		return -1;
	grid.gives = gives;
	for (size_t i = 0; i < count; i++)
		put_row(cli, &grid, i, &images[i], usage);
	cli_grid_print(&grid);
	return 0;
}

static int print_objects(struct cli *cli, const struct vm_instance *images, size_t count,
                         const struct vm_usage *usage, struct vm_err *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *one = snapshot_json(cli, &images[i], usage, err);

		if (one == NULL) {
			json_decref(list);
			return -1;
		}
		(void)json_array_append_new(list, one);
	}
	return cli_print_json(cli, list, err);
}

static int print_images(struct cli *cli, const struct vm_instance *images, size_t count,
                        struct vm_err *err)
{
	struct vm_usage *usage = NULL;
	int rc;

	if (cli->quiet) {
		for (size_t i = 0; i < count; i++)
			cli_print_word(cli, images[i].id);
		return 0;
	}
	if (vm_usage_scan(&cli->root, &usage, err) < 0)
		return -1;
	rc = cli->output == CLI_JSON ? print_objects(cli, images, count, usage, err)
	                             : print_table(cli, images, count, usage, err);
	vm_usage_free(usage);
	return rc;
}

/* Drops those that the selector does not choose. */
static int select_labels(struct cli *cli, struct vm_instance *images, size_t *count,
                         struct vm_err *err)
{
	const struct snapshot_options *options = cli->options;
	struct vm_label_index *labels = NULL;
	size_t kept = 0;

	if (options->selector.count == 0)
		return 0;
	if (vm_store_list_labels(cli->root.store, &labels, err) < 0)
		return -1;
	for (size_t i = 0; i < *count; i++) {
		if (vm_label_selector_matches(&options->selector,
		                              vm_label_index_of(labels, images[i].id)))
			images[kept++] = images[i];
		else
			vm_instance_free(&images[i]);
	}
	*count = kept;
	vm_label_index_free(labels);
	return 0;
}

static const struct cli_option ls_options[] = {
        {"label", 'l', "LABEL[,LABEL]",
         "only those that KEY, KEY=VALUE, KEY!=VALUE, !KEY is true of; may be repeated", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int ls_option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct snapshot_options *options = ctx;

	(void)key;
	return vm_label_selector_add(&options->selector, value, err) < 0
	               ? vm_err_wrap(err, "--label")
	               : 0;
}

static int run_ls(struct cli *cli, struct vm_err *err)
{
	struct vm_instance *images = NULL;
	size_t count = 0;
	int rc;

	if (cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    vm_store_list(cli->root.store, VM_LIST_IMAGES, &images, &count, err) < 0)
		return -1;
	rc = select_images(cli, images, &count, err);
	if (rc == 0)
		rc = select_labels(cli, images, &count, err);
	if (rc == 0)
		rc = print_images(cli, images, count, err);
	vm_instances_free(images, count);
	return rc;
}

const struct cli_verb snapshot_ls = {
        .name = "ls",
        .summary = "List snapshots, and the disk space of each",
        .synopsis = "[-l LABEL[,LABEL]]",
        .operands = "[INSTANCE ...]",
        .max_operands = CLI_ANY,
        .flags = CLI_PRINTS | CLI_LISTS,
        .shape = SNAPSHOT_SHAPE,
        .options = ls_options,
        .option = ls_option,
        .run = run_ls,
};

/* --- inspect -------------------------------------------------------------------------------------
 */

static json_t *look(struct cli *cli, const char *selector, const void *usage, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance image = {0};

	return snapshot_find(cli, selector, &image, err) < 0
	               ? NULL
	               : snapshot_json(cli, &image, usage, err);
}

static int run_inspect(struct cli *cli, struct vm_err *err)
{
	struct vm_usage *usage = NULL;
	int rc;

	if (cli_open(cli, VM_ROOT_READ, err) < 0 || vm_usage_scan(&cli->root, &usage, err) < 0)
		return -1;
	rc = cli_print_looks(cli, look, usage, err);
	vm_usage_free(usage);
	return rc;
}

const struct cli_verb snapshot_inspect = {
        .name = "inspect",
        .summary = "Show everything about snapshots as JSON",
        .synopsis = "",
        .operands = "SNAPSHOT ...",
        .min_operands = 1,
        .max_operands = CLI_ANY,
        .flags = CLI_SHOWS,
        .shape = SNAPSHOT_SHAPE,
        .run = run_inspect,
};
