/* Sockets, plain or TLS, in one epoll set; orders come on standard input. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

struct ssl_st;

struct watch {
    int fd;
    void (*ready)(struct watch *watch, uint32_t events);
    uint32_t interest; /* what epoll was told: EPOLLIN, EPOLLOUT; 0: nothing yet */
    uint32_t blocked;  /* what the read or write waits for that returned BLOCKED */
    struct ssl_st *ssl; /* NULL: plain */
};

enum { BLOCKED = -1, LOST = -2 };

void loop_init(void);

/* Run until standard input ends.  Each line on it calls `report`, which prints one line. */
void loop_run(void (*report)(void));

/* Have `ready` called for these events, level-triggered. */
void loop_want(struct watch *watch, uint32_t interest);

/* End the connection and forget it. */
void loop_close(struct watch *watch);

/* Both return a count of bytes, BLOCKED or LOST; reading 0 is the end of the stream. */
ssize_t watch_read(struct watch *watch, void *data, size_t room);
ssize_t watch_write(struct watch *watch, const void *data, size_t n);

/* Make a socket that is connecting to 127.0.0.1 already. */
void watch_connect(struct watch *watch, uint16_t port, bool tls);

uint64_t now_ns(void);

/* Print why, as JSON, and end the program. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
