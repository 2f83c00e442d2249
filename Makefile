# bodkin. `make`, `make run` and `make test` are all most people need; `make help` lists the rest.
#
# One knob: config=release|debug|sanitize|fuzz, each with a folder of its own, build/$(config).
# CC, CFLAGS, LDFLAGS, PREFIX and DESTDIR mean what they always do; WERROR=1 turns warnings into errors.
# The build needs a C compiler and nothing else: src/main.c includes every other file.
# SPDX-License-Identifier: MIT
MAKEFLAGS += -r
ifeq ($(MAKELEVEL),0) # all processors, unless -j says otherwise
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
endif
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

config ?= release
CC     ?= cc
AR     ?= ar
PREFIX ?= /usr/local
MODEL  ?= smollm2-135m
PROMPT ?= Explain in one sentence what a computer program is.
TIME   ?= 60
FUZZ   ?= $(patsubst tests/fuzz_%.c,%,$(filter-out %/fuzz_main.c,$(wildcard tests/fuzz_*.c)))

# ---- flags ----
# Never -march=native (kernels carry their own targets), never -ffast-math (same tokens in, same bits out).

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-function $(if $(WERROR),-Werror)
ASAN := address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# At -O1 a sanitized build of the kernels takes minutes, at -O0 seconds.
# BK_DEBUG replaces malloc to catch allocations in a step; so do sanitizers for their own ends, hence never both.
MODE_release  := -O3 -fno-asynchronous-unwind-tables
MODE_debug    := -O1 -g -DBK_DEBUG
MODE_sanitize := -O0 -g -fsanitize=$(ASAN)
MODE_fuzz     := -O1 -g -fsanitize=fuzzer,$(ASAN)
MODE := $(MODE_$(config))
$(if $(MODE),,$(error config=$(config): expected release, debug, sanitize or fuzz))
ifneq ($(filter sanitize fuzz,$(config)),)
ifneq ($(filter default file undefined,$(origin CC)),)
CC := $(shell command -v clang || echo $(CC))
endif
endif

