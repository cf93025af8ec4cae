/*
 * A stream of numbered messages of one size: what is sent, and whether what comes is that.
 *
 * A payload is the message's number in 8 bytes (little endian) and then bytes that depend on
 * their place.  So nothing is stored for sending, and every byte that comes is compared.
 */
#ifndef STREAM_H
#define STREAM_H

#include "frames.h"

enum { MIN_MESSAGE = 8, SCRATCH = 128 * 1024 };

void stream_init(void);

struct sender {
    uint64_t number; /* of the message being sent */
    uint64_t limit;  /* the first number that is not to be sent yet */
    uint64_t at;     /* bytes of that message's frame sent so far */
    uint64_t size;   /* of a payload */
    bool masked;
    uint32_t seed; /* different for each connection: mask keys come from it */
    uint8_t control[MAX_HEAD + MAX_CONTROL];
    size_t control_size; /* 0: none waits */
    /* What was begun, if only in a TLS record that waits: it must come first.  `at` counts in it. */
    enum { NOTHING, DATA, CONTROL } doing;
};

bool sender_has_more(const struct sender *s);

/* Have a control frame sent before the next message; one that waits already is replaced. */
void sender_control(struct sender *s, uint8_t opcode, const uint8_t *payload, size_t n);

/* Write up to `room` bytes, SCRATCH at most, of what is to be sent next.  They count as sent only
   with sender_sent; until then the same bytes are written again. */
size_t sender_fill(struct sender *s, uint8_t *out, size_t room);
void sender_sent(struct sender *s, size_t n);

enum event { MORE, MESSAGE, PINGED, PONGED, CLOSED, BROKEN };

struct reader {
    uint64_t number; /* of the message expected */
    uint64_t size;   /* of its payload */
    bool masked;
    const char *fault; /* why BROKEN */
    bool in_payload;
    struct frame_head head;
    uint64_t at;    /* in the payload */
    uint64_t taken; /* bytes of messages, whole or not; whoever reads it may reset it */
    uint8_t have, bytes[MAX_HEAD];
    uint8_t control[MAX_CONTROL];
};

/* Take in bytes (they are unmasked where they lie) up to the next event; `*used` says how many. */
enum event reader_feed(struct reader *r, uint8_t *data, size_t n, size_t *used);

#endif
