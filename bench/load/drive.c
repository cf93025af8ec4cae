#define _GNU_SOURCE
/* The load: connections through a proxy, what they send, and how long the answers take. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "handshake.h"
#include "loop.h"
#include "modes.h"
#include "samples.h"
#include "stream.h"

enum { OPENING_AT_ONCE = 32, WRITES_AT_ONCE = 4 };

struct client {
    struct watch watch; /* first: the loop hands out its address */
    enum { UNUSED, REQUESTING, ANSWERED, OPEN, CLOSING, CLOSED_BOTH } state;
    unsigned index;
    char accept[ACCEPT_SIZE + 1];
    char http[MAX_HTTP]; /* the request, then what came of the response */
    size_t http_size, http_at;
    struct sender sender;
    struct reader reader;
    uint64_t sent_at; /* nanoseconds; of the message in flight, or of the connect */
};

static struct load load;
static struct client *clients;
static unsigned started, open_now;
static uint64_t began_at; /* when all were open */
static uint64_t messages, bytes, due;
static struct samples times;
static uint8_t incoming[SCRATCH], outgoing[SCRATCH];

static void client_start(struct client *c);
static void begin_load(void);

static _Noreturn void lost(const struct client *c, const char *why)
{
    fail("connection %u: %s", c->index, why);
}

/* Write what there is, as far as it goes, and wait for what makes sense then. */
static void client_flush(struct client *c)
{
    ssize_t n = 0;
    for (int i = 0; i < WRITES_AT_ONCE && n >= 0 && sender_has_more(&c->sender); i++) {
        size_t filled = sender_fill(&c->sender, outgoing, sizeof outgoing);
        n = watch_write(&c->watch, outgoing, filled);
        if (n == LOST)
            lost(c, "the proxy dropped it");
        if (n > 0)
            sender_sent(&c->sender, (size_t)n);
    }
    bool waits = sender_has_more(&c->sender) && (n != BLOCKED || c->watch.blocked == EPOLLOUT);
    loop_want(&c->watch, EPOLLIN | (waits ? EPOLLOUT : 0));
}

static void send_message(struct client *c)
{
    c->sent_at = now_ns();
    c->sender.limit++;
    client_flush(c);
}

/* The handshake is done: what happens next on this connection. */
static void client_opened(struct client *c)
{
    static const uint8_t normal_closure[] = {1000 >> 8, 1000 & 0xff};
    c->state = OPEN;
    if (load.kind == HANDSHAKES) {
        c->state = CLOSING;
        sender_control(&c->sender, CLOSE, normal_closure, sizeof normal_closure);
    }
    client_flush(c);
    if (load.kind == HANDSHAKES)
        return;
    open_now++;
    if (started < load.connections)
        client_start(&clients[started++]);
    if (open_now == load.connections)
        begin_load();
}

static void count_message(struct client *c)
{
    uint64_t number = c->reader.number - 1;
    messages++;
    if (load.kind == CLOSED_LOOP) {
        samples_add(&times, now_ns() - c->sent_at);
        send_message(c);
    } else if (load.kind == FIXED_RATE) {
        /* From when it should have left: a proxy that stalls also delays those behind. */
        double place = (double)(number * load.connections + c->index);
        samples_add(&times, now_ns() - began_at - (uint64_t)(place / load.rate * 1e9));
    }
}

static void take_close(struct client *c)
{
    const uint8_t *code = c->reader.control;
    if (c->state != CLOSING)
        fail("connection %u: the proxy closed it with %d", c->index, code[0] << 8 | code[1]);
    if (c->reader.head.size < 2 || (code[0] << 8 | code[1]) != 1000)
        lost(c, "its close was not answered with the same code");
    c->state = CLOSED_BOTH;
}

static void take_frames(struct client *c, uint8_t *data, size_t n)
{
    while (n) {
        size_t used;
        switch (reader_feed(&c->reader, data, n, &used)) {
        case MESSAGE: count_message(c); break;
        case PINGED:
            sender_control(&c->sender, PONG, c->reader.control, c->reader.head.size);
            client_flush(c);
            break;
        case CLOSED: take_close(c); break;
        case BROKEN: lost(c, c->reader.fault);
        case PONGED:
        case MORE: break;
        }
        data += used;
        n -= used;
    }
    bytes += c->reader.taken;
    c->reader.taken = 0;
}

static void take_response(struct client *c, const uint8_t *data, size_t n)
{
    char accept[ACCEPT_SIZE + 1] = "";
    memcpy(c->http + c->http_size, data, n);
    c->http_size += n;
    size_t length = http_head_length(c->http, c->http_size);
    if (!length && c->http_size == sizeof c->http - 1)
        lost(c, "the response is too long");
    if (!length)
        return;
    c->http[c->http_size] = 0;
    if (strncmp(c->http, "HTTP/1.1 101", 12) != 0)
        fail("connection %u: answered with %.12s", c->index, c->http);
    if (!http_header(c->http, "Sec-WebSocket-Accept", accept, sizeof accept) ||
        strcmp(accept, c->accept) != 0)
        lost(c, "the handshake was answered with a wrong Sec-WebSocket-Accept");
    client_opened(c);
    take_frames(c, (uint8_t *)c->http + length, c->http_size - length);
}

