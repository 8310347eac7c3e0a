/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to lib/lock*.c: the queue at a gate. It makes those who want the gate take it one after
 * the other, in the order in which they came. It is about turns only: what excludes is the flock of
 * the gate, which is right without it. So nothing here fails; at worst there is no order.
 *
 * A ticket is the time of arrival, and the byte of that number in the gate's file, locked for
 * writing (open file description locks, fcntl(2): they need no content, and go with the descriptor
 * as an flock does). Whoever has read-locked all bytes below his own is the first. Somebody who
 * arrives late at a place below such a lock, because he was not running between his look at the
 * clock and the lock, does not get that byte, and draws another ticket.
 */
#ifndef VM_LOCK_IMPL_H
#define VM_LOCK_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Draws a ticket, to be kept as long as the gate is wanted or held. -1: none, and no order. */
off_t vm_queue_enter(int gate_fd);
/*
 * Waits until all who came before have left: true, also without a ticket. False when the deadline
 * has passed or the process was asked to stop.
 */
bool vm_queue_wait(int gate_fd, off_t ticket, int64_t deadline_ms);
/* Gives the ticket back; does nothing without one. */
void vm_queue_leave(int gate_fd);

#endif
