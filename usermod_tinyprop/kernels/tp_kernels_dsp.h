// What the two files for cores with the DSP instructions share.
#ifndef TP_KERNELS_DSP_H
#define TP_KERNELS_DSP_H

#include <arm_acle.h>
#include <string.h>

// Columns whose inputs are unpacked at a time, on the stack. A multiple of 32.
#define TP_BLOCK 1024u

static inline uint32_t tp_word(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline size_t tp_block(size_t left) {
    return left < TP_BLOCK ? left : TP_BLOCK;
}

// The index, unless so many inputs are not zero that leaving out the others takes longer.
static inline const tp_ki_index_t *tp_worth(const tp_ki_index_t *index, size_t cols,
    size_t eighths) {
    return index != NULL && index->total * 8u < cols * eighths ? index : NULL;
}

// The assembler keeps its lines.
// clang-format off

#define LOOP "subs %[n], #1\n" "bne 1b\n"

// Sixteen columns a turn; `each` is done to the words they become.
#define UNPACK_EIGHT(each) \
    "ldr r1, [%[x]], #4\n" \
    "ldr r3, [%[x]], #4\n" \
    "sxtb16 r0, r1\n" \
    "sxtb16 r1, r1, ror #8\n" \
    "sxtb16 r2, r3\n" \
    "sxtb16 r3, r3, ror #8\n" \
    each("r0") each("r1") each("r2") each("r3") \
    "stm %[to]!, {r0-r3}\n"
#define AS_LANES(r) ""
// The lower lane's sign goes into the upper one.
#define AS_NUMBER(r) \
    "and r12, " r ", #0x8000\n" \
    "sub " r ", " r ", r12, lsl #1\n"
#define UNPACK_ALL(each) \
    __asm volatile( \
        "1:\n" \
        UNPACK_EIGHT(each) \
        UNPACK_EIGHT(each) \
        LOOP \
        : [to] "+r"(to), [x] "+r"(x), [n] "+r"(turns) \
        : \
        : "r0", "r1", "r2", "r3", "r12", "cc", "memory")
// clang-format on

static inline uint32_t tp_as_number(uint32_t lanes) {
    return lanes - ((lanes & 0x8000u) << 1);
}

// Four columns: even ones and odd ones as two 16-bit lanes each, or as the number they are together.
static inline void tp_unpack(uint32_t *to, const int8_t *x, size_t fours, bool numbers) {
    size_t turns = fours / 4u;
    if (turns > 0 && numbers) {
        UNPACK_ALL(AS_NUMBER);
    } else if (turns > 0) {
        UNPACK_ALL(AS_LANES);
    }
    for (fours &= 3u; fours > 0; fours--, x += 4, to += 2) {
        uint32_t v = tp_word(x), even = __sxtb16(v), odd = __sxtb16(v >> 8 | v << 24);
        to[0] = numbers ? tp_as_number(even) : even;
        to[1] = numbers ? tp_as_number(odd) : odd;
    }
}

#endif
