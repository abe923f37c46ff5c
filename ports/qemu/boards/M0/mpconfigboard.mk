# Cortex-M0: the chip of the BBC micro:bit with more RAM than the real one (16 kB) has.
QEMU_ARCH = arm
QEMU_MACHINE = microbit
MICROPY_HEAP_SIZE = 204800

CFLAGS += -mthumb -mcpu=cortex-m0 -mfloat-abi=soft
CFLAGS += -DQEMU_SOC_NRF51 -DMICROPY_HW_MCU_NAME='"Cortex-M0"'
LDSCRIPT = mcu/arm/nrf51.ld
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb1.o

include $(BOARD_DIR)/../../board.mk
