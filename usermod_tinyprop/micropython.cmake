# The module `_tinyprop` for CMake-based ports: -DUSER_C_MODULES=<this file>.
set(TINYPROP_DIR ${CMAKE_CURRENT_LIST_DIR})

# The binding sees MicroPython; core and kernels are a plain C library.
set(TINYPROP_BINDING
    ${TINYPROP_DIR}/binding/tpmod.c
    ${TINYPROP_DIR}/binding/tpmod_kernels.c
    ${TINYPROP_DIR}/binding/tpmod_model.c
    ${TINYPROP_DIR}/binding/tpmod_tensor.c
)
set(TINYPROP_CORE
    ${TINYPROP_DIR}/core/tp_block.c
    ${TINYPROP_DIR}/core/tp_file.c
    ${TINYPROP_DIR}/core/tp_graph.c
    ${TINYPROP_DIR}/core/tp_int.c
    ${TINYPROP_DIR}/core/tp_int_plain.c
    ${TINYPROP_DIR}/core/tp_int_rows.c
    ${TINYPROP_DIR}/core/tp_int_step.c
    ${TINYPROP_DIR}/core/tp_layer.c
    ${TINYPROP_DIR}/core/tp_math.c
    ${TINYPROP_DIR}/core/tp_model.c
    ${TINYPROP_DIR}/core/tp_ops.c
    ${TINYPROP_DIR}/core/tp_optim.c
    ${TINYPROP_DIR}/core/tp_plan.c
    ${TINYPROP_DIR}/core/tp_policy.c
    ${TINYPROP_DIR}/kernels/tp_kernels_cores.c
)
set(TINYPROP_KERNELS
    ${TINYPROP_DIR}/kernels/tp_kernels_armv6m.c
    ${TINYPROP_DIR}/kernels/tp_kernels_armv6m_update.c
    ${TINYPROP_DIR}/kernels/tp_kernels_armv7m.c
    ${TINYPROP_DIR}/kernels/tp_kernels_dsp.c
    ${TINYPROP_DIR}/kernels/tp_kernels_dsp_update.c
    ${TINYPROP_DIR}/kernels/tp_kernels_generic.c
    ${TINYPROP_DIR}/kernels/tp_kernels_int.c
    ${TINYPROP_DIR}/kernels/tp_kernels_mve.c
    ${TINYPROP_DIR}/kernels/tp_kernels_sse2.c
    ${TINYPROP_DIR}/kernels/tp_kernels_vfp.c
)

add_library(usermod_tinyprop INTERFACE)
target_sources(usermod_tinyprop INTERFACE
    ${TINYPROP_BINDING} ${TINYPROP_CORE} ${TINYPROP_KERNELS})
target_link_libraries(usermod INTERFACE usermod_tinyprop)

# Optimisation of our own loops, whatever the port uses for the rest. The arithmetic is defined
# operation by operation, so nothing may be contracted or reordered.
set(TINYPROP_BINDING_OPT -O2 CACHE STRING "Optimisation of tinyprop's binding")
set(TINYPROP_CORE_OPT -O3 CACHE STRING "Optimisation of tinyprop's core")
set(TINYPROP_KERNELS_OPT -O3 CACHE STRING "Optimisation of tinyprop's kernels")
# 1: fused multiply-adds in the kernels of cores with an FPU: fewer instructions, other last bits.
set(TINYPROP_FUSED 0 CACHE STRING "Fused multiply-adds in tinyprop's kernels")
# 1: the hottest integer loops of the RP2040 run from RAM (1.6 kB of it).
set(TINYPROP_RAM_KERNELS 0 CACHE STRING "tinyprop's hottest loops in RAM")
# 0 leaves out what only networks of maps need (core/tp_config.h), and the functions for single
# kernels (binding/tpmod.h). For the whole folder, so that MicroPython's search for names sees it.
set(TINYPROP_MAPS 1 CACHE STRING "tinyprop with layers of maps")
set(TINYPROP_SINGLE 1 CACHE STRING "tinyprop with functions for single kernels")
set(TINYPROP_INTEGER 1 CACHE STRING "tinyprop with models of integers")
set(TINYPROP_PROFILE 1 CACHE STRING "tinyprop with profile()")
set(TINYPROP_CORES 1 CACHE STRING "tinyprop with cores(), on the RP2040 with a worker on core 1")
add_compile_definitions(TP_MAPS=${TINYPROP_MAPS} TPMOD_SINGLE=${TINYPROP_SINGLE}
    TP_INTEGER=${TINYPROP_INTEGER} TPMOD_PROFILE=${TINYPROP_PROFILE}
    TPMOD_CORES=${TINYPROP_CORES})
set(TINYPROP_NUMERICS -ffp-contract=off -fno-fast-math -fno-math-errno)
set_source_files_properties(${TINYPROP_CORE} PROPERTIES
    COMPILE_OPTIONS "${TINYPROP_CORE_OPT};${TINYPROP_NUMERICS}")
set_source_files_properties(${TINYPROP_KERNELS} PROPERTIES
    COMPILE_OPTIONS "${TINYPROP_KERNELS_OPT};${TINYPROP_NUMERICS};-DTP_FUSED=${TINYPROP_FUSED};-DTP_RAM_KERNELS=${TINYPROP_RAM_KERNELS}")
set_source_files_properties(${TINYPROP_BINDING} PROPERTIES
    COMPILE_OPTIONS "${TINYPROP_BINDING_OPT};${TINYPROP_NUMERICS}")
