/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "config.h"
#include "util.h"

enum { KEY_WAIT = CLI_KEY_COMMON, KEY_NO_WAIT, KEY_ROOT, KEY_FORMAT, KEY_VERSION };

const struct cli_option cli_common_options[] = {
        {"wait", KEY_WAIT, "DURATION",
         "wait this long for locks and restore slots, e.g. 5, 500ms, 2m; without a value for ever",
         CLI_WAITS, true},
        {"no-wait", KEY_NO_WAIT, NULL, "fail at once instead of waiting", CLI_WAITS, false},
        {"root", KEY_ROOT, "DIR", "use this data root instead of $VMCTL_ROOT or the default", 0,
         false},
        {"output", 'o', "FORMAT", "print results and errors as 'table' (default), 'json' or 'yaml'",
         0, false},
        {"format", KEY_FORMAT, "TEMPLATE",
         "print each result by a template like '{{.Name}}\\t{{.State}}'", CLI_PRINTS | CLI_SHOWS,
         false},
        {"quiet", 'q', NULL, "print ids only", CLI_PRINTS, false},
        {"null", '0', NULL, "end names, ids and what --format prints with NUL, for xargs -0",
         CLI_PRINTS | CLI_SHOWS, false},
        {"verbose", 'v', NULL, "say on standard error what is being done", 0, false},
        {"help", 'h', NULL, "print this help and exit", 0, false},
        {"version", KEY_VERSION, NULL, "print the version and exit", 0, false},
        {NULL, 0, NULL, NULL, 0, false},
};

enum { OPTIONS_MAX = CLI_OPTIONS_MAX };

/* The verb's options and the common ones, also in the form that getopt_long wants. */
struct table {
	const struct cli_option *all[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char shorts[2 * OPTIONS_MAX + 3];
	size_t count;
};

static int argument_kind(const struct cli_option *option)
{
	if (option->argument == NULL)
		return no_argument;
	return option->optional ? optional_argument : required_argument;
}

static const struct cli_option *find_key(const struct table *table, int key)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->all[i]->key == key)
			return table->all[i];
	return NULL;
}

bool cli_has_option(const struct cli_option *option, unsigned flags)
{
	return option->needs == 0 || (option->needs & flags) != 0;
}

static void add_options(struct table *table, const struct cli_option *options, unsigned flags)
{
	char *end = table->shorts + strlen(table->shorts);

	for (; options != NULL && options->name != NULL; options++) {
		if (!cli_has_option(options, flags) ||
		    (options->key == 'o' && find_key(table, 'o') != NULL))
			continue;
		assert(table->count < OPTIONS_MAX);
		table->all[table->count] = options;
		table->longs[table->count++] = (struct option){
		        .name = options->name,
		        .has_arg = argument_kind(options),
		        .val = options->key,
		};
		if (options->key >= CLI_KEY_COMMON)
			continue;
		*end++ = (char)options->key;
		if (options->argument != NULL)
			*end++ = ':';
	}
}

/* `word` is "--cuont" or "--cuont=3". */
static int unknown_long(const struct table *table, const char *word, struct vm_err *err)
{
	const char *names[OPTIONS_MAX + 1] = {NULL};
	int name_len = (int)strcspn(word, "=");
	char name[64];
	const char *meant;
	size_t matches = 0, shown = 0;

	(void)snprintf(name, sizeof(name), "%.*s", name_len - 2, word + 2);
	for (size_t i = 0; i < table->count; i++) {
		if (table->all[i]->help == NULL)
			continue;
		names[shown++] = table->all[i]->name;
		if (name[0] != '\0' && strncmp(table->all[i]->name, name, strlen(name)) == 0)
			matches++;
	}
	if (matches > 1)
		return vm_err_set(err, VM_ERR_USAGE, "option '%.*s' is ambiguous", name_len, word);
	vm_err_set(err, VM_ERR_USAGE, "unknown option '%.*s'", name_len, word);
	meant = vm_suggest(name, names);
	if (meant != NULL)
		vm_err_hint(err, "did you mean '--%s'?", meant);
	return -1;
}

