# SPDX-License-Identifier: Apache-2.0
# The only build system. `make help` lists the targets.
#
#   SAN=1       AddressSanitizer and UndefinedBehaviorSanitizer, in build/san
#   FAULTS=1    fault points (docs/faults.md), in build/faults; for tests only
#   CI=true     warnings are errors
#   CC=clang    both gcc >= 12 and clang >= 14 build it
#   STATIC=     links all libraries dynamically, for distributions. Else some are linked statically, where
#               there is an archive of them: programs start sooner, and are built anew when one is mended
#   BUILD=DIR   build there; PREFIX, DESTDIR, ...: where `make install` puts things (packaging/install.mk)
#   CFLAGS, CPPFLAGS, LDFLAGS  are added, also from the environment

VERSION := 0.1.0
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := yaml-0.1 jansson sqlite3 libisal libarchive libzstd libxxhash
PREFIX ?= /usr/local
comma := ,
BUILD := build$(if $(SAN),/san)$(if $(FAULTS),/faults)

# What it takes the loader to find and bind them is a fifth of the CPU time of a fork (docs/performance.md).
STATIC ?= sqlite3 yaml jansson zstd

PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
# The loader asks the libraries in this order for each symbol: so those with most of them come first.
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ifneq ($(PKG_LIBS),)
PKG_LIBS := -lsqlite3 -lc $(filter-out -lsqlite3,$(PKG_LIBS)) $(if $(STATIC),-lm)
endif
archive = $(filter /%,$(shell $(CC) -print-file-name=lib$(1).a 2>/dev/null))
PKG_LIBS := $(foreach lib,$(PKG_LIBS),$(or \
	$(if $(filter $(lib:-l%=%),$(STATIC)),$(call archive,$(lib:-l%=%))),$(lib)))
# Of vmctl-top alone.
NCURSES_LIBS := $(shell pkg-config --libs ncursesw 2>/dev/null)
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wformat=2 -Wnull-dereference $(if $(filter true,$(CI)),-Werror)
OPT := $(if $(SAN),-O1 -g -fsanitize=address$(comma)undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer,-O2 -g \
	$(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-D_FORTIFY_SOURCE=2))
CFLAGS ?=
CPPFLAGS ?=
LDFLAGS ?=
ALL_CFLAGS := -std=c17 -D_GNU_SOURCE -pthread -Ilib $(PKG_CFLAGS) $(WARN) $(OPT) \
	-DVM_VERSION='"$(VERSION)"' $(if $(FAULTS),-DVM_FAULTS) -MMD -MP $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS := -pthread $(if $(SAN),-fsanitize=address$(comma)undefined) \
	-Wl,-z,now,-z,relro,--as-needed,--exclude-libs,ALL $(LDFLAGS)

# Needed to compile anything; said here, because the compiler would only name a header.
WITHOUT_LIBS := help clean deps firecracker guest demo check lint check-model install-files uninstall
ifeq ($(and $(PKG_LIBS),$(NCURSES_LIBS)),)
ifneq ($(filter-out $(WITHOUT_LIBS),$(or $(MAKECMDGOALS),all)),)
$(error pkg-config does not find all of: $(PKGS) ncursesw. On Debian: sudo packaging/install-deps build)
endif
endif