static void client_ended(struct client *c)
{
    if (c->state != CLOSED_BOTH)
        lost(c, "the proxy ended it");
    loop_close(&c->watch);
    messages++;
    samples_add(&times, now_ns() - c->sent_at);
    client_start(c);
}

static void client_read(struct client *c)
{
    ssize_t n;
    do {
        size_t room = c->state == ANSWERED ? sizeof c->http - 1 - c->http_size : sizeof incoming;
        n = watch_read(&c->watch, incoming, room);
        if (n == LOST)
            lost(c, "the proxy reset it");
        if (n == 0) {
            client_ended(c);
            return;
        }
        if (n > 0 && c->state == ANSWERED)
            take_response(c, incoming, (size_t)n);
        else if (n > 0)
            take_frames(c, incoming, (size_t)n);
    } while (n > 0 && c->watch.ssl); /* OpenSSL may hold more that epoll does not know of */
}

static void client_request(struct client *c)
{
    while (c->http_at < c->http_size) {
        ssize_t n = watch_write(&c->watch, c->http + c->http_at, c->http_size - c->http_at);
        if (n == LOST)
            lost(c, "the proxy refused it");
        if (n == BLOCKED) {
            loop_want(&c->watch, c->watch.blocked);
            return;
        }
        c->http_at += (size_t)n;
    }
    c->state = ANSWERED;
    c->http_size = 0;
    loop_want(&c->watch, EPOLLIN);
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct client *c = (struct client *)watch;
    if (c->state == REQUESTING) {
        client_request(c);
        return;
    }
    if (events & ~(uint32_t)EPOLLOUT)
        client_read(c);
    if (events & EPOLLOUT && c->state != REQUESTING)
        client_flush(c);
}

static const char *path(void)
{
    return load.kind == UP ? "/sink" : load.kind == DOWN ? "/source" : "/echo";
}

static void client_start(struct client *c)
{
    char key[KEY_SIZE + 1];
    c->index = (unsigned)(c - clients);
    c->state = REQUESTING;
    c->sent_at = now_ns();
    c->watch = (struct watch){.ready = client_ready};
    c->sender = (struct sender){.size = load.size, .masked = true, .seed = (uint32_t)c->sent_at};
    c->reader = (struct reader){.size = load.size};
    handshake_key(key, c->sent_at * 2654435761U + c->index);
    handshake_accept(c->accept, key);
    c->http_at = 0;
    c->http_size = (size_t)snprintf(
        c->http, sizeof c->http,
        "GET %s?%" PRIu64 " HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n",
        path(), load.size, load.port, key);
    watch_connect(&c->watch, load.port, load.tls);
    loop_want(&c->watch, EPOLLOUT);
}

static void send_due(struct watch *watch, uint32_t events)
{
    uint64_t ticks;
    (void)events;
    if (read(watch->fd, &ticks, sizeof ticks) < 0)
        return;
    uint64_t now_due = 1 + (uint64_t)((double)(now_ns() - began_at) * load.rate / 1e9);
    while (due < now_due)
        send_message(&clients[due++ % load.connections]);
}

static void start_clock(void)
{
    static struct watch clock = {.ready = send_due};
    struct timespec tick = {.tv_nsec = (long)(1e9 / load.rate)};
    struct itimerspec every = {.it_interval = tick, .it_value = tick};
    clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (clock.fd < 0 || timerfd_settime(clock.fd, 0, &every, NULL) < 0)
        fail("no timer: %s", strerror(errno));
    loop_want(&clock, EPOLLIN);
}

static void begin_load(void)
{
    began_at = now_ns();
    printf("{\"ready\": %u}\n", load.connections);
    if (load.kind == FIXED_RATE)
        start_clock();
    for (unsigned i = 0; load.kind == CLOSED_LOOP && i < load.connections; i++)
        send_message(&clients[i]);
    for (unsigned i = 0; load.kind == UP && i < load.connections; i++) {
        clients[i].sender.limit = UINT64_MAX;
        client_flush(&clients[i]);
    }
}

/* What happened since the last report. */
static void report(void)
{
    printf("{\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"samples\": %zu, ", messages,
           bytes, times.count);
    printf("\"p50_ns\": %" PRIu64 ", ", samples_percentile(&times, 50));
    printf("\"p99_ns\": %" PRIu64 ", ", samples_percentile(&times, 99));
    printf("\"max_ns\": %" PRIu64 "}\n", samples_percentile(&times, 100));
    messages = bytes = times.count = 0;
}

void drive(const struct load *wanted)
{
    load = *wanted;
    clients = calloc(load.connections, sizeof *clients);
    if (!clients)
        fail("out of memory");
    if (load.kind == HANDSHAKES)
        printf("{\"ready\": 0}\n");
    unsigned first = load.kind == HANDSHAKES ? load.connections : OPENING_AT_ONCE;
    while (started < first && started < load.connections)
        client_start(&clients[started++]);
    loop_run(report);
}
