// Checkpoint head, CRC-32, and the back-off byte of stored samples.
#include <string.h>

#include "tp_internal.h"

uint32_t tp_crc32(uint32_t crc, const void *data, size_t n) {
    // Four bits a time: 64 bytes of table instead of 1 kB.
    static const uint32_t nibble[16] = {
        0x00000000u,
        0x1db71064u,
        0x3b6e20c8u,
        0x26d930acu,
        0x76dc4190u,
        0x6b6b51f4u,
        0x4db26158u,
        0x5005713cu,
        0xedb88320u,
        0xf00f9344u,
        0xd6d6a3e8u,
        0xcb61b38cu,
        0x9b64c2b0u,
        0x86d3d2d4u,
        0xa00ae278u,
        0xbdbdf21cu,
    };
    const uint8_t *p = data;
    crc = ~crc;
    for (; n > 0; n--, p++) {
        crc = (crc >> 4) ^ nibble[(crc ^ *p) & 15u];
        crc = (crc >> 4) ^ nibble[(crc ^ (uint32_t)(*p >> 4)) & 15u];
    }
    return ~crc;
}

static void tp_put32(uint8_t *p, uint32_t v) {
    memcpy(p, &v, 4);
}

static uint32_t tp_get32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

void tp_file_head(const tp_model_t *m, uint8_t head[TP_FILE_HEAD]) {
    memcpy(head, "TPM1\2\0\0\0", 8);
    tp_put32(head + 8, m->persist_bytes);
    tp_put32(head + 12, tp_crc32(0, m, m->persist_bytes));
    tp_put32(head + 16, tp_crc32(0, head, 16));
}

int tp_file_head_check(const uint8_t *head, size_t n, uint32_t *payload, uint32_t *crc) {
    if (n < TP_FILE_HEAD || memcmp(head, "TPM1\2\0\0\0", 8) != 0 ||
        tp_get32(head + 16) != tp_crc32(0, head, 16)) {
        return TP_ERR_FORMAT;
    }
    *payload = tp_get32(head + 8);
    *crc = tp_get32(head + 12);
    return TP_OK;
}

uint32_t tp_file_block_bytes(const void *payload, size_t n) {
    tp_model_t m;
    if (n < sizeof(m)) {
        return 0;
    }
    memcpy(&m, payload, sizeof(m));
    bool sound = m.magic == TP_MAGIC && m.persist_bytes >= sizeof(m) &&
        m.block_bytes >= m.persist_bytes && m.block_bytes < 0x80000000u;
    return sound ? m.block_bytes : 0;
}

// Bits 0..4: epochs still to wait; bits 5..7: how often in a row the sample was skipped.
bool tp_backoff_waits(uint8_t *state) {
    if ((*state & 31u) == 0) {
        return false;
    }
    *state = (uint8_t)(*state - 1u);
    return true;
}

void tp_backoff_note(uint8_t *state, bool trained, uint8_t limit) {
    if (trained || limit == 0) {
        *state = 0;
        return;
    }
    uint32_t level = *state >> 5, wait = (uint32_t)1 << level;
    wait = wait > limit ? limit : wait;
    wait = wait > TP_BACKOFF_MAX ? TP_BACKOFF_MAX : wait;
    level = level < 7u ? level + 1u : level;
    *state = (uint8_t)((level << 5) | wait);
}
