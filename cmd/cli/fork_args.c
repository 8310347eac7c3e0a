/* SPDX-License-Identifier: Apache-2.0 */
#include "fork_args.h"

#include "util.h"

static int take_target(struct vm_fork_request *request, const char *value, struct vm_err *err)
{
	if (vm_state_parse(value, &request->target, err) < 0)
		return vm_err_wrap(err, "--target-state");
	if (request->target != VM_STATE_STOPPED && request->target != VM_STATE_STANDBY &&
	    request->target != VM_STATE_RUNNING)
		return vm_err_set(err, VM_ERR_USAGE,
		                  "--target-state is stopped, standby or running, not '%s'", value);
	request->has_target = true;
	return 0;
}

static int take_count(struct vm_fork_request *request, const char *value, struct vm_err *err)
{
	int64_t count;

	if (vm_int_parse(value, "--count", 1, VM_FORKS_MAX, &count, err) < 0)
		return -1;
	request->count = (unsigned)count;
	return 0;
}

int cli_fork_option(struct cli_fork *fork, int key, const char *value, struct vm_err *err)
{
	struct vm_fork_request *request = &fork->request;

	switch (key) {
	case 'n':
		return take_count(request, value, err);
	case CLI_FORK_NAME:
		request->name = value;
		return 0;
	case CLI_FORK_TARGET_STATE:
		return take_target(request, value, err);
	case CLI_FORK_NETWORK:
		request->network = value;
		return 0;
	case CLI_FORK_LABEL:
		return vm_labels_set_text(&fork->labels, value, err) < 0
		               ? vm_err_wrap(err, "--label")
		               : 0;
	case CLI_FORK_FROM_RUNNING:
		request->from_running = true;
		return 0;
	default:
		request->atomic = true;
		return 0;
	}
}

/* The name is an operand or --name, and says where the number goes when there are several forks. */
static int take_operands(struct cli *cli, struct vm_fork_request *request, struct vm_err *err)
{
	request->source = cli->operands[0];
	if (cli->operand_count == 1)
		return 0;
	if (request->name != NULL)
		return cli_usage(cli, err, "both NAME ('%s') and --name ('%s') are given",
		                 cli->operands[1], request->name);
	request->name = cli->operands[1];
	return 0;
}

/* Forks that were made go to stdout in order, those that failed to stderr. */
static int print_results(struct cli *cli, const struct vm_fork_result *results, size_t count,
                         struct vm_err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (results[i].err != NULL)
			cli_fail(cli, results[i].err);
		else if (cli_print_instance(cli, &results[i].instance, err) < 0)
			return -1;
	}
	return 0;
}

int cli_fork_run(struct cli *cli, struct cli_fork *fork, struct vm_err *err)
{
	struct vm_fork_request *request = &fork->request;
	struct vm_fork_result *results = NULL;
	size_t count = 0;
	int rc;

	request->labels = &fork->labels;
	if (take_operands(cli, request, err) < 0 || cli_open(cli, VM_ROOT_CHANGE, err) < 0 ||
	    vm_fork(&cli->op, request, &results, &count, err) < 0)
		return -1;
	cli_say_took(cli, request->source);
	rc = print_results(cli, results, count, err);
	vm_fork_results_free(results, count);
	return rc;
}
