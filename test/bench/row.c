/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of what asks the store: a program that opens the SQLite database DB as any reader would
 * and prints one row of it. It is linked with SQLite alone.
 *
 *	row DB
 */
#include <sqlite3.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int status = 1;

	if (argc != 2) {
		fputs("usage: row DB\n", stderr);
		return 2;
	}
	/* Read only: the last one to close would else move the log into the database, and the next
	 * program that comes by would find another store than the one before. */
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
	    sqlite3_prepare_v2(db, "SELECT name FROM instance LIMIT 1", -1, &stmt, NULL) ==
	            SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		status = puts((const char *)sqlite3_column_text(stmt, 0)) < 0;
	else
		fprintf(stderr, "row: %s: %s\n", argv[1], sqlite3_errmsg(db));
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return status;
}
