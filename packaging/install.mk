# SPDX-License-Identifier: Apache-2.0
# `make install` and `make uninstall`, included by the top Makefile. docs/packaging.md tells what is
# installed where. One list for both: MODE|SOURCE|DESTINATION, a word each.

BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/vmctl
# Not below PREFIX: it is where the programs look.
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
BASHCOMPDIR ?= $(DATADIR)/bash-completion/completions
ZSHCOMPDIR ?= $(DATADIR)/zsh/site-functions
FISHCOMPDIR ?= $(DATADIR)/fish/vendor_completions.d

# Files with paths in them: @bindir@ and the like are filled in when they are installed.
FILL := sed -e 's|@bindir@|$(BINDIR)|g' -e 's|@libdir@|$(LIBDIR)/vmctl|g' \
	-e 's|@libexecdir@|$(LIBEXECDIR)/vmctl|g'

# $(call entries,MODE,FILES,DIRECTORY): each file under its own name there.
entries = $(foreach file,$(2),$(1)|$(file)|$(3)/$(notdir $(file)))
EXAMPLES := $(shell find examples -type f | LC_ALL=C sort)
EXAMPLES_RUN := $(shell find examples -type f -perm -100)

INSTALL_LIST = $(call entries,0755,$(BINS),$(BINDIR)) \
	$(call entries,0644,$(GUEST),$(LIBDIR)/vmctl) \
	$(foreach n,1 2 3 4 5 6 7 8,$(call entries,0644,$(wildcard man/*.$n),$(MANDIR)/man$n)) \
	$(foreach file,$(wildcard completions/*.bash),\
		0644|$(file)|$(BASHCOMPDIR)/$(patsubst %.bash,%,$(notdir $(file)))) \
	$(call entries,0644,$(wildcard completions/_*),$(ZSHCOMPDIR)) \
	$(call entries,0644,$(wildcard completions/*.fish),$(FISHCOMPDIR)) \
	0644|packaging/vmctl.tmpfiles|$(TMPFILESDIR)/vmctl.conf \
	0644|packaging/vmctl.sysusers|$(SYSUSERSDIR)/vmctl.conf \
	$(call entries,0644,README.md NEWS.md,$(DOCDIR)) \
	$(call entries,0644,$(wildcard docs/*.md),$(DOCDIR)/docs) \
	$(foreach file,$(EXAMPLES),$(if $(filter $(file),$(EXAMPLES_RUN)),0755,0644)|$(file)|$(DOCDIR)/$(file))
# The same, through $(FILL).
FILL_LIST = $(call entries,0644,$(wildcard packaging/systemd/*),$(UNITDIR)) \
	$(call entries,0644,$(wildcard packaging/examples/*),$(DOCDIR)/examples) \
	$(call entries,0755,packaging/lib/unit packaging/lib/restore-all packaging/quickstart \
		packaging/get-firecracker,$(LIBEXECDIR)/vmctl)
# What loads completions by the name of a command has to find it under each: links to the one file.
LINKS = $(foreach verb,$(VERBS),\
	$(if $(wildcard completions/vmctl.bash),vmctl|$(BASHCOMPDIR)/vmctl-$(verb)) \
	$(if $(wildcard completions/vmctl.fish),vmctl.fish|$(FISHCOMPDIR)/vmctl-$(verb).fish))

HOOK_DIRS := $(foreach when,pre post,$(foreach verb,fork start restore standby rm,\
	hooks.d/$(when)-$(verb)))
CONF_DIRS = $(foreach dir,templates $(HOOK_DIRS),$(SYSCONFDIR)/vmctl/$(dir))
CONF = $(SYSCONFDIR)/vmctl/vmctl.yaml
# The example, with everything commented out: installed, it changes nothing.
CONF_TEXT = sed '/^[^\#]/s/^/\#/' examples/vmctl.yaml
PRIVATE_DIRS = $(LIBDIR)/vmctl $(LIBEXECDIR)/vmctl $(DOCDIR)

install: all guest
	@$(MAKE) --no-print-directory install-files

# What is built already, as it is: compiles nothing. Settings that somebody has changed stay.
install-files:
	@set -e; for entry in $(INSTALL_LIST:%='%'); do \
		IFS='|'; set -- $$entry; unset IFS; \
		install -D -m "$$1" "$$2" "$(DESTDIR)$$3"; \
	done
	@set -e; for entry in $(FILL_LIST:%='%'); do \
		IFS='|'; set -- $$entry; unset IFS; \
		install -d "$$(dirname "$(DESTDIR)$$3")"; \
		$(FILL) "$$2" >"$(DESTDIR)$$3.new"; \
		chmod "$$1" "$(DESTDIR)$$3.new"; \
		mv -f "$(DESTDIR)$$3.new" "$(DESTDIR)$$3"; \
	done
	@set -e; for entry in $(LINKS:%='%'); do \
		ln -sf "$${entry%%|*}" "$(DESTDIR)$${entry#*|}"; \
	done
	@install -d $(CONF_DIRS:%="$(DESTDIR)%")
	@[ -e "$(DESTDIR)$(CONF)" ] || { $(CONF_TEXT) >"$(DESTDIR)$(CONF)" && \
		chmod 0644 "$(DESTDIR)$(CONF)"; }

# Settings that somebody has changed stay, and so do hooks and templates.
uninstall:
	@set -e; for entry in $(INSTALL_LIST:%='%') $(FILL_LIST:%='%'); do \
		rm -f "$(DESTDIR)$${entry##*|}"; \
	done
	@set -e; for entry in $(LINKS:%='%'); do \
		rm -f "$(DESTDIR)$${entry#*|}"; \
	done
	@! $(CONF_TEXT) | cmp -s - "$(DESTDIR)$(CONF)" || rm -f "$(DESTDIR)$(CONF)"
	@for dir in $(CONF_DIRS:%="$(DESTDIR)%") $(PRIVATE_DIRS:%="$(DESTDIR)%"); do \
		[ ! -d "$$dir" ] || find "$$dir" -depth -type d -empty -delete; \
	done
	@rmdir "$(DESTDIR)$(SYSCONFDIR)/vmctl/hooks.d" "$(DESTDIR)$(SYSCONFDIR)/vmctl" 2>/dev/null || :
