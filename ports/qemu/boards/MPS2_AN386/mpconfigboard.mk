# Cortex-M4F: single-precision floating-point unit.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an386
# A native module and its package leave a model 30 kB in one piece.
MICROPY_HEAP_SIZE = 360448
FLOAT_ABI ?= hard

CFLAGS += -mthumb -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=$(FLOAT_ABI)
CFLAGS += -DQEMU_SOC_MPS2 -DMICROPY_HW_MCU_NAME='"Cortex-M4F"'

include $(BOARD_DIR)/../../board.mk
