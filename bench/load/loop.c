#define _GNU_SOURCE
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tls.h"

enum { BATCH = 256 };

static int epoll_fd;

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    va_end(arguments);
    exit(1);
}

void loop_init(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        fail("standard input is no pipe: %s", strerror(errno));
}

/* Returns whether standard input goes on. */
static bool take_orders(void (*report)(void))
{
    char orders[256];
    ssize_t n = read(STDIN_FILENO, orders, sizeof orders);
    for (ssize_t i = 0; i < n; i++)
        if (orders[i] == '\n')
            report();
    return n > 0;
}

void loop_run(void (*report)(void))
{
    struct epoll_event events[BATCH];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, BATCH, -1);
        for (int i = 0; i < n; i++) {
            struct watch *watch = events[i].data.ptr;
            if (watch)
                watch->ready(watch, events[i].events);
            else if (!take_orders(report))
                return;
        }
    }
}

void loop_want(struct watch *watch, uint32_t interest)
{
    if (interest == watch->interest)
        return;
    struct epoll_event event = {.events = interest, .data = {.ptr = watch}};
    int what = watch->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_fd, what, watch->fd, &event) < 0)
        fail("epoll: %s", strerror(errno));
    watch->interest = interest;
}

void loop_close(struct watch *watch)
{
    tls_end(watch);
    close(watch->fd);
    watch->interest = 0;
}

static ssize_t outcome(struct watch *watch, ssize_t n, uint32_t direction)
{
    if (n >= 0)
        return n;
    if (errno != EAGAIN && errno != EINTR)
        return LOST;
    watch->blocked = direction;
    return BLOCKED;
}

ssize_t watch_read(struct watch *watch, void *data, size_t room)
{
    if (watch->ssl)
        return tls_read(watch, data, room);
    return outcome(watch, recv(watch->fd, data, room, 0), EPOLLIN);
}

ssize_t watch_write(struct watch *watch, const void *data, size_t n)
{
    if (watch->ssl)
        return tls_write(watch, data, n);
    return outcome(watch, send(watch->fd, data, n, MSG_NOSIGNAL), EPOLLOUT);
}

void watch_connect(struct watch *watch, uint16_t port, bool tls)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int one = 1;
    watch->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (watch->fd < 0)
        fail("no more sockets: %s; raise the limit of open files (ulimit -n)", strerror(errno));
    setsockopt(watch->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(watch->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connecting to port %d: %s", port, strerror(errno));
    if (tls)
        tls_begin(watch);
}
