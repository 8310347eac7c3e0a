# SPDX-License-Identifier: Apache-2.0
# The guest of the tests: a freestanding ELF64, included by the top Makefile, which sets GUEST. It has
# flags of its own: neither CFLAGS nor the sanitizers of SAN=1 make sense without an operating system.

GUEST_OUT := $(patsubst %/,%,$(dir $(GUEST)))
GUEST_SRC := test/guest
GUEST_OBJ := $(GUEST_OUT)/entry.o \
	$(patsubst $(GUEST_SRC)/%.c,$(GUEST_OUT)/%.o,$(wildcard $(GUEST_SRC)/*.c))
GUEST_CFLAGS := -std=c17 -Os -g -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-omit-frame-pointer -U_FORTIFY_SOURCE -mno-red-zone \
	-mno-mmx -mno-sse -mno-sse2 -mgeneral-regs-only -MMD -MP
GUEST_LDFLAGS := -nostdlib -static -Wl,-T,$(GUEST_SRC)/guest.lds,--build-id=none,-z,noexecstack

$(GUEST): $(GUEST_OBJ) $(GUEST_SRC)/guest.lds
	$(CC) $(GUEST_LDFLAGS) -o $@ $(GUEST_OBJ)

$(GUEST_OUT)/%.o: $(GUEST_SRC)/%.c $(GUEST_SRC)/guest.mk
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) $(WARN) -c -o $@ $<

$(GUEST_OUT)/%.o: $(GUEST_SRC)/%.S $(GUEST_SRC)/guest.mk
	@mkdir -p $(@D)
	$(CC) $(GUEST_CFLAGS) -c -o $@ $<

-include $(GUEST_OBJ:.o=.d)
