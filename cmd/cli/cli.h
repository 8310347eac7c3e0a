/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all verbs share: one way to describe options, to print results and errors, to open the data
 * root. A verb is one file: a table of its own options, a function that takes one option, a
 * function that runs (parse, one library call, print), and a main() that hands them to cli_main().
 *
 * stdout carries only results; everything else goes to stderr. The exit status is the code of the
 * first failure (err.h).
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "format.h"
#include "ops.h"
#include "progress.h"
#include "root.h"
#include "store.h"
#include "table.h"

struct cli;

struct cli_option {
	const char *name;     /* long name, without dashes; NULL ends a table */
	int key;              /* the letter of its short form, or CLI_KEY_VERB and up */
	const char *argument; /* its name in --help ("DIR"), or NULL when it takes none */
	const char *help;     /* NULL: not shown */
	unsigned needs; /* common options: shown and accepted by verbs with one of these flags */
	bool optional;  /* the argument may be left out: --wait or --wait=5 */
};

enum {
	CLI_KEY_COMMON = 256,
	CLI_KEY_VERB = 512, /* a verb's own options without a letter count from here */
};

enum cli_flags {
	CLI_WAITS = 1 << 0,    /* takes locks: --wait, --no-wait */
	CLI_PRINTS = 1 << 1,   /* prints instances: -q */
	CLI_DISPATCH = 1 << 2, /* options end at the first operand, which is a verb */
	CLI_MEASURES = 1 << 3, /* prints numbers: -o prometheus */
	CLI_WRITES = 1 << 4,   /* prints no results: -o is its own, and names a file */
	CLI_SHOWS = 1 << 5,    /* prints objects that have a `shape`: --format, -0 */
	CLI_LISTS = 1 << 6,    /* prints a table where nothing else is asked for: no -0 then */
};

enum { CLI_ANY = -1 };

struct cli_verb {
	const char *name;     /* "fork"; "" for the dispatcher */
	const char *summary;  /* of a command of a group, as verbs.c has it of a verb; else NULL */
	const char *synopsis; /* its own options as the man page's SYNOPSIS shows them; may be "" */
	const char *operands; /* "SOURCE [NAME]" */
	int min_operands, max_operands; /* or CLI_ANY */
	unsigned flags;
	/*
	 * For completion: the states (1 << state) of the instances that it can do something about,
	 * 0 for any; and which more it can with its option of the key `wider`.
	 */
	unsigned states, wider_states;
	int wider;
	const struct cli_option *options; /* or NULL */
	/* With CLI_PRINTS or CLI_SHOWS: of its objects (format.h); NULL: CLI_INSTANCE_SHAPE. */
	const char *shape;
	/* Takes one of its own options. `value` lives as long as the process. */
	int (*option)(void *options, int key, const char *value, struct vm_err *err);
	/*
	 * 0, or -1 with an error that was not reported yet. Failures of one of several instances
	 * are reported at once with cli_fail(), and the verb goes on with the next.
	 */
	int (*run)(struct cli *cli, struct vm_err *err);
	void (*more_help)(void); /* prints the end of --help; may be NULL */
};

/* A verb that is a group of commands: `vmctl snapshot create`. */
struct cli_group {
	const char *name;                       /* "snapshot" */
	const struct cli_verb *const *commands; /* NULL-terminated */
	/* The program, vmctl-NAME, that has those without `run`; or NULL. It has its own group. */
	const char *other;
};

/* CLI_JSON stands for all that is made of JSON values: also -o yaml and --format. */
enum cli_output { CLI_TABLE, CLI_JSON, CLI_PROMETHEUS };

/*
 * Completion of a value that the program, the store or the settings know (complete_values.c is for
 * those that are fixed). False when it is none of these.
 */
struct cli_line;
typedef bool cli_offer(struct cli_line *line, const char *option, const char *argument);
cli_offer cli_offer_known;

