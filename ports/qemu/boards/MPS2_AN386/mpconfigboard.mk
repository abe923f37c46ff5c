# Cortex-M4F: single-precision floating-point unit.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an386
# Two native modules, of which the one for the other float ABI was refused, and their package leave a
# model 30 kB in one piece.
MICROPY_HEAP_SIZE = 393216
FLOAT_ABI ?= hard

CFLAGS += -mthumb -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=$(FLOAT_ABI)
CFLAGS += -DQEMU_SOC_MPS2 -DMICROPY_HW_MCU_NAME='"Cortex-M4F"'

include $(BOARD_DIR)/../../board.mk
