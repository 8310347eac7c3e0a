/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restore slots: lib/slot.c. A semaphore to sleep on, slot files that decide, the scan lock and its
 * record, settlements, killed holders, and callers with different ideas of N. docs/protocol.md maps
 * each label to the code, and says why these bounds and these steps are enough.
 */
#ifndef PROCS
#define PROCS 3
#endif
#ifndef FILES
#define FILES 2 /* the largest N */
#endif

#ifdef HOARD /* holders keep their slots until they are killed; nobody gives up */
#define KILLED (kills > 0)
#define GIVES_UP false
#define RELEASES false
#define SMALLEST FILES
byte kills = KILLS; /* still to come */
#elif defined(PATIENT) /* nobody gives up, nobody is killed: then nobody may be stuck */
#define KILLED false
#define GIVES_UP false
#define RELEASES true
#else /* anything */
#define KILLED true
#define GIVES_UP true
#define RELEASES true
#endif
#ifndef SMALLEST
#define SMALLEST 1 /* N is anything from here to FILES in each call */
#endif

byte tokens[2]; /* values of the semaphores of the name: the first, and its successor */
bool made[2];
byte semaphore; /* which has the name */

bool locked[FILES]; /* the slot files */
byte held;          /* how many of them */

byte scanners; /* shared holders of the scan lock */
bool settling; /* exclusive holder */

/* What the file of the scan lock says; a count of 0: nothing yet. */
byte record_count, record_limit = FILES;
bool recent; /* the last settlement is less than 100 ms ago */

inline open_semaphore()
{
	mine = semaphore;
	if
	:: !made[mine] -> made[mine] = true; tokens[mine] = count
	:: else
	fi
}

inline lock_file(k)
{
	locked[k] = true;
	held++;
	file = k;
	has_file = true;
	assert(held <= count)
}

/* Unlocks what is locked, as the code and the kernel do: the dead keep nothing but their token. */
inline unlock_file()
{
	if
	:: has_file -> locked[file] = false; held--
	:: else
	fi;
	has_file = false;
	file = 0
}

inline unlock_scan()
{
	if
	:: scans -> scanners--
	:: settles -> settling = false
	:: else
	fi;
	scans = false;
	settles = false
}

inline finish()
{
	unlock_scan();
	unlock_file();
	has_token = false;
	last = false;
	count = 0;
	mine = 0;
	start = 0;
	i = 0;
	busy_files = 0;
	limit = 0;
	first_free = 0;
	before = 0
}

inline die()
{
#ifdef HOARD
	kills--;
#endif
	finish()
}

active [PROCS] proctype process()
{
	byte count; /* our N */
	byte mine;  /* our semaphore */
	byte file;
	bool has_file, has_token, scans, settles;
	bool last; /* the settlement before "none free" is reported */
	byte start, i, busy_files, limit, first_free;
	byte before; /* what was held when the settlement began to count */

idle:
	atomic {
		select(count : SMALLEST .. FILES);
		open_semaphore();
		if
		:: tokens[mine] > 0 -> tokens[mine]--; has_token = true; goto scan_lock
		:: else
		fi
	}

asleep: /* wait_for_slot() */
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> finish(); goto idle /* SIGTERM */
#ifdef NO_LAST_LOOK
		:: GIVES_UP -> assert(held >= count); finish(); goto idle
#endif
		:: GIVES_UP -> last = true; goto settle /* the deadline */
		:: tokens[mine] > 0 -> tokens[mine]--; has_token = true
#if !defined(NO_SETTLEMENT) && !defined(NO_SLICE)
		:: (record_count != count || !recent) -> goto settle /* a slice has passed */
#endif
		fi
	}

scan_lock: /* take_with_token(), scan_files() */
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> goto give_back
		:: !settling -> scanners++; scans = true
		fi;
		if
		:: record_count == count && record_limit == count -> select(start : 0 .. count - 1)
		:: else -> unlock_scan(); goto settle
		fi
	}

scan:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: i < count && !locked[(start + i) % count] ->
			lock_file((start + i) % count);
			unlock_scan();
			goto has_slot
		:: i < count && locked[(start + i) % count] -> i++; goto scan
		:: i == count -> unlock_scan()
		fi
	}
#ifdef NO_SETTLEMENT
	atomic { finish(); goto idle }
#endif

settle:
	atomic {
		i = 0;
		start = 0;
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> goto give_back
#ifdef NO_SCAN_LOCK
		:: true
#else
		:: !settling && scanners == 0 -> settling = true; settles = true
#endif
		fi;
		before = held;
		limit = (record_count == 0 || record_limit < count -> count : record_limit);
		limit = (record_count == 0 -> FILES : limit);
#ifdef NO_LIMIT
		limit = count;
#endif
		first_free = count
	}

count_files: /* take_census() */
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: i < limit ->
			if
			:: locked[i] -> busy_files++; start = i + 1 /* the new limit, so far */
			:: !locked[i] && i < first_free -> first_free = i
			:: else
			fi;
			i++;
			goto count_files
		:: i == limit
		fi;
		limit = (start > count -> start : count);
		start = 0;
		i = 0
#ifdef RECORD_LATE
		; goto settle_take
#endif
	}

write_record:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: GIVES_UP -> unlock_scan(); goto give_back /* the disk is full */
		:: record_count = count; record_limit = limit; recent = true
		fi
#ifdef RECORD_LATE
		; goto set_tokens
#endif
	}

settle_take:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: true
		fi;
		if
		:: busy_files < count && first_free < count && !locked[first_free] ->
			lock_file(first_free);
			busy_files++
		:: else
		fi;
		has_token = false /* forgotten: the right number is set now */
#ifdef RECORD_LATE
		; goto write_record
#endif
	}

set_tokens:
	atomic {
		if
		:: KILLED -> die(); goto idle
		:: true
		fi;
		if
		:: tokens[mine] + busy_files < count -> goto post
		:: tokens[mine] > 0 && tokens[mine] + busy_files > count -> goto take_one
		:: else
		fi;
		unlock_scan();
		i = 0;
		busy_files = 0;
		limit = 0;
		first_free = 0;
		if
		:: has_file -> before = 0; goto has_slot
		:: !has_file && !last -> before = 0; goto asleep
		:: !has_file && last ->
			assert(before >= count); /* "none is free" was true of some moment */
			finish();
			goto idle
		fi
	}

post:
	atomic { tokens[mine]++; goto set_tokens }

take_one:
	atomic { tokens[mine] = (tokens[mine] > 0 -> tokens[mine] - 1 : 0); goto set_tokens }

has_slot:
	atomic {
		last = false;
		start = 0;
		i = 0;
		before = 0;
		has_token = true; /* whosever it was */
		if
		:: KILLED -> die(); goto idle
		:: RELEASES -> unlock_file()
		fi
	}

give_back: /* sem_post(), of those who have a token */
	atomic {
		if
		:: KILLED -> die()
		:: has_token -> tokens[mine]++; finish()
		:: !has_token -> finish()
		fi;
		goto idle
	}
}

#ifdef EMPTIED /* somebody empties /dev/shm */
active proctype emptier()
{
	semaphore = 1
}
#endif

#ifdef HOARD
active proctype clock() /* always able to run: no end of time hides a slot that is lost */
{
	do
	:: recent = false
	od
}

ltl no_slot_is_lost { <> [] (held == FILES) }
#elif defined(PATIENT)
active proctype clock()
{
end:
	do
	:: recent -> recent = false
	od
}
#endif
