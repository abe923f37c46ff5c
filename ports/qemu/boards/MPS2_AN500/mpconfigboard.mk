# Cortex-M7: single- and double-precision floating-point unit.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an500
# What a part with 512 kB of RAM (STM32F767) has left.
MICROPY_HEAP_SIZE = 425984

CFLAGS += -mthumb -mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard
CFLAGS += -DQEMU_SOC_MPS2 -DMICROPY_HW_MCU_NAME='"Cortex-M7"'

include $(BOARD_DIR)/../../board.mk
