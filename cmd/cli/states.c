/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli.h"
#include "util.h"

int cli_parse_states(const char *text, unsigned *mask, struct vm_err *err)
{
	VM_AUTO_FREE char *words = vm_strdup(text, err);
	char *rest = words, *word;

	if (words == NULL)
		return -1;
	while ((word = strsep(&rest, ",")) != NULL) {
		enum vm_state state;

		if (vm_state_parse(word, &state, err) < 0)
			return vm_err_wrap(err, "--state");
		if (state == VM_STATE_CREATING)
			return vm_err_set(
			        err, VM_ERR_USAGE,
			        "--state: an instance is not visible while it is 'creating'");
		*mask |= 1U << state;
	}
	return 0;
}
