# The module for rp2 firmware: -DUSER_C_MODULES=<this file>. On RP2040 its kernels call the boot
# ROM's float routines directly.
include(${CMAKE_CURRENT_LIST_DIR}/../../usermod_tinyprop/micropython.cmake)
if(PICO_RP2040)
    target_sources(usermod_tinyprop INTERFACE ${CMAKE_CURRENT_LIST_DIR}/rom_float.c)
    if(TINYPROP_CORES)
        add_compile_definitions(TP_CORES=1)
        target_sources(usermod_tinyprop INTERFACE ${CMAKE_CURRENT_LIST_DIR}/cores.c)
        set_source_files_properties(${CMAKE_CURRENT_LIST_DIR}/cores.c PROPERTIES
            COMPILE_OPTIONS "${TINYPROP_BINDING_OPT}")
    endif()
    set_property(SOURCE ${TINYPROP_KERNELS} APPEND PROPERTY
        COMPILE_OPTIONS "-include;${CMAKE_CURRENT_LIST_DIR}/rom_float.h")
    set_property(SOURCE ${TINYPROP_KERNELS} APPEND PROPERTY
        OBJECT_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/rom_float.h)
endif()
