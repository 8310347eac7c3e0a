/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance's lock and the gate in front of it: lib/lock.c. docs/protocol.md maps each label to
 * the code, and says why these bounds and these steps are enough.
 *
 * One instance, so one pair of names: locks/<id> and locks/<id>.gate. The number of an inode is
 * used anew as soon as the file has neither a name nor an open descriptor, as filesystems do.
 */
#ifndef PROCS
#define PROCS 3
#endif
#define INODES (PROCS + 1) /* each process has at most one open, and one has the name */

#if defined(PATIENT) /* nobody gives up, nobody is killed: then nobody may be stuck */
#define KILLED false
#define GIVES_UP false
#define UNLINKS true
#define ROLE(role) true
#define EXISTS 0
#elif defined(STREAM) /* process 0 wants the lock exclusively while the others keep coming */
#define KILLED (_pid != 0)
#define GIVES_UP (_pid != 0)
#define UNLINKS false
#ifdef PROBED
#define IS_PROBE (_pid == 1)
#else
#define IS_PROBE false
#endif
#define ROLE(role) \
	((role == EXCLUSIVE && _pid == 0) || (role == PROBE && IS_PROBE) || \
		(role == SHARER && _pid != 0 && !IS_PROBE))
#define EXISTS 1
#elif defined(FIXED) /* a maker, an exclusive taker, and sharers */
#define KILLED true
#define GIVES_UP true
#define UNLINKS true
#define ROLE(role) ((_pid == 0 && role == MAKER) || (_pid == 1 && role == EXCLUSIVE) || (_pid > 1 && role == SHARER))
#define EXISTS 0
#else /* anybody may be and do anything */
#define EXISTS 0
#define KILLED true
#define GIVES_UP true
#define UNLINKS true
#define ROLE(role) true
#endif
#ifdef NO_GATE
#define HAS_GATE false
#else
#define HAS_GATE true
#endif

#define SHARER 0
#define EXCLUSIVE 1
#define MAKER 2
#define PROBE 3

#ifdef SHARER_UNLINKS
#define MAY_UNLINK true
#else
#define MAY_UNLINK exclusive
#endif

/* What a name leads to: the inode's number, or 0. */
byte lock_name = EXISTS, gate_name = EXISTS;

typedef inode {
	byte descriptors;
	byte shared; /* holders of the flock */
	bool exclusive;
}
inode locks[INODES + 1];
inode gates[INODES + 1];

/* Those who have been told that the lock is theirs and have not begun to let go of it. */
byte inside_shared, inside_exclusive;
byte busy;       /* processes in the middle of something */
bool unfinished; /* one that had noted the lock file was killed, or gave up: a sweep will come */

/* openat(), with O_CREAT if there is no such name. */
#define OPEN(files, name, ret) \
	if \
	:: name != 0 \
	:: else -> \
		name = 1; \
		do \
		:: files[name].descriptors == 0 -> break \
		:: else -> name++ \
		od \
	fi; \
	ret = name; \
	files[ret].descriptors++

/* Unlocked and closed; so does the kernel with what the dead have open. */
inline close_gate()
{
	if
	:: gate != 0 ->
		if
		:: holds_gate -> gates[gate].exclusive = false
		:: else
		fi;
		holds_gate = false;
		gates[gate].descriptors--;
		gate = 0
	:: else
	fi
}

inline close_lock()
{
	leave();
	if
	:: file != 0 ->
		if
		:: holds && exclusive -> locks[file].exclusive = false
		:: holds && !exclusive -> locks[file].shared--
		:: else
		fi;
		holds = false;
		locks[file].descriptors--;
		file = 0
	:: else
	fi
}

inline enter()
{
	inside = true;
	if
	:: exclusive -> inside_exclusive++
	:: else -> inside_shared++
	fi;
	assert(inside_exclusive == 0 || (inside_exclusive == 1 && inside_shared == 0))
}

inline leave()
{
	if
	:: inside && exclusive -> inside_exclusive--
	:: inside && !exclusive -> inside_shared--
	:: else
	fi;
	inside = false
}

inline end()
{
	close_gate();
	close_lock();
	exclusive = false;
	create = false;
	busy--;
	unfinished = unfinished && (lock_name != 0 || gate_name != 0);
#if !defined(NO_LOOK) && !defined(SHARER_UNLINKS) /* they are to break the exclusion */
	/* Nobody will ever want that gate again, so nobody will ever take it away. */
	assert(busy != 0 || unfinished || lock_name != 0 || gate_name == 0)
#endif
}

