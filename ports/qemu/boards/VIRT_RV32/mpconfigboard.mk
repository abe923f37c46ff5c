# RISC-V, RV32IMAC: what the ESP32-C3 and -C6 have, and QEMU's generic machine.
QEMU_ARCH = riscv32
QEMU_MACHINE = virt
MICROPY_HEAP_SIZE = 327680

# Debian's compiler has 32-bit libraries for rv32imac but not for rv32imac_zicsr; by version 2.2
# of the instruction set the former includes the latter.
RV32_ARCH = rv32imac
AFLAGS += -misa-spec=2.2
LDFLAGS += -misa-spec=2.2

CFLAGS += -DQEMU_SOC_VIRT -DMICROPY_HW_MCU_NAME='"RV32IMAC"'
LDSCRIPT = mcu/rv32/virt.ld
SRC_BOARD_O += shared/runtime/gchelper_native.o shared/runtime/gchelper_rv32i.o
MPY_CROSS_FLAGS += -march=rv32imc

include $(BOARD_DIR)/../../board.mk
