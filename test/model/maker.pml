/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names, rows, notes and lock files: makers (create, fork) and removers (rm) of one name, who sweep
 * what the dead have left, and may be killed at any step: lib/child.c, lib/sweep.c, lib/remove.c,
 * lib/held.c, lib/store_locks.c. docs/protocol.md maps each step to the code.
 *
 * When all have ended one more comes, whom nobody disturbs; after it nothing may be left over. That
 * a lock excludes, and that a file without a name is noticed, is lock.pml's: here an existing lock
 * file has one holder or none.
 */
#ifndef PROCS
#define PROCS 2
#endif
#ifndef IDS
#define IDS 3           /* the first is there from the beginning */
#endif
#define LAST (PROCS + 1) /* the number of the one who comes last */

mtype = { NO_ROW, CREATING, PUBLISHED };
mtype = { CREATE, RM, LOOK };

typedef instance {
	mtype row = NO_ROW;
	bool intent_rm; /* the row's intent is that of an rm */
	bool directory, vmm;
	bool file, gate; /* in locks/ */
	byte holder;
	byte noted; /* the notes of living processes, a bit each */
	byte stray; /* how many notes of dead ones */
}
instance all[IDS + 1];

byte named;       /* the id of the row that has the name: UNIQUE in the schema */
byte next_id = 2; /* ids are random and never used twice */
byte running = PROCS;
byte published; /* rows */

#define BIT (1 << me)
#define KILLED (me != LAST)

/* One step of a process, which may be killed instead. */
#define STEP(what) atomic { if :: KILLED -> goto dead :: true -> what fi }

#ifdef ONE_NOTE /* an id has one note, whosever it is */
#define NOTE(x) all[x].noted = BIT; all[x].stray = 0
#define FORGET(x) all[x].noted = 0; all[x].stray = 0
#else /* each process has its own */
#define NOTE(x) all[x].noted = all[x].noted | BIT
#define FORGET(x) all[x].noted = all[x].noted & ~BIT
#endif

#ifdef RESERVE_IN_TWO /* a look at the names, and later a new row */
#define ONE_TRANSACTION fi } atomic { if :: true ->
#else
#define ONE_TRANSACTION ;
#endif

#define RELEASE(x) if :: all[x].holder == me -> all[x].holder = 0 :: else fi

/* vm_lock_take() of one who may make the lock file and does not wait */
inline take_or_make(x)
{
	do
	:: true ->
		STEP(all[x].gate = true);
		STEP(all[x].file = true);
		STEP(got = (all[x].file && all[x].holder == 0);
			if :: got -> all[x].holder = me :: else fi;
			again = !all[x].file);
		if :: again :: else -> break fi
	od
}

/* The same of one who may not make it. */
inline take(x)
{
	STEP(got = (all[x].file && all[x].holder == 0);
		again = !all[x].file;
		if :: got -> all[x].holder = me :: else fi)
}

/* vm_lock_unlink_release() */
inline unlink_release(x)
{
	STEP(assert(all[x].holder == me); all[x].gate = false);
	STEP(all[x].file = false; all[x].holder = 0)
}

/* vm_store_delete() */
inline delete_row(x)
{
	STEP(if :: all[x].row == PUBLISHED -> published-- :: else fi;
		all[x].row = NO_ROW;
		all[x].intent_rm = false;
		if :: named == x -> named = 0 :: else fi;
		NOTE(x))
}

/* vm_remove() */
inline remove(x)
{
	STEP(assert(all[x].holder == me && (all[x].row == CREATING || all[x].intent_rm)); all[x].vmm = false);
#ifdef ROW_FIRST
	delete_row(x);
	STEP(all[x].directory = false);
#else
	STEP(all[x].directory = false);
	delete_row(x);
#endif
	unlink_release(x);
	STEP(FORGET(x))
}

/* vm_sweep_lock_file() */
inline sweep_lock_file(x)
{
	STEP(found = all[x].row);
	if
	:: found != NO_ROW -> STEP(RELEASE(x))
	:: found == NO_ROW -> unlink_release(x)
	fi;
	STEP(FORGET(x))
}

/* vm_sweep_lock_files(), vm_store_stray_lock() */
inline sweep_lock_files()
{
	x = 1;
	do
	:: x <= IDS ->
#ifdef ONE_NOTE
		STEP(got = (all[x].stray > 0));
#else
		STEP(got = (all[x].stray > 0); if :: got -> all[x].stray--; NOTE(x) :: else fi);
#endif
		if
		:: got ->
			take_or_make(x);
			if :: got -> sweep_lock_file(x) :: else fi;
			found = NO_ROW;
			again = false;
#ifdef ONE_NOTE
			x++
#endif
		:: else -> x++
		fi
	:: else -> break
	od
}

/* vm_held_remake_lock() */
inline remake_lock(x)
{
	STEP(found = all[x].row);
	if
	:: found != NO_ROW ->
		STEP(NOTE(x));
		take_or_make(x);
		if :: got -> sweep_lock_file(x) :: else fi
	:: else
	fi
}

