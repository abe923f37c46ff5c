# What the QEMU boards have in common; included by each mpconfigboard.mk.
TINYPROP_PORT := $(dir $(lastword $(MAKEFILE_LIST)))

# A board of today: `time`, `select`, Ctrl-C and littlefs, which MicroPython's QEMU port leaves out.
CFLAGS += -DMP_CONFIGFILE='"$(TINYPROP_PORT)mpconfigport.h"'
MICROPY_VFS_LFS2 = 1
vpath %.c $(TINYPROP_PORT)
SRC_C += tinyprop_board.c
LDFLAGS += -Wl,--wrap=main -Wl,--wrap=mp_hal_stdio_poll -Wl,--wrap=uart_rx_chr

ifeq ($(QEMU_ARCH),arm)
LDFLAGS += -T $(TINYPROP_PORT)no_unwind.ld
LDSCRIPT ?= mcu/arm/mps2.ld
SRC_BOARD_O ?= shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o
MPY_CROSS_FLAGS += -march=armv7m
endif
