# Xtensa with the windowed ABI of the ESP32, its instructions and single-precision FPU, on QEMU's
# machine `lx60`; built on MicroPython's QEMU port.
QEMU_ARCH = xtensa
QEMU_MACHINE = lx60
MICROPY_HEAP_SIZE = 327680
CROSS_COMPILE = xtensa-esp32-elf-

CFLAGS += -DQEMU_SOC_XTENSA -DMICROPY_HW_MCU_NAME='"Xtensa LX"'
# MicroPython is written for gcc; clang warns of more.
CFLAGS_EXTRA += -Wno-error
LDSCRIPT = $(BOARD_DIR)/sim.ld
LIBS = $(shell $(CC) --print-libgcc-file-name)
SRC_BOARD_O = shared/runtime/gchelper_generic.o
vpath %.c $(BOARD_DIR)
SRC_C += sim.c
INC += -I$(BOARD_DIR)
MPY_CROSS_FLAGS += -march=xtensawin

include $(BOARD_DIR)/../qemu/board.mk