/* sweep_maker(), drop_dead(); `x` is what the caller has seen */
inline sweep_maker()
{
#ifdef SWEEPER_NOTES_NOTHING
	take_or_make(x);
#else
	take(x);
	if
	:: again -> remake_lock(x); take(x)
	:: else
	fi;
#endif
	if
	:: got ->
		STEP(found = all[x].row);
#ifdef NO_SECOND_LOOK
		found = CREATING;
#endif
		if
		:: found == CREATING -> remove(x)
		:: found != CREATING -> sweep_lock_file(x)
		fi
	:: else
	fi;
	again = false
}

/* The kernel closes what the dead have open; whoever looks finds their notes to be strays. */
inline bury()
{
	x = 1;
	do
	:: x <= IDS ->
		RELEASE(x);
		if
		:: all[x].noted & BIT -> all[x].noted = all[x].noted & ~BIT; all[x].stray++
		:: else
		fi;
		x++
	:: else -> break
	od;
	x = 0; id = 0; got = false; again = false; found = NO_ROW; verb = LOOK
}

proctype process(byte me)
{
	byte id, x;
	bool got, again;
	mtype found = NO_ROW, verb = LOOK;

	if :: me == LAST -> running == 0 :: else fi;

idle:
	atomic {
		if
		:: me == LAST -> verb = LOOK
		:: me != LAST && next_id <= IDS -> verb = CREATE
		:: me != LAST -> verb = RM
		:: me != LAST -> running--; goto gone
		fi
	}
	sweep_lock_files();
	if :: verb == RM -> goto held :: else fi;

	/* vm_sweep_makers() */
	STEP(x = named; got = (x != 0 && all[x].row == CREATING));
	if :: got -> STEP(got = (all[x].holder == 0)) :: else fi; /* vm_lock_probe() */
	if :: got -> sweep_maker() :: else fi;
	if :: verb == LOOK -> goto held :: else fi;

	found = NO_ROW;
	got = false;

	/* vm_child_reserve() */
	STEP(if :: next_id <= IDS -> id = next_id; next_id++; NOTE(id) :: else -> goto done fi);
	take_or_make(id);
	again = false;
	do
	:: true ->
		/* vm_store_reserve() */
		STEP(x = named; found = NO_ROW ONE_TRANSACTION
			if
			:: x != 0
			:: x == 0 && (all[id].noted & BIT) ->
				FORGET(id); named = id; all[id].row = CREATING; found = CREATING
			:: else /* "swept away" */
			fi);
		if :: x == 0 -> break :: else fi;
		/* vm_sweep_name() */
		STEP(x = named; found = all[x].row);
		if
		:: found == CREATING -> sweep_maker()
		:: found == PUBLISHED -> break
		:: else
		fi;
		if :: true -> found = NO_ROW; break :: true fi /* only so many times, or still alive */
	od;
	if
	:: found != CREATING || named != id ->
		unlink_release(id); /* unlock_children() */
		STEP(FORGET(id));
		goto done
	:: else
	fi;
	found = NO_ROW;
	x = 0;
	STEP(all[id].directory = true);
	STEP(all[id].vmm = true);
	if
	:: STEP(assert(all[id].row == CREATING && all[id].holder == me && all[id].directory && all[id].vmm);
		assert(published == 0);
		published++;
		all[id].row = PUBLISHED)
	:: remove(id) /* vm_child_drop() */
	fi;
	goto done;

held: /* vm_held_take() */
	STEP(x = named; got = (x != 0 && all[x].row == PUBLISHED));
	if :: !got -> goto done :: else fi;
	take(x);
	if
	:: again -> remake_lock(x); if :: me == LAST -> goto held :: else -> goto done fi
	:: !again && !got -> goto done /* busy */
	:: else
	fi;
	STEP(found = all[x].row);
	if
	:: found == NO_ROW -> goto done
	:: found != NO_ROW && verb == RM -> STEP(all[x].intent_rm = true)
	:: else
	fi;
	if :: all[x].intent_rm -> remove(x) :: else fi;

done:
	if :: me == LAST -> goto judge :: else fi;
dead:
	atomic {
		if
		:: id != 0 && all[id].row == CREATING && all[id].holder == me -> all[id].file = false; all[id].gate = false /* lost */
		:: true
		fi;
		bury();
		goto idle
	}

judge:
	atomic {
		bury();
		x = 1;
		do
		:: x <= IDS ->
			assert(all[x].stray == 0 && !all[x].intent_rm);
			assert(all[x].row != CREATING);
			assert(all[x].row == NO_ROW || (all[x].file && all[x].directory));
			assert(all[x].row != NO_ROW || (!all[x].file && !all[x].gate && !all[x].directory && !all[x].vmm));
			x++
		:: else -> break
		od
	}
gone:
	skip
}

init {
	atomic {
		all[1].row = PUBLISHED;
		named = 1;
		published = 1;
		all[1].directory = true;
		all[1].vmm = true;
		if
		:: all[1].file = true; all[1].gate = true
		:: true /* lost: the data root was copied without locks/ */
		fi;
		byte n = 1;
		do
#ifdef RESERVE_IN_TWO /* what is left over is not the matter then */
		:: n < LAST -> run process(n); n++
#else
		:: n <= LAST -> run process(n); n++
#endif
		:: else -> break
		od
	}
}