/* kill -9. What has been noted in the store is swept, once its process is dead. */
inline die()
{
	unfinished = unfinished || create;
	end()
}

active [PROCS] proctype process()
{
	byte file, gate;        /* our descriptors, 0: none */
	bool holds, holds_gate; /* the flocks on them */
	bool exclusive, create; /* what is asked for */
	bool inside;

idle:
	atomic {
		if
		:: ROLE(SHARER)
		:: ROLE(EXCLUSIVE) -> exclusive = true
		:: ROLE(MAKER) -> exclusive = true; create = true; busy++; goto gate_open
		:: ROLE(PROBE) && lock_name != 0 ->
			busy++;
			file = lock_name;
			locks[file].descriptors++;
			goto probe
		fi;
		busy++;
		if
		:: lock_name != 0
		:: lock_name == 0 -> end(); goto idle /* GONE */
		fi
	}

gate_open:
	atomic {
		if
		:: KILLED -> die(); goto idle
#ifdef ANYBODY_MAKES_GATES
		:: true -> OPEN(gates, gate_name, gate)
#else
		:: HAS_GATE && (create || gate_name != 0) -> OPEN(gates, gate_name, gate)
		:: !HAS_GATE || (!create && gate_name == 0) -> goto lock_open
#endif
		fi
	}

gate_take:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> unfinished = unfinished || create; end(); goto idle
		:: !gates[gate].exclusive ->
			gates[gate].exclusive = true;
			holds_gate = true;
			if
			:: gate_name == gate
			:: gate_name != gate -> close_gate(); goto once_more
			fi
		fi
	}

lock_open:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: create || lock_name != 0 -> OPEN(locks, lock_name, file)
		:: !create && lock_name == 0 -> end(); goto idle /* GONE */
		fi
	}

lock_take:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> unfinished = unfinished || create; end(); goto idle
		:: exclusive && !locks[file].exclusive && locks[file].shared == 0 ->
			locks[file].exclusive = true
		:: !exclusive && !locks[file].exclusive -> locks[file].shared++
		fi;
		holds = true;
		if
#ifdef NO_LOOK
		:: true -> enter()
#else
		:: lock_name == file -> enter()
		:: lock_name != file -> close_lock(); close_gate(); goto once_more
#endif
		fi;
		if
		:: gate != 0 -> close_gate(); goto got
		:: else
		fi
	}

gate_make: /* opened and closed */
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: true -> OPEN(gates, gate_name, gate); close_gate()
		fi
	}

got:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: end(); goto idle
		:: UNLINKS && MAY_UNLINK
		fi
	}

unlink: /* vm_lock_unlink_release() */
#ifdef OWNER_WAITS_FOR_GATE
	atomic { OPEN(gates, gate_name, gate) }
	atomic { !gates[gate].exclusive -> gates[gate].exclusive = true; holds_gate = true }
#endif
	atomic {
		if
		:: KILLED -> unfinished = true; die(); goto idle /* noted with the row's end */
		:: gate_name = 0
		fi
	}
	atomic {
		if
		:: KILLED -> unfinished = true; die(); goto idle
		:: lock_name = 0; leave(); end(); goto idle
		fi
	}

once_more:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: create || lock_name != 0 -> goto gate_open
		:: !create && lock_name == 0 -> end(); goto idle
		fi
	}

probe:
	atomic {
		if
		:: locks[file].exclusive -> end(); goto idle
		:: else -> locks[file].shared++; holds = true
		fi
	}
	atomic {
		end();
		goto idle
	}
}

#ifdef STREAM /* process 0 wants the lock exclusively while the others keep coming */
#define waits_for_gate (process[0]@gate_take)
#define waits_for_lock (process[0]@lock_take)
#define gate_is_free (!gates[gate_name].exclusive)
#define lock_is_free (!locks[lock_name].exclusive && locks[lock_name].shared == 0)
#define has_it (process[0]@got)

/* Strong fairness of one flock: who waits while it is free again and again gets it some time. */
#define fair_gate (([]<> (waits_for_gate && gate_is_free)) -> ([]<> !waits_for_gate))
#define fair_lock (([]<> (waits_for_lock && lock_is_free)) -> ([]<> !waits_for_lock))

ltl turn_with_fair_gate { fair_gate -> [] (waits_for_gate -> <> has_it) }
ltl turn_with_fair_locks { (fair_gate && fair_lock) -> [] ((waits_for_gate || waits_for_lock) -> <> has_it) }
ltl turn { [] (waits_for_gate -> <> has_it) }
#endif
