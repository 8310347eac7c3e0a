/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance, its row, intent, VMM and saved memory: every verb's steps, any of which may be its
 * last, and how the next comer settles what it finds: lib/settle.c, lib/held.c and the verbs' files.
 * docs/protocol.md maps each step to the code. rm is in maker.pml.
 */
#ifndef PROCS
#define PROCS 2
#endif

mtype = { STOPPED, STANDBY, RUNNING, PAUSED, FAILED };
mtype = { NONE, START, STOP, PAUSE, RESUME, SAVE, RESTORE, FORK }; /* intents */

byte sharers; /* of the instance's lock */
bool alone;   /* it is held exclusively */

/* The store. */
mtype row = STOPPED, intent = NONE;

/* The VMM, alive as long as its liveness lock is held, and its guest. */
bool vmm;
bool guest_paused;

/* The directory. */
bool manifest;
bool fits; /* memory and state are there, and of the moment at which the disks are now */

#ifdef FEW_KILLS /* then every intent is settled some time */
byte kills = 2;
#define KILLED (kills > 0)
#define DIE kills--
#else
#define KILLED true
#define DIE skip
#endif

/* One step of a process, which may be killed instead. */
#define STEP(what) atomic { if :: KILLED -> DIE; goto dead :: true -> what fi }

#define HAS_VMM(state) (state == RUNNING || state == PAUSED)

/* The guest runs: its disks move on. */
#define RUN guest_paused = false; fits = false
#define SPAWN assert(!vmm); vmm = true; guest_paused = true
#define KILL_VMM vmm = false; guest_paused = false

/* vm_store_commit() */
#define COMMIT(state) row = state; intent = NONE
#define INTEND(verb) assert(intent == NONE); intent = verb

/* vm_held_drop_saved() */
inline drop_saved()
{
#ifndef MANIFEST_STAYS
	STEP(manifest = false);
#endif
	STEP(fits = false)
}

inline bury()
{
	drop_saved();
	STEP(if
		:: intent == STOP -> COMMIT(STOPPED)
		:: intent != STOP -> COMMIT(FAILED)
		:: intent != STOP -> COMMIT(STOPPED) /* the guest had shut itself down */
		fi)
}

/* follow_guest(): `resumes` is the caller's */
inline follow_guest()
{
	STEP(alive = vmm); /* vm_held_attach() */
	if
	:: !alive -> bury()
	:: alive -> /* end_by_force() */
		STEP(KILL_VMM);
		drop_saved();
		STEP(COMMIT(STOPPED))
	:: alive ->
		STEP(if
			:: vmm -> paused = guest_paused; alive = true
			:: !vmm -> alive = false /* it does not answer, and is_ending() */
			fi);
		if
		:: !alive -> bury()
		:: alive && paused && resumes ->
			STEP(if :: vmm -> RUN :: else fi);
			paused = false;
			keep_or_commit()
		:: alive && !(paused && resumes) -> keep_or_commit()
		fi
	fi
}

inline keep_or_commit()
{
	STEP(if
		:: paused == (row == PAUSED) -> intent = NONE
		:: paused && row != PAUSED -> COMMIT(PAUSED)
		:: !paused && row == PAUSED -> COMMIT(RUNNING)
		fi)
}

inline undo_spawn()
{
	STEP(KILL_VMM); /* vm_vmm_reap() */
	STEP(intent = NONE)
}

inline settle()
{
	STEP(alive = vmm);
	resumes = false;
	if
	:: intent == SAVE && manifest ->
		STEP(KILL_VMM);
		STEP(COMMIT(STANDBY))
	:: intent == SAVE && !manifest && alive ->
		resumes = (row == RUNNING);
		follow_guest()
	:: intent == RESTORE && HAS_VMM(row) && alive ->
		STEP(manifest = false);
		resumes = true;
		follow_guest()
	:: intent == STOP && row == STANDBY ->
		drop_saved();
		STEP(COMMIT(STOPPED))
	:: HAS_VMM(row) && !alive && !(intent == SAVE && manifest) -> bury()
	:: HAS_VMM(row) && alive && intent != NONE && intent != SAVE && intent != RESTORE ->
		resumes = (intent == FORK);
		follow_guest()
	:: HAS_VMM(row) && alive && intent == NONE -> bury() /* cannot be: see the caller */
	:: !HAS_VMM(row) && !(intent == STOP && row == STANDBY) -> undo_spawn()
	fi;
	resumes = false;
	paused = false;
	alive = false
}

