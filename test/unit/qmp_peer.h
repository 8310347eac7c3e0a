/* SPDX-License-Identifier: Apache-2.0 */
/* The other end of a QMP connection: a thread that follows a script. */
#ifndef VM_TEST_QMP_PEER_H
#define VM_TEST_QMP_PEER_H

#include "procs.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include "driver/qemu_qmp.h"
#include "interrupt.h"

enum {
	SOON_MS = 50, /* the deadline of calls that must run into it */
	PEER_HEARS = 64 * 1024,
};

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "         \
	"\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define DONE "{\"return\": {}}\r\n"
#define EVENT "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": "
#define STOP EVENT "\"STOP\"}\r\n"
#define MIGRATION(status) EVENT "\"MIGRATION\", \"data\": {\"status\": \"" status "\"}}\r\n"

/* One thing that the peer does: it waits for a command, then says something. */
struct step {
	const char
	        *hear;   /* the command, or a part of what it looks like; NULL: it waits for none */
	const char *say; /* NULL: nothing */
	size_t len;      /* of `say`; 0: it is a string */
	unsigned times;  /* how often it is said; 0: once */
	size_t piece;    /* bytes per write; 0: all at once */
};

enum peer_end { HANGS_UP, HOLDS /* until the client has closed */ };

struct peer {
	const struct step *steps; /* up to one that hears and says nothing */
	enum peer_end end;
	pid_t signal_pid; /* gets SIGTERM when all is said */
	int fd;
	pthread_t thread;
	char wrong[256];          /* what it heard instead; "" */
	char heard[PEER_HEARS];   /* the last command's beginning */
	size_t bytes;             /* all of it */
	ino_t passed;             /* of the last descriptor that came */
	unsigned passed_count;    /* how many */
	size_t passed_after_byte; /* of its command */
};

/* Some bytes, and what came with them. False at the end. */
static inline bool peer_receive(struct peer *peer, char *buf, size_t size, size_t *ret_len)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = buf, .iov_len = size};
	struct msghdr message = {.msg_iov = &part,
	                         .msg_iovlen = 1,
	                         .msg_control = control.room,
	                         .msg_controllen = sizeof(control.room)};
	ssize_t n = recvmsg(peer->fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

	if (header && header->cmsg_type == SCM_RIGHTS) {
		struct stat st = {0};
		int fd;

		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
		fstat(fd, &st);
		close(fd);
		peer->passed = st.st_ino;
		peer->passed_count++;
		peer->passed_after_byte = peer->bytes;
	}
	*ret_len = n > 0 ? (size_t)n : 0;
	return n > 0;
}

/* A whole JSON value is there; what is longer than we keep ends with a brace, too. */
static inline bool is_command(const struct peer *peer, char last)
{
	json_t *json;
	bool whole;

	if (last != '}' || peer->bytes >= PEER_HEARS)
		return last == '}';
	json = json_loadb(peer->heard, peer->bytes, 0, NULL);
	whole = json != NULL;
	json_decref(json);
	return whole;
}

static inline bool peer_hear(struct peer *peer)
{
	char chunk[4096];
	size_t n;

	memset(peer->heard, 0, sizeof(peer->heard));
	peer->bytes = 0;
	do {
		if (!peer_receive(peer, chunk, sizeof(chunk), &n))
			return false;
		for (size_t i = 0; i < n && peer->bytes + i < sizeof(peer->heard) - 1; i++)
			peer->heard[peer->bytes + i] = chunk[i];
		peer->bytes += n;
	} while (!is_command(peer, chunk[n - 1]));
	return true;
}

/* False when the client has seen enough. */
static inline bool peer_say(const struct peer *peer, const struct step *step)
{
	size_t len = step->len ? step->len : strlen(step->say);
	unsigned times = step->times ? step->times : 1;

	for (unsigned i = 0; i < times; i++) {
		for (size_t at = 0; at < len;) {
			size_t piece =
			        step->piece && step->piece < len - at ? step->piece : len - at;
			ssize_t n = send(peer->fd, step->say + at, piece, MSG_NOSIGNAL);

			if (n < 0)
				return false;
			at += (size_t)n;
		}
	}
	return true;
}

static inline void *peer_run(void *arg)
{
	struct peer *peer = arg;
	char sink[4096];
	size_t n;

	for (const struct step *step = peer->steps; step->hear || step->say; step++) {
		if (step->hear && !peer_hear(peer)) {
			snprintf(peer->wrong, sizeof(peer->wrong), "no %s came", step->hear);
			break;
		}
		if (step->hear && !strstr(peer->heard, step->hear)) {
			snprintf(peer->wrong, sizeof(peer->wrong), "%s: %.150s", step->hear,
			         peer->heard);
			break;
		}
		if (step->say && !peer_say(peer, step))
			break;
	}
	if (peer->signal_pid > 0)
		kill(peer->signal_pid, SIGTERM);
	while (peer->end == HOLDS && peer_receive(peer, sink, sizeof(sink), &n))
		;
	close(peer->fd);
	return NULL;
}

/* Begins; the client's end. `steps` stay the caller's, up to peer_join(). */
static inline int peer_start(struct peer *peer, const struct step *steps, enum peer_end end)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	*peer = (struct peer){.steps = steps, .end = end, .fd = ends[1]};
	assert_int_equal(pthread_create(&peer->thread, NULL, peer_run, peer), 0);
	return ends[0];
}

/* When the client has closed: it heard what the script says. */
static inline void peer_join(struct peer *peer)
{
	assert_int_equal(pthread_join(peer->thread, NULL), 0);
	assert_string_equal(peer->wrong, "");
}

#endif
