#include "frames.h"

#include <stdlib.h>

enum { CONTINUATION = 0x0, BINARY = 0x2, CONTROL_BIT = 0x8, CLOSE = 0x8, PONG = 0xA };
enum { FINAL_BIT = 0x80, RESERVED_BITS = 0x70, OPCODE_BITS = 0x0F, MASK_BIT = 0x80 };
enum { DEFLATE_BITS = 0x40, MAX_CONTROL = 125, MASK_SIZE = 4 };

static enum ws_found fail(struct ws_scanner *s, enum ws_fault fault, uint64_t detail)
{
    s->fault = fault;
    s->detail = detail;
    return WS_FAULT;
}

/* Say what is wrong with a frame's first two bytes; false if nothing is. */
static bool is_wrong(struct ws_scanner *s, uint8_t first, uint8_t second)
{
    uint8_t opcode = first & OPCODE_BITS, reserved = first & RESERVED_BITS;
    if (opcode & CONTROL_BIT) {
        if (opcode > PONG)
            return fail(s, WS_RESERVED_OPCODE, opcode);
        if (reserved)
            return fail(s, WS_CONTROL_BITS, 0);
        if (!(first & FINAL_BIT))
            return fail(s, WS_CONTROL_FRAGMENT, 0);
    } else {
        if (opcode > BINARY)
            return fail(s, WS_RESERVED_OPCODE, opcode);
        if (s->in_message && opcode != CONTINUATION)
            return fail(s, WS_NESTED_MESSAGE, 0);
        if (!s->in_message && opcode == CONTINUATION)
            return fail(s, WS_STRAY_CONTINUATION, 0);
        /* RFC 7692 section 6.1: RSV1 stands on the first frame of a message only. */
        if (reserved & ~(s->bits == DEFLATE_BITS && s->in_message ? 0 : s->bits))
            return fail(s, WS_DATA_BITS, 0);
    }
    if (((second & MASK_BIT) != 0) != s->masked)
        return fail(s, s->masked ? WS_NOT_MASKED : WS_MASKED, 0);
    return false;
}

static uint64_t big_endian(const uint8_t *data, size_t size)
{
    uint64_t number = 0;
    while (size--)
        number = number << 8 | *data++;
    return number;
}

/* Say what is wrong with a data frame's length, given in length_size bytes; false if nothing is. */
static bool is_wrong_length(struct ws_scanner *s, uint64_t length, size_t length_size)
{
    if ((length_size && length < 126) || (length_size == 8 && length < 65536))
        return fail(s, WS_LONG_FORM, 0);
    if (length >> 63)
        return fail(s, WS_TOP_BIT, 0);
    if (length > s->max_frame)
        return fail(s, WS_BIG_FRAME, s->max_frame);
    /* Neither can overflow: every frame so far was below the limit, or there is none. */
    if (s->max_message != UINT64_MAX && s->message_size + length > s->max_message)
        return fail(s, WS_BIG_MESSAGE, s->max_message);
    return false;
}

static void end_message(struct ws_scanner *s)
{
    s->messages++;
    s->binary += s->is_binary;
    s->in_message = false;
    s->message_size = 0;
}

/* Whether a message may begin; in_message says so of the frames that go on with one. */
static bool may_begin(struct ws_scanner *s)
{
    return s->in_message || s->messages_left.pace.per_second <= 0 || bucket_take(&s->messages_left);
}

/* There is no room in a bucket. */
static enum ws_found go_over(struct ws_scanner *s, struct ws_bucket *bucket, enum ws_fault fault)
{
    if (!s->throttles)
        return fail(s, fault, 0);
    s->waits_for = bucket;
    return WS_OVER;
}

enum ws_found ws_go_over(struct ws_scanner *s)
{
    return go_over(s, &s->bytes_left, WS_MANY_BYTES);
}

bool ws_pass(struct ws_scanner *s, size_t size)
{
    s->left -= size;
    s->payload += size;
    s->need = 1;
    if (!s->left && s->left_final)
        end_message(s);
    return !s->left;
}

static enum ws_found control(struct ws_scanner *s, const uint8_t *frame, size_t have,
                             size_t *extent)
{
    size_t length = frame[1] & ~MASK_BIT;
    bool is_close = (frame[0] & OPCODE_BITS) == CLOSE;
    if (length > MAX_CONTROL)
        return fail(s, WS_LONG_CONTROL, 0);
    if (length == 1 && is_close)
        return fail(s, WS_HALF_CODE, 0);
    *extent = 2 + (s->masked ? MASK_SIZE : 0) + length;
    if (*extent > have) {
        s->need = *extent;
        return WS_MORE;
    }
    s->closed = is_close;
    return WS_CONTROL;
}

