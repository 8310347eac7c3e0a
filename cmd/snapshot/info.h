/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of an image: --comment, --label, --expires. */
#ifndef SNAPSHOT_INFO_H
#define SNAPSHOT_INFO_H

#include "../cli/cli.h"

enum snapshot_info_key {
	SNAPSHOT_COMMENT = CLI_KEY_VERB,
	SNAPSHOT_LABEL,
	SNAPSHOT_EXPIRES,
	SNAPSHOT_INFO_KEYS, /* a command's further options count from here */
};
#define SNAPSHOT_INFO_OPTIONS                                                                      \
	{"comment", SNAPSHOT_COMMENT, "TEXT", "what the snapshot is", 0, false},                   \
	        {"label", SNAPSHOT_LABEL, "KEY=VALUE", "a label; may be repeated", 0, false},      \
	{                                                                                          \
		"expires", SNAPSHOT_EXPIRES, "DURATION",                                           \
		        "when 'gc' may remove it: 7d, 12h, ... (default never)", 0, false          \
	}
int snapshot_info_option(struct vm_image_info *info, int key, const char *value,
                         struct vm_err *err);

#endif
