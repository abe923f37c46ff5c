# The module `_tinyprop` for make-based ports: USER_C_MODULES=<folder above this one>.
TINYPROP_DIR := $(USERMOD_DIR)

# The binding sees MicroPython; core and kernels are a plain C library.
SRC_USERMOD_C += $(addprefix $(TINYPROP_DIR)/binding/, \
	tpmod.c \
	tpmod_kernels.c \
	tpmod_model.c \
	tpmod_tensor.c \
	)

SRC_USERMOD_LIB_C += $(addprefix $(TINYPROP_DIR)/core/, \
	tp_block.c \
	tp_file.c \
	tp_graph.c \
	tp_int.c \
	tp_int_plain.c \
	tp_int_rows.c \
	tp_int_step.c \
	tp_layer.c \
	tp_math.c \
	tp_model.c \
	tp_ops.c \
	tp_optim.c \
	tp_plan.c \
	tp_policy.c \
	)
SRC_USERMOD_LIB_C += $(addprefix $(TINYPROP_DIR)/kernels/, \
	tp_kernels_armv6m.c \
	tp_kernels_armv6m_update.c \
	tp_kernels_armv7m.c \
	tp_kernels_cores.c \
	tp_kernels_dsp.c \
	tp_kernels_dsp_update.c \
	tp_kernels_generic.c \
	tp_kernels_int.c \
	tp_kernels_mve.c \
	tp_kernels_sse2.c \
	tp_kernels_vfp.c \
	)

# Optimisation of our own loops, whatever the port uses for the rest. The arithmetic is defined
# operation by operation, so nothing may be contracted or reordered.
TINYPROP_BINDING_OPT ?= -O2
TINYPROP_CORE_OPT ?= -O3
TINYPROP_KERNELS_OPT ?= -O3
# The last one comes last: -fno-fast-math would turn errno on again.
TINYPROP_NUMERICS := -ffp-contract=off -fno-fast-math -fno-math-errno
# 1: fused multiply-adds in the kernels of cores with an FPU: fewer instructions, other last bits.
TINYPROP_FUSED ?= 0
# 0 leaves out what only networks of maps need (core/tp_config.h), and the functions for single
# kernels (binding/tpmod.h).
TINYPROP_MAPS ?= 1
TINYPROP_SINGLE ?= 1
# 0 leaves out profile().
TINYPROP_PROFILE ?= 1
# 0 leaves out models of integers.
TINYPROP_INTEGER ?= 1
# 0 leaves out cores().
TINYPROP_CORES ?= 1
CFLAGS_USERMOD += -DTP_MAPS=$(TINYPROP_MAPS) -DTPMOD_SINGLE=$(TINYPROP_SINGLE) \
	-DTP_INTEGER=$(TINYPROP_INTEGER) -DTPMOD_PROFILE=$(TINYPROP_PROFILE) \
	-DTPMOD_CORES=$(TINYPROP_CORES)
TINYPROP_BUILD := $(BUILD)/$(patsubst $(USER_C_MODULES)/%,%,$(TINYPROP_DIR))
$(TINYPROP_BUILD)/core/%.o: CFLAGS += $(TINYPROP_CORE_OPT) $(TINYPROP_NUMERICS)
$(TINYPROP_BUILD)/kernels/%.o: CFLAGS += $(TINYPROP_KERNELS_OPT) $(TINYPROP_NUMERICS) \
	-DTP_FUSED=$(TINYPROP_FUSED)
$(TINYPROP_BUILD)/binding/%.o: CFLAGS += $(TINYPROP_BINDING_OPT) $(TINYPROP_NUMERICS)