/* One run of a verb. */
struct cli {
	const struct cli_verb *verb;
	void *options; /* the verb's own */
	char program[32];
	const struct cli_group *group; /* NULL: the verb is none of a group */
	const char *root_option;       /* --root or NULL */
	bool wait_given;
	int64_t wait_ms; /* --wait or --no-wait: 0, -1 or milliseconds */
	enum cli_output output;
	bool yaml;                      /* CLI_JSON, as YAML */
	const char *format_text;        /* --format or NULL */
	struct cli_format format;       /* and what it says */
	size_t widths[CLI_COLUMNS_MAX]; /* of a table that it makes */
	bool header_printed;
	bool null; /* -0 */
	bool quiet, verbose;
	int argc; /* what was before the operands, for the dispatcher */
	char **argv;
	int operand_count;
	char **operands;
	struct vm_root root;
	/*
	 * NULL until it was opened. By a pointer, as the next: who never opens it, vmctl itself,
	 * does not have the store in it, and loads no SQLite.
	 */
	void (*close_root)(struct vm_root *root);
	cli_offer *offer;
	struct vm_op op;
	struct cli_progress progress;
	struct vm_tell tell;
	int output_errno;    /* why stdout could not be written, as far as known */
	enum vm_code status; /* of the first failure that was reported */
};

/*
 * Parses, runs, prints what went wrong; returns the exit status. `options` is the verb's own
 * struct; `offer` may be NULL.
 */
int cli_main_offering(const struct cli_verb *verb, void *options, int argc, char **argv,
                      cli_offer *offer);
int cli_main_group_offering(const struct cli_group *group, void *options, int argc, char **argv,
                            cli_offer *offer);
/* As every verb wants it. Here, so that it is linked to whom calls it. */
static inline int cli_main(const struct cli_verb *verb, void *options, int argc, char **argv)
{
	return cli_main_offering(verb, options, argc, argv, cli_offer_known);
}
/* The same with one of a group's commands, which the first argument names; all have one struct. */
static inline int cli_main_group(const struct cli_group *group, void *options, int argc,
                                 char **argv)
{
	return cli_main_group_offering(group, options, argc, argv, cli_offer_known);
}

/*
 * Becomes a program of ours: the one beside this, else that of PATH. Returns only on failure, with
 * errno.
 */
void cli_become(const char *program, char **argv);

/* --- options.c, help.c --------------------------------------------------------------------------
 */

extern const struct cli_option cli_common_options[];
/*
 * Fills the common part of `cli` and the verb's options. Returns 0, 1 when --help or --version was
 * asked for and printed, -1 (usage). Goes on after a mistake, so that -o json counts wherever it
 * is.
 */
int cli_parse(struct cli *cli, int argc, char **argv, struct vm_err *err);
/* The options that a verb has, its own and the common ones; ends with NULL. */
enum { CLI_OPTIONS_MAX = 40 };
void cli_all_options(const struct cli_verb *verb,
                     const struct cli_option *ret[CLI_OPTIONS_MAX + 1]);