enum ws_found ws_scan(struct ws_scanner *s, const uint8_t *data, size_t size, size_t *position,
                      size_t *extent)
{
    if (s->left) {
        size_t have = size - *position, passed = have < s->left ? have : s->left;
        *position += passed;
        return ws_pass(s, passed) ? WS_BOUNDARY : WS_MORE;
    }
    if (s->closed) { /* RFC 6455 section 1.4: what comes is discarded */
        s->need = 1;
        *extent = size - *position;
        return *extent ? WS_DROPPED : WS_MORE;
    }
    for (;;) {
        const uint8_t *frame = data + *position;
        size_t have = size - *position;
        s->need = 2;
        if (have < 2)
            return WS_MORE;
        if (is_wrong(s, frame[0], frame[1]))
            return WS_FAULT;
        if (frame[0] & CONTROL_BIT)
            return control(s, frame, have, extent);

        uint64_t length = frame[1] & ~MASK_BIT;
        size_t length_size = length < 126 ? 0 : length == 126 ? 2 : 8;
        size_t header = 2 + length_size + (s->masked ? MASK_SIZE : 0);
        s->need = header;
        if (have < header)
            return WS_MORE;
        if (length_size)
            length = big_endian(frame + 2, length_size);
        if (is_wrong_length(s, length, length_size))
            return WS_FAULT;
        bool is_complete = length <= have - header;
        if (!is_complete && length <= s->whole_frames) {
            s->need = header + length;
            return WS_MORE;
        }
        if (s->is_paced && !may_begin(s))
            return go_over(s, &s->messages_left, WS_MANY_MESSAGES);
        bool is_final = frame[0] & FINAL_BIT;
        s->message_size += length;
        if (!s->in_message)
            s->is_binary = (frame[0] & OPCODE_BITS) == BINARY;
        /* The message of a final frame is closed by its end, see ws_pass. */
        s->in_message = !is_final;
        if (!is_complete) {
            s->left = length - (have - header);
            s->left_final = is_final;
            s->payload += have - header;
            s->need = 1;
            *position = size;
            return WS_MORE;
        }
        s->payload += length;
        *position += header + length;
        if (is_final) {
            end_message(s);
            if (s->marks_end)
                return WS_END;
        }
    }
}

void ws_init(struct ws_scanner *s, bool masked, uint8_t bits, const struct ws_limits *limits)
{
    *s = (struct ws_scanner){
        .masked = masked,
        .bits = bits,
        .whole_frames = limits->whole_frames,
        .max_frame = limits->max_frame,
        .max_message = limits->max_message,
        .is_paced = limits->messages.per_second > 0 || limits->bytes.per_second > 0,
        .throttles = limits->throttles,
    };
    bucket_init(&s->messages_left, &limits->messages);
    bucket_init(&s->bytes_left, &limits->bytes);
}

void ws_fill(struct ws_scanner *s, double now)
{
    bucket_fill(&s->messages_left, now);
    bucket_fill(&s->bytes_left, now);
}

static bool counts_bytes(const struct ws_scanner *s)
{
    return s->is_paced && s->bytes_left.pace.per_second > 0;
}

uint64_t ws_pay(struct ws_scanner *s, uint64_t size)
{
    return counts_bytes(s) ? bucket_take_up_to(&s->bytes_left, size) : size;
}

uint64_t ws_room(const struct ws_scanner *s)
{
    return counts_bytes(s) ? (uint64_t)s->bytes_left.room : UINT64_MAX;
}

void ws_lift(struct ws_scanner *s)
{
    s->is_paced = false;
    s->waits_for = NULL;
}

struct ws_scanner *scanner_new(int masked, uint8_t bits, const struct ws_limits *limits)
{
    struct ws_scanner *s = malloc(sizeof *s);
    if (s)
        ws_init(s, masked, bits, limits);
    return s;
}

void scanner_free(struct ws_scanner *s)
{
    free(s);
}

int scanner_scan(struct ws_scanner *s, const uint8_t *data, size_t size, size_t *position,
                 size_t *extent)
{
    return ws_scan(s, data, size, position, extent);
}

enum ws_fault scanner_fault(const struct ws_scanner *s)
{
    return s->fault;
}

uint64_t scanner_detail(const struct ws_scanner *s)
{
    return s->detail;
}

void scanner_fill(struct ws_scanner *s, double now)
{
    ws_fill(s, now);
}

uint64_t scanner_pay(struct ws_scanner *s, uint64_t size)
{
    return ws_pay(s, size);
}

int scanner_go_over(struct ws_scanner *s)
{
    return ws_go_over(s);
}

double scanner_wait(const struct ws_scanner *s)
{
    return bucket_wait(s->waits_for);
}

uint64_t scanner_need(const struct ws_scanner *s)
{
    return s->need;
}

uint64_t scanner_left(const struct ws_scanner *s)
{
    return s->left;
}

uint64_t scanner_messages(const struct ws_scanner *s)
{
    return s->messages;
}

uint64_t scanner_binary_messages(const struct ws_scanner *s)
{
    return s->binary;
}

uint64_t scanner_payload(const struct ws_scanner *s)
{
    return s->payload;
}
