// QEMU's Xtensa machine `lx60`: its serial port and its clock.
#ifndef TINYPROP_XTENSA_SIM_H
#define TINYPROP_XTENSA_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void sim_write(const char *text, size_t n);
bool sim_readable(void);
// The next character, -1 where there is none.
int sim_read(void);
uint32_t sim_cycles(void);

#endif
