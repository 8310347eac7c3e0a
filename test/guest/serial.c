/* SPDX-License-Identifier: Apache-2.0 */
#include "serial.h"

#include "io.h"

/* Registers and bits of the 16550A. */
enum {
	PORT = 0x3f8,
	PORT_INTERRUPT_ENABLE = PORT + 1,
	PORT_FIFO_CONTROL = PORT + 2,
	PORT_LINE_CONTROL = PORT + 3,
	PORT_MODEM_CONTROL = PORT + 4,
	PORT_LINE_STATUS = PORT + 5,

	INTERRUPT_RECEIVE = 0x01,
	FIFO_ENABLE = 0x01,
	LINE_8N1 = 0x03,
	MODEM_DTR_RTS_OUT2 = 0x0b,
	STATUS_DATA_READY = 0x01,
	STATUS_TRANSMIT_EMPTY = 0x20,

	TRANSMIT_POLLS = 10000,
};

void serial_listen(void)
{
	io_out8(PORT_INTERRUPT_ENABLE, INTERRUPT_RECEIVE);
}

void serial_init(void)
{
	io_out8(PORT_LINE_CONTROL, LINE_8N1);
	io_out8(PORT_FIFO_CONTROL, FIFO_ENABLE);
	io_out8(PORT_MODEM_CONTROL, MODEM_DTR_RTS_OUT2);
	serial_listen();
}

bool serial_get(char *ret_c)
{
	if (!(io_in8(PORT_LINE_STATUS) & STATUS_DATA_READY))
		return false;
	*ret_c = (char)io_in8(PORT);
	return true;
}

void serial_put(char c)
{
	/* Bounded: a port that never drains costs bytes, not the guest. */
	for (int i = 0; i < TRANSMIT_POLLS; i++) {
		if (io_in8(PORT_LINE_STATUS) & STATUS_TRANSMIT_EMPTY)
			break;
	}
	io_out8(PORT, (uint8_t)c);
}

void serial_put_visible(char c)
{
	if (c <= ' ' || c > '~')
		c = '.';
	serial_put(c);
}

void serial_text(const char *text)
{
	for (; *text; text++)
		serial_put(*text);
}

void serial_u64(uint64_t value)
{
	char digits[20]; /* 2^64 has 20 */
	int n = 0;

	do {
		digits[n++] = "0123456789"[value % 10];
		value /= 10;
	} while (value);
	while (n > 0)
		serial_put(digits[--n]);
}