LIB_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard lib/*.c lib/driver/*.c))
CLI_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cmd/cli/*.c))
VERBS := $(patsubst cmd/%.c,%,$(filter-out cmd/vmctl.c,$(wildcard cmd/*.c)))
BINS := $(BUILD)/bin/vmctl $(VERBS:%=$(BUILD)/bin/vmctl-%)
LIB := $(BUILD)/libvmctl.a
CLI := $(BUILD)/libcli.a
UNIT_BINS := $(patsubst test/unit/%.c,$(BUILD)/test/%,$(wildcard test/unit/test_*.c))

all: $(BINS)

# Other flags than last time make other objects: everything that is compiled depends on this file.
FLAGS_FILE := $(BUILD)/flags
FLAGS_NOW := $(strip $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(STATIC))
ifneq ($(filter-out help clean deps lint check-model install-files uninstall,$(or $(MAKECMDGOALS),all)),)
ifneq ($(file <$(FLAGS_FILE)),$(FLAGS_NOW))
$(shell mkdir -p $(BUILD))$(file >$(FLAGS_FILE),$(FLAGS_NOW))
endif
endif

$(LIB): $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Archives: a program has in it only what it uses, and so loads only the libraries it needs.
$(CLI): $(CLI_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/bin/vmctl: $(BUILD)/obj/cmd/vmctl.o $(CLI) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/bin/vmctl-%: $(BUILD)/obj/cmd/%.o $(CLI) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(VERB_LIBS) $(PKG_LIBS)

# A group of commands: one program, a file for each command.
$(BUILD)/bin/vmctl-snapshot: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cmd/snapshot/*.c))
$(BUILD)/bin/vmctl-snapshot-transfer: $(BUILD)/obj/cmd/snapshot/info.o
$(BUILD)/bin/vmctl-top: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cmd/top/*.c))
$(BUILD)/bin/vmctl-top: private VERB_LIBS := $(NCURSES_LIBS)

# --- the guest of the tests: freestanding, no libc, never sanitized -------------------------------
GUEST := build/guest/guest.elf
guest: $(GUEST)
include test/guest/guest.mk

# --- tests ----------------------------------------------------------------------------------------
# What is in test/unit and not a test of its own is linked into each of them.
UNIT_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,\
	$(filter-out test/unit/test_%.c,$(wildcard test/unit/*.c)))

unit: $(UNIT_BINS)
$(BUILD)/test/test_%: $(BUILD)/obj/test/unit/test_%.o $(UNIT_OBJ) $(CLI) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

# The unit tests alone, as whoever asks, with what is installed: for package builders. test/run does more.
check-unit: unit
	@failed=; for program in $(UNIT_BINS); do \
		CMOCKA_MESSAGE_OUTPUT=STDOUT timeout 600 $$program || failed="$$failed $$program"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

check:
	test/run

check-model:
	test/model/run

# libFuzzer comes with clang, so this is always clang's, whatever CC is.
FUZZ_CC ?= clang
FUZZ := $(BUILD)/fuzz
FUZZ_SAN := -fsanitize=fuzzer-no-link$(comma)address$(comma)undefined -fno-sanitize-recover=all
FUZZ_CFLAGS := -std=c17 -D_GNU_SOURCE -pthread -Ilib $(PKG_CFLAGS) $(WARN) -O1 -g $(FUZZ_SAN) \
	-fno-omit-frame-pointer -DVM_VERSION='"$(VERSION)"' -MMD -MP
FUZZ_LIB_OBJ := $(patsubst %.c,$(FUZZ)/obj/%.o,$(wildcard lib/*.c lib/driver/*.c))
FUZZ_BINS := $(patsubst test/fuzz/%.c,$(FUZZ)/%,$(wildcard test/fuzz/fuzz_*.c))

fuzzers: $(FUZZ_BINS)
fuzz:
	test/run --fuzz

$(FUZZ)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_CFLAGS) -c -o $@ $<

$(FUZZ)/libvmctl.a: $(FUZZ_LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(FUZZ)/fuzz_%: $(FUZZ)/obj/test/fuzz/fuzz_%.o $(FUZZ)/libvmctl.a
	$(FUZZ_CC) -pthread -fsanitize=fuzzer$(comma)address$(comma)undefined -o $@ \
		$(filter %.o,$^) $(filter %.a,$^) $(PKG_LIBS)

# What is fuzzed of cmd/cli, and needs no more of it than this.
$(FUZZ)/fuzz_format: $(patsubst %,$(FUZZ)/obj/cmd/cli/%.o,format shape text yaml_text)

# --- benchmarks -----------------------------------------------------------------------------------
BENCH_BINS := $(patsubst test/bench/%.c,$(BUILD)/bench/%,$(wildcard test/bench/*.c))

bench-bins: $(BENCH_BINS)
$(BUILD)/bench/%: $(BUILD)/obj/test/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS)

# Tables in docs/performance.md; the gate is quick, and not part of the tests.
bench: all guest bench-bins
	test/bench/run
	test/bench/pause

bench-check: all guest bench-bins
	test/bench/run --quick --check

# --- lint -----------------------------------------------------------------------------------------
# test/lint runs every checker; the slow one, clang-tidy, once per changed file, by these stamps.
LINT := build/lint
TIDY ?= clang-tidy
LINT_SRC := $(wildcard cmd/*.c cmd/*/*.c lib/*.c lib/driver/*.c test/unit/*.c test/fuzz/*.c \
	test/bench/*.c)
LINT_GUEST := $(wildcard test/guest/*.c)
TIDY_CFLAGS := -std=c17 -D_GNU_SOURCE -Ilib $(PKG_CFLAGS) -DVM_VERSION='"$(VERSION)"'
TIDY_GUEST_CFLAGS := -std=c17 -ffreestanding -mno-mmx -mno-sse -mno-sse2
# Its words only when there is something to say; "N warnings generated" counts system headers.
define TIDY_ONE
	@mkdir -p $(@D)
	@$(CC) -MM -MP -MT $@ -MF $@.d $(1) $<
	@$(TIDY) --quiet $< -- $(1) >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@
endef

lint:
	test/lint

tidy: $(patsubst %.c,$(LINT)/%.tidy,$(LINT_SRC) $(LINT_GUEST))

$(LINT)/test/guest/%.tidy: test/guest/%.c .clang-tidy
	$(call TIDY_ONE,$(TIDY_GUEST_CFLAGS))

$(LINT)/%.tidy: %.c .clang-tidy
	$(call TIDY_ONE,$(TIDY_CFLAGS))

# --- everything else ------------------------------------------------------------------------------
include packaging/install.mk

deps:
	packaging/install-deps all

firecracker:
	@packaging/get-firecracker

demo:
	packaging/quickstart

# The quickstart's microVMs live under build/: they are removed properly before their files are.
clean:
	packaging/quickstart --clean
	rm -rf build

help:
	@echo 'make              build everything into build/bin'
	@echo 'make SAN=1        the same with the address and undefined behaviour sanitizers'
	@echo 'make FAULTS=1     the same with fault points, in build/faults (docs/faults.md)'
	@echo 'make guest        the guest of the tests, build/guest/guest.elf'
	@echo 'make unit         the unit tests, as programs in build/test'
	@echo 'make check        all tests (test/run; test/run --help says how to run some)'
	@echo 'make check-model  the models of the lock-and-slot protocol, by spin (test/model/run)'
	@echo 'make lint         every checker of the sources (test/lint)'
	@echo 'make fuzz         each fuzzer for 10 seconds (FUZZ_SECONDS=N)'
	@echo 'make bench        the benchmarks (docs/performance.md; test/bench/run --help)'
	@echo 'make bench-check  the same, quickly, as a gate: fails if vmctl is too far from its floors'
	@echo 'make demo         the tour: one microVM forked to ten (packaging/quickstart)'
	@echo 'make deps         what all of this needs, by apt (packaging/install-deps all)'
	@echo 'make firecracker  a Firecracker binary (packaging/get-firecracker)'
	@echo 'make install      to PREFIX=$(PREFIX), below DESTDIR; make uninstall undoes it (docs/packaging.md)'
	@echo 'make clean        remove build/'

# Kept, though only patterns lead to them. Not .SECONDARY, which would leave out one that is new.
.PRECIOUS: $(BUILD)/obj/%.o
.PHONY: all guest unit check check-unit check-model fuzzers fuzz bench bench-bins bench-check lint tidy \
	install install-files uninstall deps firecracker demo clean help
-include $(shell find $(BUILD)/obj $(FUZZ)/obj $(LINT) -name '*.d' 2>/dev/null)
