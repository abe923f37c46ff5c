# Read after the unix port's own Makefile by `make build-asan`: AddressSanitizer and
# UndefinedBehaviorSanitizer, where the first finding ends the program.
# MicroPython 1.25 itself fails some checks, so only our own sources keep them:
#   nonnull-attribute  memcpy or memset of 0 bytes at NULL (objarray.c, objset.c, objdict.c, ...)
#   pointer-overflow   NULL - 2 when a big integer is multiplied by 0 (mpz.c)
#   shift              32768 << 16 in `struct`'s half-precision code "e" (binary.c)
#   signed-integer-overflow  2^30 + 2^30 in a seek that is refused just after (lfs2.c, only there)
# float-cast-overflow is not part of "undefined" in GCC; rounding to integers needs it.
UPSTREAM_FAILS = nonnull-attribute,pointer-overflow,shift
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all

CFLAGS += $(SANITIZE) -fno-sanitize=$(UPSTREAM_FAILS)
# The sanitizers print float values through the C library; MicroPython's own printf aborts there.
CFLAGS += -DMICROPY_USE_INTERNAL_PRINTF=0
LDFLAGS += $(SANITIZE)
$(BUILD)/usermod_tinyprop/%.o: CFLAGS += -fsanitize=$(UPSTREAM_FAILS),float-cast-overflow
$(BUILD)/lib/littlefs/%.o: CFLAGS += -fno-sanitize=signed-integer-overflow

$(BUILD)/$(PROG): $(BUILD)/sanitize.o
$(BUILD)/sanitize.o: $(SANITIZE_DIR)/sanitize.c
	$(CC) -c -o $@ $<
