/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/filter.h"
#include "cli/tree.h"
#include "usage.h"
#include "util.h"

enum { KEY_DOT = CLI_KEY_VERB, KEY_SVG };

struct tree_options {
	bool dot, svg;
	const char *file; /* NULL: standard output */
};

/* What is to be drawn: instances, images and ghosts. */
struct family {
	struct vm_instance *rows;
	size_t count;
	struct vm_usage *usage;
};

static const struct cli_option tree_options[] = {
        {"dot", KEY_DOT, NULL, "print a graph for graphviz", 0, false},
        {"svg", KEY_SVG, NULL, "make a picture of it by graphviz", 0, false},
        {"file", 'f', "FILE", "write the graph or picture to this file", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

static int option(void *ctx, int key, const char *value, struct vm_err *err)
{
	struct tree_options *options = ctx;

	(void)err;
	switch (key) {
	case KEY_DOT:
		options->dot = true;
		return 0;
	case KEY_SVG:
		options->svg = true;
		return 0;
	default:
		options->file = value;
		return 0;
	}
}

static void free_family(struct family *family)
{
	vm_instances_free(family->rows, family->count);
	vm_usage_free(family->usage);
}

/* --- what is to be drawn -------------------------------------------------------------------------
 */

/* Instances and images, without those that are still being made. */
static int list_rows(struct cli *cli, struct family *family, struct vm_err *err)
{
	size_t count = 0;

	if (vm_store_list(cli->root.store, VM_LIST_ALL, &family->rows, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (family->rows[i].state == VM_STATE_CREATING)
			vm_instance_free(&family->rows[i]);
		else
			family->rows[family->count++] = family->rows[i];
	}
	return 0;
}

/* By id or name; of what was removed, by what its forks remember. -1 and not_found as the store. */
static int find_row(struct cli *cli, const struct family *family, const char *selector,
                    size_t *ret_index, struct vm_err *err)
{
	VM_AUTO(vm_instance_free) struct vm_instance found = {0};
	int rc = vm_store_find(cli->root.store, selector, &found, err);

	if (rc < 0 && err->code != VM_ERR_NOT_FOUND)
		return -1;
	for (size_t i = 0; i < family->count; i++) {
		const struct vm_instance *row = &family->rows[i];
		bool ghost = row->state == (enum vm_state)CLI_TREE_REMOVED;

		if (rc == 0 ? strcmp(row->id, found.id) == 0
		            : ghost && (strcmp(row->name, selector) == 0 ||
		                        strcmp(row->id, selector) == 0)) {
			vm_err_clear(err);
			*ret_index = i;
			return 0;
		}
	}
	/* Made after the list was read: of no tree yet. */
	return rc == 0 ? vm_err_set(err, VM_ERR_NOT_FOUND, "no instance '%.64s'", selector) : -1;
}

/* Several removed sources may have had one name: all of them are meant. */
static void mark_namesakes(const struct family *family, size_t index, bool *marked)
{
	const struct vm_instance *rows = family->rows;

	marked[index] = true;
	for (size_t i = 0; i < family->count; i++)
		if (rows[i].state == rows[index].state &&
		    rows[i].state == (enum vm_state)CLI_TREE_REMOVED &&
		    strcmp(rows[i].name, rows[index].name) == 0)
			marked[i] = true;
}

static int select_rows(struct cli *cli, struct family *family, struct vm_err *err)
{
	VM_AUTO_FREE bool *marked = vm_calloc(family->count + 1, sizeof(*marked), err);

	if (marked == NULL)
		return -1;
	for (int i = 0; i < cli->operand_count; i++) {
		struct vm_err one = {0};
		size_t index = 0;

		if (find_row(cli, family, cli->operands[i], &index, &one) < 0)
			cli_fail(cli, &one);
		else
			mark_namesakes(family, index, marked);
	}
	return cli_tree_keep(family->rows, &family->count, marked, err);
}

static int load(struct cli *cli, struct family *family, struct vm_err *err)
{
	if (list_rows(cli, family, err) < 0 ||
	    cli_tree_add_ghosts(&family->rows, &family->count, err) < 0)
		return -1;
	cli_tree_sort(family->rows, family->count);
	if (cli->operand_count > 0 && select_rows(cli, family, err) < 0)
		return -1;
	for (size_t i = 0; !cli->quiet && i < family->count; i++)
		if (vm_observe(&cli->root, &family->rows[i], err) < 0)
			return -1;
	return cli->quiet ? 0 : vm_usage_scan(&cli->root, &family->usage, err);
}

/* --- graphs --------------------------------------------------------------------------------------
 */

/* The graph as text; free() it. */
static char *dot_text(const struct family *family, size_t *ret_len, struct vm_err *err)
{
	VM_AUTO(cli_tree_close) struct cli_tree tree = {0};
	char *text = NULL;
	FILE *out;

	if (cli_tree_link(family->rows, family->count, &tree, err) < 0)
		return NULL;
	out = open_memstream(&text, ret_len);
	if (out != NULL)
		cli_tree_dot(family->rows, &tree, family->usage, out);
	if (out != NULL && fclose(out) == 0)
		return text;
	vm_err_sys(err, "drawing the graph");
	free(text);
	return NULL;
}

static char *make_svg(const char *dot, size_t *len, struct vm_err *err)
{
	static const char *const argv[] = {"dot", "-Tsvg", NULL};
	static const char hint[] =
	        "install the package graphviz, or print the graph by --dot and draw it elsewhere";
	char *svg = NULL;

	return cli_filter(argv, hint, dot, *len, &svg, len, err) == 0 ? svg : NULL;
}

/* A file appears whole or not at all; what is no file, like a pipe, is written to. */
static int write_file(const char *path, const char *text, size_t len, struct vm_err *err)
{
	VM_AUTO_FREE char *fresh = vm_strf(err, "%s.XXXXXX", path);
	struct stat st;
	bool in_place;
	int fd, rc;

	if (fresh == NULL)
		return -1;
	in_place = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
	fd = in_place ? open(path, O_WRONLY | O_CLOEXEC) : mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return vm_err_sys(err, "cannot write %s", path);
	if (!in_place && stat(path, &st) == 0)
		(void)fchmod(fd, st.st_mode & 0777); /* as the one it takes the place of */
	rc = vm_write_all(fd, text, len);
	if (rc < 0)
		vm_err_sys(err, "cannot write %s", path);
	if (close(fd) < 0 && rc == 0)
		rc = vm_err_sys(err, "cannot write %s", path);
	if (rc == 0 && !in_place && rename(fresh, path) < 0)
		rc = vm_err_sys(err, "cannot write %s", path);
	if (rc < 0 && !in_place)
		(void)unlink(fresh);
	return rc;
}

static int print_graph(struct cli *cli, const struct family *family, struct vm_err *err)
{
	const struct tree_options *options = cli->options;
	size_t len = 0;
	VM_AUTO_FREE char *dot = dot_text(family, &len, err);
	VM_AUTO_FREE char *svg = dot != NULL && options->svg ? make_svg(dot, &len, err) : NULL;
	const char *text = options->svg ? svg : dot;

	if (text == NULL)
		return -1;
	if (options->file != NULL && strcmp(options->file, "-") != 0)
		return write_file(options->file, text, len, err);
	(void)cli_write(cli, text, len);
	return 0;
}

/* --- the verb ------------------------------------------------------------------------------------
 */

static int check_options(struct cli *cli, struct vm_err *err)
{
	const struct tree_options *options = cli->options;
	bool graph = options->dot || options->svg;

	if (options->dot && options->svg)
		return cli_usage(cli, err, "--dot and --svg exclude each other");
	if (options->file != NULL && !graph)
		return cli_usage(cli, err, "--file goes with --dot or --svg");
	if (graph && (cli->quiet || cli->output == CLI_JSON))
		return cli_usage(cli, err, "%s goes neither with -q nor with -o or --format",
		                 options->dot ? "--dot" : "--svg");
	return 0;
}

static int print_ids(const struct cli *cli, const struct family *family, struct vm_err *err)
{
	VM_AUTO(cli_tree_close) struct cli_tree tree = {0};

	if (cli_tree_link(family->rows, family->count, &tree, err) < 0)
		return -1;
	for (size_t i = cli_tree_next(&tree, tree.count); i != tree.count;
	     i = cli_tree_next(&tree, i))
		if (family->rows[i].state != (enum vm_state)CLI_TREE_REMOVED)
			cli_print_word(cli, family->rows[i].id);
	return 0;
}

static int run(struct cli *cli, struct vm_err *err)
{
	const struct tree_options *options = cli->options;
	VM_AUTO(free_family) struct family family = {0};

	if (check_options(cli, err) < 0 || cli_open(cli, VM_ROOT_READ, err) < 0 ||
	    load(cli, &family, err) < 0)
		return -1;
	if (options->dot || options->svg)
		/* No picture of half of what was asked for. */
		return cli->status != VM_OK ? 0 : print_graph(cli, &family, err);
	if (cli->quiet)
		return print_ids(cli, &family, err);
	if (cli->output == CLI_JSON) {
		/* A template is for one at a time. */
		json_t *roots = cli_tree_json(family.rows, family.count, family.usage,
		                              cli->format_text != NULL, err);

		return roots != NULL ? cli_print_json(cli, roots, err) : -1;
	}
	return cli_tree_table(family.rows, family.count, family.usage, err);
}

static const struct cli_verb verb = {
        .name = "tree",
        .synopsis = "[--dot | --svg] [-f FILE]",
        .operands = "[INSTANCE|SNAPSHOT ...]",
        .max_operands = CLI_ANY,
        .flags = CLI_PRINTS | CLI_LISTS,
        .shape = "id name kind state hypervisor exclusive_bytes shared_bytes",
        .options = tree_options,
        .option = option,
        .run = run,
};

int main(int argc, char **argv)
{
	struct tree_options options = {0};

	return cli_main(&verb, &options, argc, argv);
}
