/*
 * Websocket frame headers (RFC 6455 section 5, RFC 7692 section 6), read without payloads.
 *
 * The same rules as wsrelay/wire/frames.py, which is the reference: the tests feed both
 * with the same bytes and compare what they find.
 */
#ifndef WSRELAY_FRAMES_H
#define WSRELAY_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pace.h"

/* What ws_scan stopped at. */
enum ws_found {
    WS_MORE,     /* the end of the bytes; what stands behind *position has to be held */
    WS_CONTROL,  /* a whole control frame at *position, *extent bytes long */
    WS_DROPPED,  /* all that stands behind a close frame: nobody wants it */
    WS_BOUNDARY, /* *position is the end of a frame that was passed on in pieces */
    WS_FAULT,    /* the frame at *position breaks a rule: see fault and detail */
    WS_END,      /* *position is the end of a message, and marks_end is set */
    WS_OVER      /* the message at *position has to wait: see waits_for */
};

/* One direction of one session. */
struct ws_scanner {
    uint64_t whole_frames; /* payload bytes up to which a frame is passed on only when complete */
    uint64_t max_frame;    /* UINT64_MAX: no limit */
    uint64_t max_message;
    uint64_t message_size; /* of the message under way, so far */
    uint64_t left;         /* payload bytes to come of the frame that is passed on in pieces */
    uint64_t messages;     /* complete data messages */
    uint64_t binary;       /* those of them that are binary */
    uint64_t payload;      /* payload bytes of data frames */
    uint64_t need;         /* after WS_MORE: bytes from *position on without which nothing changes */
    uint64_t detail;       /* of the fault: an opcode, or a limit */
    struct ws_bucket messages_left, bytes_left;
    struct ws_bucket *waits_for; /* that there is room in one of them; or NULL */
    enum ws_fault fault;
    uint8_t bits; /* reserved bits that the negotiated extensions use */
    bool masked;  /* true for bytes from a client */
    bool is_paced;  /* it counts in one of the buckets, or both */
    bool throttles; /* what there is no room for waits */
    bool left_final;
    bool in_message;
    bool is_binary; /* the message that began last */
    bool closed; /* a close frame was seen */
    bool marks_end; /* stop at the end of a message, where it is not a WS_BOUNDARY anyway */
};

/*
 * Walk the frames of data from *position on.
 *
 * Everything before *position, as it is afterwards, may be passed on.  Go on with
 * another call: *extent behind *position for WS_CONTROL and WS_DROPPED, from *position
 * for WS_BOUNDARY and WS_END.  Nothing may be fed after WS_FAULT.
 */
enum ws_found ws_scan(struct ws_scanner *scanner, const uint8_t *data, size_t size,
                      size_t *position, size_t *extent);

/* Whether what may be passed on ends inside a message. */
static inline bool ws_is_mid_message(const struct ws_scanner *scanner)
{
    return scanner->in_message || scanner->left; /* see ws_scan of final frames */
}

void ws_init(struct ws_scanner *scanner, bool masked, uint8_t bits, const struct ws_limits *limits);

/* Learn how late it is, in seconds; for one that is paced, before anything is scanned. */
void ws_fill(struct ws_scanner *scanner, double now);

/* Take room for size bytes; returns for how many there is some: no more may be scanned. */
uint64_t ws_pay(struct ws_scanner *scanner, uint64_t size);

/* Say what becomes of the others, once all that may be is scanned: WS_OVER, or WS_FAULT. */
enum ws_found ws_go_over(struct ws_scanner *scanner);

/* How many bytes there is room for. */
uint64_t ws_room(const struct ws_scanner *scanner);

/* Count nothing any more. */
void ws_lift(struct ws_scanner *scanner);

/*
 * Count size payload bytes of the frame that is passed on in pieces, at most left, which
 * were moved unseen; true at its end.
 */
bool ws_pass(struct ws_scanner *scanner, size_t size);

#endif