/* getopt_long said '?': no such option, an ambiguous one, or a value where none is taken. */
static int refuse(const struct table *table, const char *word, struct vm_err *err)
{
	const struct cli_option *option = optopt != 0 ? find_key(table, optopt) : NULL;

	if (option != NULL)
		return vm_err_set(err, VM_ERR_USAGE, "option '--%s' takes no value", option->name);
	if (optopt == 0)
		return unknown_long(table, word, err);
	return vm_err_set(err, VM_ERR_USAGE, "unknown option '-%c'", optopt);
}

static int need_argument(const struct table *table, struct vm_err *err)
{
	const struct cli_option *option = find_key(table, optopt);

	return vm_err_set(err, VM_ERR_USAGE, "option '--%s' needs a value (%s)",
	                  option != NULL ? option->name : "?",
	                  option != NULL ? option->argument : "?");
}

static int take_output(struct cli *cli, const char *value, struct vm_err *err)
{
	bool measures = (cli->verb->flags & CLI_MEASURES) != 0;

	cli->yaml = strcmp(value, "yaml") == 0;
	if (strcmp(value, "json") == 0 || cli->yaml)
		cli->output = CLI_JSON;
	else if (strcmp(value, "table") == 0)
		cli->output = CLI_TABLE;
	else if (measures && strcmp(value, "prometheus") == 0)
		cli->output = CLI_PROMETHEUS;
	else
		return vm_err_set(
		        err, VM_ERR_USAGE, "--output is 'table', 'json'%s 'yaml'%s, not '%s'",
		        measures ? "," : " or", measures ? " or 'prometheus'" : "", value);
	return 0;
}

static int take_wait(struct cli *cli, const char *value, struct vm_err *err)
{
	cli->wait_given = true;
	cli->wait_ms = -1;
	return value == NULL ? 0 : vm_duration_parse(value, "--wait", &cli->wait_ms, err);
}

static int take_option(struct cli *cli, int key, const char *value, struct vm_err *err)
{
	switch (key) {
	case KEY_WAIT:
		return take_wait(cli, value, err);
	case KEY_NO_WAIT:
		cli->wait_given = true;
		cli->wait_ms = 0;
		return 0;
	case KEY_ROOT:
		cli->root_option = value;
		return 0;
	case 'o':
		if ((cli->verb->flags & CLI_WRITES) != 0)
			return cli->verb->option(cli->options, key, value, err);
		return take_output(cli, value, err);
	case KEY_FORMAT:
		cli->format_text = value;
		return 0;
	case 'q':
		cli->quiet = true;
		return 0;
	case '0':
		cli->null = true;
		return 0;
	case 'v':
		cli->verbose = true;
		return 0;
	default:
		return cli->verb->option(cli->options, key, value, err);
	}
}

static int check_operands(const struct cli *cli, struct vm_err *err)
{
	const struct cli_verb *verb = cli->verb;

	if (cli->operand_count < verb->min_operands)
		return vm_err_set(err, VM_ERR_USAGE, "missing argument: expected %s",
		                  verb->operands);
	if (verb->max_operands == CLI_ANY || cli->operand_count <= verb->max_operands)
		return 0;
	if (verb->max_operands == 0)
		return vm_err_set(err, VM_ERR_USAGE, "unexpected argument '%s'", cli->operands[0]);
	return vm_err_set(err, VM_ERR_USAGE, "unexpected argument '%s': expected %s",
	                  cli->operands[verb->max_operands], verb->operands);
}

