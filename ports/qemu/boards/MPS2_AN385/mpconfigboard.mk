# Cortex-M3: no floating-point unit.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an385
MICROPY_HEAP_SIZE = 327680

CFLAGS += -mthumb -mcpu=cortex-m3 -mfloat-abi=soft
CFLAGS += -DQEMU_SOC_MPS2 -DMICROPY_HW_MCU_NAME='"Cortex-M3"'

include $(BOARD_DIR)/../../board.mk
