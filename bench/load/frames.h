/* Websocket frames as they are on the wire (RFC 6455, section 5.2). */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum { MAX_HEAD = 14, MAX_CONTROL = 125 };

struct frame_head {
    uint8_t opcode;
    bool fin, masked;
    uint8_t key[4];
    uint64_t size;
};

/* Read the header at `data`.  Returns its length, or 0 when more than `have` bytes are needed. */
unsigned frame_head_read(const uint8_t *data, size_t have, struct frame_head *head);

/* Write the header of an unfragmented frame; `key` is NULL for one without a mask.
   `out` needs MAX_HEAD bytes.  Returns the length. */
unsigned frame_head_write(uint8_t *out, uint8_t opcode, uint64_t size, const uint8_t *key);

/* Copy `n` bytes of a payload, xor the mask.  The first of them is number `at` of the payload.
   `to` and `from` may be the same. */
void frame_mask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t key[4], uint64_t at);

/* Write a whole control frame.  `out` needs MAX_HEAD + MAX_CONTROL bytes.  Returns its length. */
size_t frame_control(uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t n,
                     const uint8_t *key);

#endif
