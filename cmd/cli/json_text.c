/* SPDX-License-Identifier: Apache-2.0 */
/* On its own: errors need this too, of programs that know no instances. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

json_t *cli_json_text(const char *text)
{
	json_t *json;
	char *plain;

	if (text == NULL || text[0] == '\0')
		return json_null();
	json = json_string(text);
	if (json != NULL)
		return json;
	plain = strdup(text);
	if (plain == NULL)
		return NULL;
	for (char *c = plain; *c != '\0'; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	json = json_string(plain);
	free(plain);
	return json;
}