BUILD ?= build/$(config)
BASE   = $(CC) -std=c99 $(MODE) $(WARN) $(CFLAGS)
LIBS  := -lm -lpthread
DEPS   = -MMD -MP -MF $@.d
# Test programs include the library's source. Nothing outside calls its interface, so what a test does not use is left out.
TEST   = $(BASE) -DBK_API=static $(if $(filter release,$(config)),-O1 -g)
CHECK  = $(shell pkg-config --cflags --libs check 2>/dev/null || echo -lcheck)
HAVE_CHECK = $(shell pkg-config --exists check 2>/dev/null && echo yes)
SOURCES := $(wildcard src/*.[ch] src/*.inc src/*/*.[ch] gen/*.h)

# ---- what people call ----

all: $(BUILD)/bodkin $(if $(filter build/release,$(BUILD)),bodkin) ## build ./bodkin (default)
bodkin: build/release/bodkin
	@ln -f $< $@ 2>/dev/null || cp -p $< $@

run: all ## build, fetch the default model if it is not there, answer one prompt; MODEL=, PROMPT=
	@tools/fetch $(MODEL)
	@./bodkin run -m $(MODEL) --temperature 0 "$(PROMPT)"

test: needs ## build and run every test that needs no GPU
	@$(MAKE) --no-print-directory tested

bench: all $(BUILD)/kern ## speed of the kernels, then of the engine; MODEL=
	@$(BUILD)/kern --bench
	@./bodkin bench -m $(MODEL)
	@tools/bench_tokenizer.py $(MODEL)

fuzz: ## each fuzz target for TIME=60 seconds; FUZZ=name for one; finds go to build/fuzz
	@$(MAKE) --no-print-directory config=fuzz fuzzed

gen: ## run the generators of gen/
	@tools/gen_registry.sh
	@tools/gen_catalogue.py
	@mkdir -p build; if [ -f /usr/share/unicode/UnicodeData.txt ]; then \
	   python3 tools/gen_unicode.py >build/unicode.h && { cmp -s build/unicode.h gen/unicode.h || cp build/unicode.h gen/unicode.h; }; \
	 else echo "gen/unicode.h kept; to make it: apt-get install unicode-data"; fi
	@if python3 -c 'import gguf' 2>/dev/null; then tools/gen_grids.py >gen/grids.tmp && mv gen/grids.tmp gen/grids.h; \
	 else echo "gen/grids.h kept; to make it: pip install gguf"; fi

split: ## prove that every file uses only what stands above it
	@tools/split.sh $(CC)

static: ## a static binary with musl, CPU only: build/static/bodkin
	@$(MAKE) --no-print-directory BUILD=build/static CC=musl-gcc LDFLAGS="$(LDFLAGS) -static" build/static/bodkin

dist: dist/bodkin.c dist/bodkin.h ## the library as one file: dist/bodkin.c, dist/bodkin.h

size: all ## bytes of the binary, stripped
	@strip -o $(BUILD)/stripped $(BUILD)/bodkin && wc -c <$(BUILD)/stripped

install: all $(BUILD)/libbodkin.a $(BUILD)/bodkin.pc ## to PREFIX=/usr/local, below DESTDIR
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include lib/pkgconfig share/man/man1)
	install -m 755 $(BUILD)/bodkin $(DESTDIR)$(PREFIX)/bin/bodkin
	install -m 644 src/bodkin.h $(DESTDIR)$(PREFIX)/include/bodkin.h
	install -m 644 $(BUILD)/libbodkin.a $(DESTDIR)$(PREFIX)/lib/libbodkin.a
	install -m 644 $(BUILD)/bodkin.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/bodkin.pc
	$(foreach page,$(wildcard man/*.1),install -m 644 $(page) $(DESTDIR)$(PREFIX)/share/man/man1/;)

clean: ## remove what make has made
	rm -rf build dist bodkin

help: ## this list
	@sed -n 's/^\([a-z]*\):.* ## /\1	/p' Makefile | expand -t 10
	@echo "config=release|debug|sanitize|fuzz   builds to build/<config>; CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR, WERROR=1"

# ---- programs ----

$(BUILD)/bodkin: src/main.c $(BUILD)/flags
	$(BASE) $(DEPS) $< -o $@ $(LDFLAGS) $(LIBS)
$(BUILD)/libbodkin.a: src/bodkin.c $(BUILD)/flags
	$(BASE) $(DEPS) -c $< -o $(BUILD)/bodkin.o
	rm -f $@ && $(AR) rcs $@ $(BUILD)/bodkin.o
$(BUILD)/kern: tests/kern.c $(BUILD)/flags
	$(BASE) -DBK_API=static $(DEPS) $< -o $@ $(LDFLAGS) $(LIBS)
$(BUILD)/check: tests/check_main.c $(BUILD)/flags
	$(TEST) $(DEPS) $< -o $@ $(LDFLAGS) $(CHECK) $(LIBS)
# With a fuzzer the target has its main; else tests/fuzz_main.c runs it over its corpus.
REPLAY := $(if $(filter fuzz,$(config)),,$(BUILD)/replay.o)
$(BUILD)/fuzz_%: tests/fuzz_%.c $(REPLAY) $(BUILD)/flags
	$(TEST) $(DEPS) $< $(REPLAY) -o $@ $(LDFLAGS) $(LIBS)
$(BUILD)/replay.o: tests/fuzz_main.c $(BUILD)/flags
	$(TEST) $(DEPS) -c $< -o $@
# Pages of 4 tokens: every edge between pages is met in a short text. Debug: an allocation inside a step ends it.
$(BUILD)/page4: src/main.c $(BUILD)/flags
	$(BASE) -O1 -DKV_PAGE=4 -DBK_DEBUG $(DEPS) $< -o $@ $(LDFLAGS) $(LIBS)
# As the README has it: no flags, the same bits.
$(BUILD)/oneline: src/main.c $(BUILD)/flags
	$(CC) -std=c99 -O3 $(DEPS) $< -o $@ -lm -lpthread
$(BUILD)/embed $(BUILD)/vectors: $(BUILD)/%: examples/%.c dist/bodkin.c dist/bodkin.h $(BUILD)/flags
	$(BASE) -Wno-unused -O1 -Idist $< dist/bodkin.c -o $@ $(LDFLAGS) $(LIBS)

dist/bodkin.c: src/bodkin.c tools/amalgamate.py $(SOURCES)
	@mkdir -p dist && tools/amalgamate.py $< >$@
dist/bodkin.h: src/bodkin.h
	@mkdir -p dist && cp $< $@
$(BUILD)/bodkin.pc: src/bodkin.h $(BUILD)/flags
	@printf '%s\n' 'prefix=$(PREFIX)' 'Name: bodkin' 'Description: GGUF inference engine' \
	  "Version: $$(sed -n 's/^#define BK_VERSION "\(.*\)"/\1/p' $<)" \
	  'Libs: -L$${prefix}/lib -lbodkin' 'Libs.private: $(LIBS)' 'Cflags: -I$${prefix}/include' >$@

# ---- behind test and fuzz ----

needs: # what only tests need, if we may
	@pkg-config --exists check 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  { apt-get update; apt-get install -y --no-install-recommends check pkg-config; } >/dev/null 2>&1; } || true

tested: all $(BUILD)/kern $(BUILD)/page4 $(BUILD)/oneline $(BUILD)/embed $(BUILD)/vectors $(addprefix $(BUILD)/fuzz_,$(FUZZ)) $(if $(HAVE_CHECK),$(BUILD)/check)
	@tools/run_tests.sh $(BUILD)

fuzzed: $(addprefix $(BUILD)/fuzz_,$(FUZZ))
	@for name in $(FUZZ); do echo "$$name:"; mkdir -p $(BUILD)/$$name; \
	  $(BUILD)/fuzz_$$name -max_total_time=$(TIME) -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=$(BUILD)/$$name- $(BUILD)/$$name $$(tools/corpora.sh $$name) || exit 1; done

# Changes when the compiler or its flags do, and everything is built again.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); echo '$(BASE) $(LDFLAGS)' | cmp -s - $@ || echo '$(BASE) $(LDFLAGS)' >$@
FORCE:
.PHONY: all run test bench fuzz gen split static dist size install clean help needs tested fuzzed FORCE
-include $(wildcard $(BUILD)/*.d)
