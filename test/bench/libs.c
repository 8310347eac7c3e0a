/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of `vmctl ls`: a program that links the same libraries, opens the store, reads the
 * names out of it and prints them. With --version it only starts.
 */
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

int main(int argc, char **argv)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("%s %s %s\n", jansson_version_str(), sqlite3_libversion(),
		              yaml_get_version_string()) < 0;
	if (argc != 2 || sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "SELECT name FROM instance", -1, &stmt, NULL) != SQLITE_OK)
		return 1;
	while (sqlite3_step(stmt) == SQLITE_ROW)
		puts((const char *)sqlite3_column_text(stmt, 0));
	sqlite3_finalize(stmt);
	return sqlite3_close(db) != SQLITE_OK;
}
