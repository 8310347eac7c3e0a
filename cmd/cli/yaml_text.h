/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON values as YAML that reads back as the same, by readers of YAML 1.1 and 1.2: what would be
 * taken for something else than text (yes, null, 1, a date) is quoted.
 */
#ifndef CLI_YAML_TEXT_H
#define CLI_YAML_TEXT_H

#include <jansson.h>
#include <stdbool.h>

#include "err.h"

/*
 * One document, which ends in a newline; malloc'ed, or NULL (insufficient_resources). `marked`: it
 * begins with "---", as one of several.
 */
char *cli_yaml_text(const json_t *json, bool marked, struct vm_err *err);

#endif
