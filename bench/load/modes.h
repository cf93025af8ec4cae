/* What the program can be: the upstream, or the load. */
#ifndef MODES_H
#define MODES_H

#include <stdbool.h>
#include <stdint.h>

/* Answer websocket connections until standard input ends. */
void serve(void);

enum load_kind {
    CLOSED_LOOP, /* each connection has one message in flight */
    FIXED_RATE,  /* messages leave when they are due, answered or not */
    UP,          /* messages to the upstream, as fast as they go */
    DOWN,        /* messages from the upstream */
    IDLE,        /* connections that are opened and left alone */
    HANDSHAKES,  /* connections that are opened and closed, over and over */
};

struct load {
    enum load_kind kind;
    uint16_t port;
    unsigned connections;
    uint64_t size; /* of a payload, bytes */
    double rate;   /* messages a second over all connections */
    bool tls;
};

/* Put load on a proxy until standard input ends. */
void drive(const struct load *load);

#endif
