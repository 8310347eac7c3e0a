/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operation tells of itself while it goes on: how much of a long piece of work is done, and
 * what it waits for.
 *
 * It is told where locks are held, and by several threads: whoever listens only takes a note of it,
 * and shows that from elsewhere. Nobody is told of what is small or over in an instant, so that a
 * fork of shared files tells nothing at all.
 */
#ifndef VM_TELL_H
#define VM_TELL_H

#include <stdbool.h>
#include <stdint.h>

/* What is given to a listener is lent. */
struct vm_amount {
	const char *what; /* "copying disk root of web" */
	const char *unit; /* what is counted, "forks"; NULL: bytes */
	uint64_t done, total;
	bool blind; /* somebody else does it, and nobody knows how far he is; but see `growth` */
	/* What he writes it to: as far as these have blocks. NULL: not known. */
	const struct vm_growth *growth;
};

/* Files that come to be in a directory, or had no blocks before. */
enum { VM_GROWTH_FILES = 2 };
struct vm_growth {
	int dir_fd;                         /* lent; duplicate it to look later */
	const char *files[VM_GROWTH_FILES]; /* NULL: fewer */
};
/* The bytes that they have on disk now. */
uint64_t vm_growth_bytes(const struct vm_growth *growth);

enum { VM_WAITING_NOTE = 400 };
struct vm_waiting {
	const struct vm_tell *tell;
	const char *what;           /* "instance 'web'"; borrowed */
	char note[VM_WAITING_NOTE]; /* what is in the way: "held by pid 4711 (...)"; or "" */
	int64_t began_ms;
	int64_t deadline_ms; /* as in lock.h */
	int64_t next_ms;     /* when it is to be told of again */
	bool told, over;
};

struct vm_tell {
	/*
	 * Of one piece of work at a time; done 0 or another `what` begins the next, and done ==
	 * total is the end. What is counted by several threads may come out of order.
	 */
	void (*amount)(void *ctx, const struct vm_amount *amount);
	/* Of a wait that has taken a while, once a second; several may go on, and each has its own
	 * address. The last time with `over`. */
	void (*waiting)(void *ctx, const struct vm_waiting *waiting);
	void *ctx;
};

/* --- work ---------------------------------------------------------------------------------------
 */

/* One piece of work. Functions that take a pointer to it take NULL, too: then nothing is told. */
struct vm_work {
	const struct vm_tell *tell; /* NULL: nobody listens */
	char what[224];
	uint64_t done, total, told;
};
enum {
	VM_WORK_LEAST_BYTES = 8 << 20, /* less is done before anybody could read of it */
	VM_WORK_STEP_BYTES = 4 << 20,  /* it is told about so often */
};

/* Names it; nothing is told yet. */
void vm_work_init(struct vm_work *work, const struct vm_tell *tell, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
/* Whether anybody wants to know of so many bytes: only then is a total worth to be found out. */
bool vm_work_is_told(const struct vm_work *work, uint64_t total_bytes);
/* It has that many bytes, of which none is done. */
void vm_work_begin(struct vm_work *work, uint64_t total_bytes);
void vm_work_add(struct vm_work *work, uint64_t bytes);
/*
 * It is done by another process: how far he is shows in files that grow, or not (NULL). To be ended
 * by vm_work_end() before dir_fd is closed, unless it fails.
 */
void vm_work_watch(struct vm_work *work, uint64_t total_bytes, const struct vm_growth *growth);
void vm_work_end(struct vm_work *work);
/* How far it is, told at once: for those who know how often. */
void vm_work_at(struct vm_work *work, uint64_t done_bytes, uint64_t total_bytes);

/* --- waits --------------------------------------------------------------------------------------
 */

/*
 * A wait begins; it is told of when it has taken 200 ms, and then each second:
 *
 *   vm_waiting_begin(); while not had: sleep until vm_waiting_piece(), and vm_waiting_tell() if
 *   vm_waiting_is_due(); vm_waiting_end().
 */
void vm_waiting_begin(struct vm_waiting *waiting, const struct vm_tell *tell, const char *what,
                      int64_t deadline_ms);
/* Until when to sleep: the deadline that is given, or sooner, when it is to be told of. */
int64_t vm_waiting_piece(const struct vm_waiting *waiting, int64_t deadline_ms);
bool vm_waiting_is_due(const struct vm_waiting *waiting);
/* What is in waiting->note now. */
void vm_waiting_tell(struct vm_waiting *waiting);
/* There is nothing to say of it now. */
void vm_waiting_put_off(struct vm_waiting *waiting);
void vm_waiting_end(struct vm_waiting *waiting);

#endif
