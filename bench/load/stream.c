#include "stream.h"

#include <string.h>

/* No power of two: a piece that is missing or comes twice shifts the bytes behind it. */
enum { PERIOD = 65521 };

/* Any piece of up to SCRATCH bytes lies here in one run. */
static uint8_t pattern[PERIOD + SCRATCH];

static uint32_t scramble(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352dU;
    x = (x ^ x >> 15) * 0x846ca68bU;
    return x ^ x >> 16;
}

void stream_init(void)
{
    for (uint32_t i = 0; i < sizeof pattern; i++)
        pattern[i] = i < PERIOD ? (uint8_t)scramble(i + 1) : pattern[i - PERIOD];
}

static void write_number(uint8_t out[MIN_MESSAGE], uint64_t number)
{
    for (unsigned i = 0; i < MIN_MESSAGE; i++)
        out[i] = (uint8_t)(number >> 8 * i);
}

static unsigned head_length(uint64_t size, bool masked)
{
    return (size > 0xffff ? 10U : size > MAX_CONTROL ? 4U : 2U) + (masked ? 4U : 0U);
}

static void mask_key(const struct sender *s, uint64_t number, uint8_t key[4])
{
    uint32_t bits = scramble(s->seed ^ (uint32_t)number * 0x9e3779b9U);
    memcpy(key, &bits, 4);
}

static size_t least(size_t a, uint64_t b)
{
    return b < a ? (size_t)b : a;
}

bool sender_has_more(const struct sender *s)
{
    return s->at || s->control_size || s->number < s->limit;
}

void sender_control(struct sender *s, uint8_t opcode, const uint8_t *payload, size_t n)
{
    uint8_t key[4];
    if (s->doing == CONTROL)
        return; /* half of another is on its way; a peer that floods gets fewer pongs */
    mask_key(s, ~s->number, key);
    s->control_size = frame_control(s->control, opcode, payload, n, s->masked ? key : NULL);
}

/* Write what is left of one message from byte `at` of its frame on, as far as there is room. */
static size_t fill_message(const struct sender *s, uint64_t number, uint64_t at, uint8_t *out,
                           size_t room)
{
    uint8_t head[MAX_HEAD], digits[MIN_MESSAGE], key[4];
    size_t n = 0;
    if (s->masked)
        mask_key(s, number, key);
    unsigned length = frame_head_write(head, BINARY, s->size, s->masked ? key : NULL);
    if (at < length) {
        n = least(room, length - at);
        memcpy(out, head + at, n);
        at += n;
    }
    uint64_t place = at - length;
    size_t take = at < length ? 0 : least(room - n, s->size - place);
    memcpy(out + n, pattern + place % PERIOD, take);
    if (place < MIN_MESSAGE && take) {
        write_number(digits, number);
        memcpy(out + n, digits + place, least(take, MIN_MESSAGE - place));
    }
    if (s->masked)
        frame_mask(out + n, out + n, take, key, place);
    return n + take;
}

size_t sender_fill(struct sender *s, uint8_t *out, size_t room)
{
    if (s->control_size && s->doing != DATA) {
        s->doing = CONTROL;
        memcpy(out, s->control + s->at, s->control_size - s->at);
        return s->control_size - s->at;
    }
    size_t n = 0;
    uint64_t at = s->at;
    s->doing = DATA;
    for (uint64_t number = s->number; number < s->limit && n < room; number++, at = 0)
        n += fill_message(s, number, at, out + n, room - n);
    return n;
}

void sender_sent(struct sender *s, size_t n)
{
    s->at += n;
    uint64_t frame = head_length(s->size, s->masked) + s->size;
    if (s->doing == DATA) {
        s->number += s->at / frame;
        s->at %= frame;
    } else if (s->at == s->control_size) {
        s->control_size = s->at = 0;
    }
    if (!s->at)
        s->doing = NOTHING;
}

static enum event broken(struct reader *r, const char *fault)
{
    r->fault = fault;
    return BROKEN;
}

/* Returns how many bytes of a header were used; `in_payload` is set once it is whole. */
static size_t take_head(struct reader *r, const uint8_t *data, size_t n)
{
    size_t used = 0;
    if (!r->have)
        used = frame_head_read(data, n, &r->head);
    if (used) {
        r->in_payload = true;
        return used;
    }
    while (used < n && !r->in_payload) {
        r->bytes[r->have++] = data[used++];
        r->in_payload = frame_head_read(r->bytes, r->have, &r->head) > 0;
    }
    if (r->in_payload)
        r->have = 0;
    return used;
}

static bool is_control(const struct reader *r)
{
    return r->head.opcode == CLOSE || r->head.opcode == PING || r->head.opcode == PONG;
}

static const char *fault_of_head(const struct reader *r)
{
    if (!r->head.fin)
        return "a fragment came where whole messages are expected";
    if (r->head.masked != r->masked)
        return r->masked ? "a frame came without a mask" : "a frame came with a mask";
    if (is_control(r))
        return r->head.size > MAX_CONTROL ? "a control frame of over 125 bytes came" : NULL;
    if (r->head.opcode != BINARY)
        return "a frame came that is no binary message";
    return r->head.size != r->size ? "a message came with another size" : NULL;
}

static bool as_expected(const struct reader *r, const uint8_t *data, size_t n)
{
    size_t skip = 0;
    if (r->at < MIN_MESSAGE) {
        uint8_t digits[MIN_MESSAGE];
        write_number(digits, r->number);
        skip = least(n, MIN_MESSAGE - r->at);
        if (memcmp(data, digits + r->at, skip) != 0)
            return false;
    }
    return memcmp(data + skip, pattern + (r->at + skip) % PERIOD, n - skip) == 0;
}

static enum event end_of_frame(struct reader *r)
{
    r->in_payload = false;
    r->at = 0;
    switch (r->head.opcode) {
    case CLOSE: return CLOSED;
    case PING: return PINGED;
    case PONG: return PONGED;
    }
    r->number++;
    return MESSAGE;
}

enum event reader_feed(struct reader *r, uint8_t *data, size_t n, size_t *used)
{
    size_t i = 0;
    while (i < n) {
        if (!r->in_payload) {
            i += take_head(r, data + i, n - i);
            if (!r->in_payload)
                break;
            if (fault_of_head(r))
                return broken(r, fault_of_head(r));
        }
        size_t take = least(least(n - i, SCRATCH), r->head.size - r->at);
        if (r->masked)
            frame_mask(data + i, data + i, take, r->head.key, r->at);
        if (is_control(r))
            memcpy(r->control + r->at, data + i, take);
        else if (!as_expected(r, data + i, take))
            return broken(r, "a message came with other bytes than were sent");
        else
            r->taken += take;
        r->at += take;
        i += take;
        if (r->at == r->head.size) {
            *used = i;
            return end_of_frame(r);
        }
    }
    *used = n;
    return MORE;
}