/* Options that say how results look; they are read by then, and mean something together. */
static int check_output(struct cli *cli, struct vm_err *err)
{
	const struct cli_verb *verb = cli->verb;
	const char *shape = verb->shape != NULL ? verb->shape : CLI_INSTANCE_SHAPE;
	bool words = cli->quiet || (verb->flags & (CLI_LISTS | CLI_SHOWS)) == 0;

	if ((verb->flags & CLI_DISPATCH) != 0) /* they are for another verb */
		return 0;
	if (cli->null && cli->format_text == NULL && (!words || cli->output == CLI_JSON)) {
		vm_err_set(err, VM_ERR_USAGE, "--null ends ids, names and what --format prints");
		return vm_err_hint(err, (verb->flags & CLI_PRINTS) != 0
		                                ? "give -q or --format as well, and no -o"
		                                : "give --format as well");
	}
	if (cli->format_text == NULL)
		return 0;
	if (cli->output == CLI_JSON || cli->quiet)
		return vm_err_set(err, VM_ERR_USAGE, "--format does not go with %s",
		                  cli->quiet  ? "-q"
		                  : cli->yaml ? "-o yaml"
		                              : "-o json");
	if (cli_format_compile(cli->format_text, shape, &cli->format, err) < 0)
		return -1;
	if (cli->null && cli->format.table)
		return vm_err_set(err, VM_ERR_USAGE, "--null does not go with a table");
	cli->output = CLI_JSON;
	return 0;
}

static int read_options(struct cli *cli, const struct table *table, int argc, char **argv,
                        struct vm_err *err)
{
	int key;

	opterr = 0;
	while ((key = getopt_long(argc, argv, table->shorts, table->longs, NULL)) != -1) {
		struct vm_err one = {0};
		int rc;

		if (err->code == VM_OK && key == 'h') {
			cli_print_help(cli);
			return 1;
		}
		if (err->code == VM_OK && key == KEY_VERSION) {
			(void)printf("%s %s\n", cli->program, VM_VERSION);
			return 1;
		}
		if (key == '?')
			rc = refuse(table, argv[optind - 1], &one);
		else if (key == ':')
			rc = need_argument(table, &one);
		else if (key == 'h' || key == KEY_VERSION)
			rc = 0;
		else
			rc = take_option(cli, key, optarg, &one);
		if (rc < 0 && err->code == VM_OK)
			*err = one;
	}
	return err->code == VM_OK ? 0 : -1;
}

/* Puts the way to --help behind what the error's hint says already. */
static int add_help_hint(const struct cli *cli, struct vm_err *err)
{
	char before[sizeof(err->hint)];
	size_t len = strlen(err->hint);
	const char *joint = len == 0 ? "" : err->hint[len - 1] == '?' ? " " : "; ";
	char command[CLI_COMMAND_SIZE];

	memcpy(before, err->hint, sizeof(before));
	return vm_err_hint(err, "%s%stry '%s --help'", before, joint, cli_command(cli, command));
}

int cli_parse(struct cli *cli, int argc, char **argv, struct vm_err *err)
{
	struct table table = {.shorts = ":"};
	int rc;

	if ((cli->verb->flags & CLI_DISPATCH) != 0)
		(void)strcpy(table.shorts, "+:");
	add_options(&table, cli->verb->options, cli->verb->flags);
	add_options(&table, cli_common_options, cli->verb->flags);
	rc = read_options(cli, &table, argc, argv, err);
	cli->argv = argv;
	cli->argc = optind;
	cli->operands = argv + optind;
	cli->operand_count = argc - optind;
	if (rc == 0)
		rc = check_operands(cli, err);
	if (rc == 0)
		rc = check_output(cli, err);
	return rc < 0 ? add_help_hint(cli, err) : rc;
}

void cli_all_options(const struct cli_verb *verb, const struct cli_option *ret[CLI_OPTIONS_MAX + 1])
{
	struct table table = {.shorts = ""};

	add_options(&table, verb->options, verb->flags);
	add_options(&table, cli_common_options, verb->flags);
	for (size_t i = 0; i < table.count; i++)
		ret[i] = table.all[i];
	ret[table.count] = NULL;
}

int cli_usage(const struct cli *cli, struct vm_err *err, const char *fmt, ...)
{
	char text[sizeof(err->message)];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	vm_err_set(err, VM_ERR_USAGE, "%s", text);
	return add_help_hint(cli, err);
}