void cli_print_help(const struct cli *cli);
void cli_print_group_help(const struct cli *cli);
/* "vmctl-fork", "vmctl-snapshot create": as it is typed. Returns buf. */
enum { CLI_COMMAND_SIZE = 64 };
const char *cli_command(const struct cli *cli, char buf[CLI_COMMAND_SIZE]);
/* A usage error found by a verb: adds the hint that points to --help. Returns -1. */
int cli_usage(const struct cli *cli, struct vm_err *err, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Whether a verb with these flags has a common option. */
bool cli_has_option(const struct cli_option *option, unsigned flags);

/* --- states.c -----------------------------------------------------------------------------------
 */

/* "running,paused" to a bit mask of 1 << state, added to *mask. */
int cli_parse_states(const char *text, unsigned *mask, struct vm_err *err);

/* --- open.c -------------------------------------------------------------------------------------
 */

/* Opens the data root and prepares cli->op; from here on signals ask to stop (interrupt.h). */
int cli_open(struct cli *cli, enum vm_root_mode mode, struct vm_err *err);
/* Begins the next of several operations: its clocks start anew. */
struct vm_op *cli_begin(struct cli *cli);
/* With -v: says how long it took since cli_begin(). */
void cli_say_took(struct cli *cli, const char *what);
/*
 * Opens the data root for changes and calls `act` for each operand in turn. All are tried; each
 * success is printed, each failure reported.
 */
int cli_each(struct cli *cli,
             int (*act)(struct cli *cli, const char *selector, struct vm_instance *ret,
                        struct vm_err *err),
             struct vm_err *err);

/* --- report.c -----------------------------------------------------------------------------------
 */

/* Reports an error on stderr, in the form of results; the first one gives the exit status. */
void cli_fail(struct cli *cli, const struct vm_err *err);
/* Says something on stderr. vm_op's `warn`, ctx being the struct cli. */
void cli_warn(void *ctx, const char *text);

/* --- emit.c -------------------------------------------------------------------------------------
 */

/*
 * For output that must be seen at once. False when it cannot be written: then there is no point in
 * going on, and the end of the verb reports it.
 */
bool cli_write(struct cli *cli, const void *data, size_t len);
bool cli_flush(struct cli *cli);

/* Prints a word that ends as -0 says. */
void cli_print_word(const struct cli *cli, const char *word);
/*
 * Prints a result that is a JSON value: over several lines, as a YAML document, or by --format, and
 * then one line for each object of an array. Drops the reference; NULL is "out of memory".
 */
int cli_print_json(struct cli *cli, json_t *json, struct vm_err *err);
/* The same with one of several objects that come one by one: one line, or "---" in front. */
int cli_print_object(struct cli *cli, json_t *json, struct vm_err *err);

/*
 * A list that may be long: what cli_print_json() prints of an array, byte for byte, but as JSON
 * each element is printed when it is added, and dropped: an instance takes 9 KB as a json_t. Other
 * forms are printed at the end. {0} is an empty list; only one that is ended was printed.
 */
struct cli_list {
	json_t *kept; /* what was added, where it is printed at the end; owned */
	size_t count;
};

/* Takes the reference; NULL is "out of memory". */
int cli_list_add(struct cli *cli, struct cli_list *list, json_t *json, struct vm_err *err);
int cli_list_end(struct cli *cli, struct cli_list *list, struct vm_err *err);
/* Also one that was ended. */
void cli_list_free(struct cli_list *list);

/* --- json_text.c --------------------------------------------------------------------------------
 */

/* A JSON string of any bytes: what is not UTF-8 becomes '?'. Null for NULL and "". */
json_t *cli_json_text(const char *text);

/* --- print.c ------------------------------------------------------------------------------------
 */

/* What cli_instance_json() makes, for --format; a test holds them against each other. */
#define CLI_INSTANCE_SHAPE                                                                         \
	"id name kind state generation hypervisor hypervisor_version accelerator guest_cid"        \
	" parent{id name} vcpus memory_bytes disks[id file size_bytes format read_only root]"      \
	" directory console_log vmm_log api_socket vsock_socket pid created changed relocation"    \
	" alias_path failure intent{verb detail} labels{=} spec{*}"

/* Prints one result: its name, with -q its id, else the object as -o or --format say. */
int cli_print_instance(struct cli *cli, const struct vm_instance *instance, struct vm_err *err);
/*
 * Prints what `look` makes of each operand: one object for one, an array of those that were found
 * for several, whose failures are reported.
 */
int cli_print_looks(struct cli *cli,
                    json_t *(*look)(struct cli *cli, const char *selector, const void *ctx,
                                    struct vm_err *err),
                    const void *ctx, struct vm_err *err);
/* What `inspect` shows (vmctl-inspect(1)); a new reference or NULL. */
json_t *cli_instance_json(const struct vm_root *root, const struct vm_instance *instance);
/* The same where the labels are known already; takes their reference. */
json_t *cli_instance_json_with(const struct vm_root *root, const struct vm_instance *instance,
                               json_t *labels);
/* The labels of one, an object; null for one that is gone. */
json_t *cli_labels_json(const struct vm_root *root, const char *id);
/* The disks of a stored spec, as `inspect` shows them; null if it cannot be read. */
json_t *cli_disks_json(const json_t *spec_json);
/* The path of a file in the directory of an instance or image; of the directory for NULL. */
json_t *cli_file_json(const struct vm_root *root, const struct vm_instance *instance,
                      const char *file);
/* "3 days ago", "in 2 hours"; malloc'ed, or NULL. */
char *cli_when(int64_t moment_us, struct vm_err *err);

#endif
