/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port at 0x3f8: output is polled, input raises IRQ 4. */
#ifndef GUEST_SERIAL_H
#define GUEST_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

void serial_init(void);
/*
 * Ask for the receive interrupt (again): a hypervisor that restores a snapshot may bring the port
 * back as it is after reset.
 */
void serial_listen(void);
/* Take one byte of input if there is one. */
bool serial_get(char *ret_c);
void serial_put(char c);
/* As serial_put, with a dot for what does not print. */
void serial_put_visible(char c);
void serial_text(const char *text);
void serial_u64(uint64_t value);

#endif
