#include "frames.h"

#include <string.h>

static uint64_t big_endian(const uint8_t *data, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value = value << 8 | data[i];
    return value;
}

unsigned frame_head_read(const uint8_t *data, size_t have, struct frame_head *head)
{
    if (have < 2)
        return 0;
    unsigned short_size = data[1] & 0x7f;
    unsigned extra = short_size == 127 ? 8 : short_size == 126 ? 2 : 0;
    bool masked = data[1] & 0x80;
    unsigned length = 2 + extra + (masked ? 4 : 0);
    if (have < length)
        return 0;
    head->fin = data[0] & 0x80;
    head->opcode = data[0] & 0x7f; /* with the reserved bits, so that those are no known opcode */
    head->masked = masked;
    head->size = extra ? big_endian(data + 2, extra) : short_size;
    if (masked)
        memcpy(head->key, data + length - 4, 4);
    return length;
}

unsigned frame_head_write(uint8_t *out, uint8_t opcode, uint64_t size, const uint8_t *key)
{
    unsigned extra = size > 0xffff ? 8 : size > MAX_CONTROL ? 2 : 0;
    out[0] = 0x80 | opcode;
    out[1] = (uint8_t)(extra == 8 ? 127 : extra == 2 ? 126 : size);
    for (unsigned i = 0; i < extra; i++)
        out[2 + i] = (uint8_t)(size >> 8 * (extra - 1 - i));
    if (!key)
        return 2 + extra;
    out[1] |= 0x80;
    memcpy(out + 2 + extra, key, 4);
    return 2 + extra + 4;
}

void frame_mask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[4], uint64_t at)
{
    uint8_t turned[8];
    uint64_t wide, word;
    size_t i = 0;
    for (unsigned k = 0; k < 8; k++)
        turned[k] = key[(at + k) % 4];
    memcpy(&wide, turned, 8);
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < n; i++)
        to[i] = from[i] ^ turned[i % 8];
}

size_t frame_control(uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t n,
                     const uint8_t *key)
{
    static const uint8_t none[4];
    unsigned head = frame_head_write(out, opcode, n, key);
    frame_mask(out + head, payload, n, key ? key : none, 0);
    return head + n;
}
