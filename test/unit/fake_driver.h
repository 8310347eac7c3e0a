/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hypervisor for the tests of generic code. Its VMM is a real process (sleep), spawned as every
 * VMM is; its guest is one file, "guest", that says running or paused. Every call can be told to
 * fail, to hang or to be interrupted. Where a real VMM would accept nonsense in silence this one
 * counts a violation: a guest that runs beside a manifest, a save while the guest runs, two VMMs of
 * one data root with the same guest CID, another CID in a saved state where that cannot be changed.
 *
 * Linking this gives vm_drivers[] a table with this driver alone.
 */
#ifndef VM_TEST_FAKE_DRIVER_H
#define VM_TEST_FAKE_DRIVER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "driver/driver.h"

#define FAKE_VERSION "1.0"
#define FAKE_GUEST "guest"     /* what the guest is doing */
#define FAKE_ENDED "ended"     /* the guest shut itself down */
#define FAKE_PACKED "packed"   /* made by tests: the saved memory is to be made usable first */
#define FAKE_SOCKET "vmm.sock" /* left behind by a dead VMM */
#define FAKE_CID "cid"         /* the guest CID the VMM was given; "0": none */

enum fake_call {
	FAKE_BOOT,
	FAKE_LOAD,
	FAKE_PAUSE,
	FAKE_RESUME,
	FAKE_SAVE,
	FAKE_QUERY,
	FAKE_MOVE,
	FAKE_PREPARE,
	FAKE_CALLS
};

enum fake_fault {
	FAKE_NONE,
	FAKE_FAIL,       /* refuses; nothing happens */
	FAKE_LIE,        /* it happens, and is called a failure */
	FAKE_HANG,       /* no answer, nothing happens: until interrupted, or its deadline */
	FAKE_HANG_AFTER, /* the same, but it has happened */
	FAKE_SIGTERM,    /* the process is asked to stop just after it has happened */
};

struct fake_plan {
	enum fake_fault fault;
	int nth;       /* which call, from 1; 0: every one */
	char name[64]; /* only calls for the instance of this name; "": any */
};

/* In shared memory: tests see what happened in processes that they have killed. */
struct fake {
	struct fake_plan plans[FAKE_CALLS];
	atomic_int calls[FAKE_CALLS];
	atomic_int hanging;    /* calls that hang now, or did when they were killed */
	atomic_int violations; /* of what a guest may rely on */
	/* Called before each call takes effect, by whatever thread; may be NULL. */
	void (*on_call)(enum fake_call call, const struct vm_machine *machine);
};

/* Maps it when it is first used. */
struct fake *fake_get(void);
/* Everything as in the beginning, capabilities too. */
void fake_reset(void);
/* Makes calls fail; replaces the plan there is for this call. */
void fake_expect(enum fake_call call, enum fake_fault fault, int nth, const char *name);
/* Calls work again; what was counted stays. */
void fake_forgive(void);
int fake_calls(enum fake_call call);
/* To be changed by tests: a real driver's are constant. */
struct vm_driver_caps *fake_caps(void);

/* What the guest of an instance is doing, by its file; VM_GUEST_NOT_STARTED without one. */
enum vm_guest_state fake_guest(int dir_fd);
/* The guest CID that an instance's VMM was last given; 0 without one. */
uint64_t fake_cid(int dir_fd);
/* Ends the VMM as a guest that shuts down would. -1 when there is none. */
int fake_shut_down(const struct vm_root *root, const char *id, int dir_fd);

#endif