active [PROCS] proctype process()
{
	bool alive, paused, resumes, needed;

idle:
	if
	:: atomic { !alone && sharers == 0 -> alone = true }
	:: atomic { !alone -> sharers++; goto shared }
	fi;

held: /* vm_held_settle(): what is done and seen from here on is done under the lock */
	STEP(needed = (intent != NONE || vmm != HAS_VMM(row)));
#ifdef NO_SETTLE
	needed = false;
#endif
#ifdef NEVER_SETTLES
	if :: needed -> goto done :: else fi;
#endif
	if
	:: needed -> needed = false; settle()
	:: else
	fi;
	STEP(assert(intent == NONE);
		assert(!vmm || (HAS_VMM(row) && guest_paused == (row == PAUSED)));
		assert(manifest == (row == STANDBY));
		assert(!manifest || fits));
	if
	:: row == STOPPED || row == FAILED -> goto start
	:: row == STANDBY -> goto restore
	:: row == STANDBY -> goto discard
	:: HAS_VMM(row) -> goto stop
	:: HAS_VMM(row) -> goto save
	:: row == RUNNING -> goto pause
	:: row == PAUSED -> goto resume
	:: row == RUNNING -> goto fork
	:: true -> goto done
	fi;

start: /* boot() */
	STEP(INTEND(START));
	drop_saved();
	if
	:: true -> STEP(SPAWN; RUN); STEP(COMMIT(RUNNING)); goto done
	:: true -> STEP(SPAWN; RUN); STEP(KILL_VMM)
	:: true
	fi;
	STEP(intent = NONE); /* vm_held_abandon() */
	goto done;

restore:
	STEP(INTEND(RESTORE));
	STEP(SPAWN; assert(manifest && fits)); /* loaded, the guest has not run */
	if
	:: true ->
		STEP(KILL_VMM); /* the user said no */
		STEP(intent = NONE)
	:: true ->
#ifdef ROW_LATE
		STEP(if :: vmm -> RUN :: else fi);
		STEP(row = RUNNING);
		STEP(manifest = false);
#else
		/* retire_and_run() */
		STEP(row = RUNNING);
		STEP(manifest = false);
		STEP(if :: vmm -> RUN; alive = true :: !vmm -> alive = false fi);
		if
		:: alive
		:: else -> STEP(KILL_VMM); STEP(COMMIT(FAILED)); goto done
		fi;
#endif
		STEP(intent = NONE)
	fi;
	goto done;

discard: /* discard_standby() */
	STEP(INTEND(STOP));
	drop_saved();
	STEP(COMMIT(STOPPED));
	goto done;

stop: /* stop_vmm() */
	STEP(if :: vmm -> INTEND(STOP) :: !vmm -> goto done fi);
	if
	:: true -> goto done /* interrupted while the guest shuts down */
	:: true
	fi;
	STEP(KILL_VMM);
	drop_saved();
	STEP(COMMIT(STOPPED));
	goto done;

save: /* standby_steps(), save_and_end(), save_and_publish() */
#ifdef INTENT_LATE
	STEP(if :: vmm -> guest_paused = true :: !vmm -> goto done fi);
	STEP(INTEND(SAVE));
#else
	STEP(if :: vmm -> INTEND(SAVE) :: !vmm -> goto done fi);
	STEP(if :: vmm -> guest_paused = true :: !vmm -> goto go_on fi);
#endif
	STEP(manifest = false);
#ifdef MANIFEST_EARLY
	STEP(if :: vmm -> manifest = true :: !vmm -> goto go_on fi);
	STEP(fits = false);
	STEP(fits = true);
#else
	STEP(if :: vmm :: !vmm -> goto go_on :: true -> goto go_on fi); /* memory.new, vmstate.new */
	STEP(fits = false); /* memory is renamed */
	STEP(fits = true);  /* vmstate, too */
	STEP(manifest = true);
#endif
	if
	:: true
	:: true -> goto go_on /* it was not synced */
	fi;
	STEP(KILL_VMM);
	STEP(COMMIT(STANDBY));
	goto done;

go_on:
	STEP(manifest = false);
	STEP(if
		:: row == PAUSED
		:: row == RUNNING && vmm -> RUN
		:: row == RUNNING -> goto done /* the intent stays */
		fi);
	STEP(intent = NONE);
	goto done;

pause: /* switch_to() */
	STEP(if :: vmm -> INTEND(PAUSE) :: !vmm -> goto done fi);
	STEP(if :: vmm -> guest_paused = true :: true -> goto failed fi);
	STEP(COMMIT(PAUSED));
	goto done;

resume: /* switch_to() */
	STEP(if :: vmm -> INTEND(RESUME) :: !vmm -> goto done fi);
	STEP(if :: vmm -> RUN :: true -> goto failed fi);
	STEP(COMMIT(RUNNING));
	goto done;

failed: /* the intent stays, or vm_settle_again() */
	if
	:: true -> goto done
	:: true -> settle(); goto done
	fi;

fork: /* pause_and_capture() */
	STEP(if :: vmm -> INTEND(FORK) :: !vmm -> goto done fi);
	STEP(if :: vmm -> guest_paused = true :: !vmm fi);
	STEP(if :: vmm -> RUN :: true -> goto done fi); /* let_go_on() */
	STEP(intent = NONE);
	goto done;

shared: /* a fork of one at rest, shared with others */
	STEP(needed = (intent != NONE || vmm != HAS_VMM(row)));
	if
	:: needed -> /* comes back alone */
		atomic { needed = false; sharers-- }
		atomic { !alone && sharers == 0 -> alone = true; goto held }
	:: else
	fi;
	if
	:: row == STANDBY ->
		/* vm_fork_prepare_frozen() */
		STEP(assert(manifest && fits && !vmm));
		STEP(assert(manifest && fits && !vmm))
	:: else
	fi;

done:
dead:
	atomic {
		alive = false;
		paused = false;
		resumes = false;
		needed = false;
		if
		:: alone && sharers == 0 -> alone = false
		:: !alone -> sharers--
		fi;
		goto idle
	}
}

/* The VMM dies, or its guest shuts down. */
active proctype fate()
{
	do
	:: atomic { vmm -> KILL_VMM }
#ifdef FEW_KILLS
	:: true -> true /* or it does not: fairness must not force it */
#endif
	od
}

#ifdef FEW_KILLS
ltl every_intent_is_settled { [] (intent != NONE -> <> (intent == NONE)) }
#endif
