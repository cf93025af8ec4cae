#define _GNU_SOURCE
/*
 * The upstream.  The path of a request says what it does: /echo sends every message back once it
 * is whole, /sink?N checks and counts messages of N bytes, /source?N sends them without end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handshake.h"
#include "loop.h"
#include "modes.h"
#include "stream.h"

enum { FIRST_BUFFER = 4096, WRITES_AT_ONCE = 4 };

struct buffer {
    uint8_t *data;
    size_t start, end, size;
};

struct peer {
    struct watch watch; /* first: the loop hands out its address */
    enum { REQUEST, ECHO, SINK, SOURCE, CLOSING } state;
    struct buffer in, out;
    struct sender sender;
    struct reader reader;
};

static uint64_t messages, bytes, open_now;
static uint8_t scratch[SCRATCH];

/* Make room for `n` bytes behind what is in the buffer. */
static uint8_t *buffer_room(struct buffer *b, size_t n)
{
    if (b->start == b->end)
        b->start = b->end = 0;
    if (b->size - b->end >= n)
        return b->data + b->end;
    if (b->start)
        memmove(b->data, b->data + b->start, b->end - b->start);
    b->end -= b->start;
    b->start = 0;
    if (b->size - b->end < n) {
        b->size = b->end + n;
        b->data = realloc(b->data, b->size);
        if (!b->data)
            fail("out of memory");
    }
    return b->data + b->end;
}

static void peer_end(struct peer *p)
{
    open_now--;
    loop_close(&p->watch);
    free(p->in.data);
    free(p->out.data);
    free(p);
}

/* Both return BLOCKED when the socket takes no more, LOST when there is no peer any more. */
static ssize_t write_out(struct peer *p)
{
    struct buffer *b = &p->out;
    ssize_t n = 0;
    while (b->start < b->end && n >= 0) {
        n = watch_write(&p->watch, b->data + b->start, b->end - b->start);
        b->start += n > 0 ? (size_t)n : 0;
    }
    return n;
}

static ssize_t write_stream(struct peer *p)
{
    ssize_t n = 0;
    for (int i = 0; i < WRITES_AT_ONCE && n >= 0 && sender_has_more(&p->sender); i++) {
        size_t filled = sender_fill(&p->sender, scratch, sizeof scratch);
        n = watch_write(&p->watch, scratch, filled);
        if (n > 0)
            sender_sent(&p->sender, (size_t)n);
    }
    return n;
}

/* Write what there is and wait for what makes sense then; may end the peer. */
static void peer_flush(struct peer *p)
{
    ssize_t n = write_out(p);
    if (n == BLOCKED) {
        loop_want(&p->watch, EPOLLOUT); /* and read no more before it is gone */
        return;
    }
    if (n != LOST && p->state != CLOSING)
        n = write_stream(p);
    if (n == LOST || p->state == CLOSING)
        peer_end(p); /* RFC 6455, section 7.1.1: the server ends TCP first */
    else
        loop_want(&p->watch, EPOLLIN | (sender_has_more(&p->sender) ? EPOLLOUT : 0));
}

static void add_control(struct peer *p, uint8_t opcode, const uint8_t *payload, size_t n)
{
    uint8_t *room = buffer_room(&p->out, MAX_HEAD + MAX_CONTROL);
    p->out.end += frame_control(room, opcode, payload, n, NULL);
    if (opcode == CLOSE)
        p->state = CLOSING;
}

/* End a connection that a proxy broke; whoever drives it finds out, and others go on. */
static void refuse(struct peer *p)
{
    add_control(p, CLOSE, (const uint8_t *)"\x03\xea", 2); /* 1002 */
}

static void echo_frame(struct peer *p, const struct frame_head *head, const uint8_t *payload)
{
    uint8_t *to = buffer_room(&p->out, MAX_HEAD + head->size);
    unsigned length = frame_head_write(to, head->opcode, head->size, NULL);
    frame_mask(to + length, payload, head->size, head->key, 0);
    p->out.end += length + head->size;
    if (head->opcode == CLOSE)
        p->state = CLOSING;
    messages += head->opcode == BINARY;
    bytes += head->size;
}

static void echo_frames(struct peer *p)
{
    struct buffer *b = &p->in;
    struct frame_head head;
    while (p->state == ECHO) {
        unsigned length = frame_head_read(b->data + b->start, b->end - b->start, &head);
        if (!length)
            return;
        if (b->end - b->start < length + head.size) {
            buffer_room(b, length + head.size - (b->end - b->start));
            return;
        }
        if (!head.masked || !head.fin) {
            refuse(p);
            return;
        }
        if (head.opcode == PING)
            head.opcode = PONG;
        if (head.opcode != PONG || b->data[b->start] == (0x80 | PING))
            echo_frame(p, &head, b->data + b->start + length);
        b->start += length + head.size;
    }
}

static void check_stream(struct peer *p, uint8_t *data, size_t n)
{
    while (n && p->state != CLOSING) {
        size_t used;
        switch (reader_feed(&p->reader, data, n, &used)) {
        case MESSAGE: messages++; break;
        case PINGED: sender_control(&p->sender, PONG, p->reader.control, p->reader.head.size); break;
        case CLOSED: add_control(p, CLOSE, p->reader.control, p->reader.head.size); break;
        case BROKEN: refuse(p); break;
        case PONGED:
        case MORE: break;
        }
        data += used;
        n -= used;
    }
    bytes += p->reader.taken;
    p->reader.taken = 0;
}

static void begin(struct peer *p, const char *path, uint64_t size)
{
    p->reader = (struct reader){.size = size, .masked = true};
    p->sender = (struct sender){.size = size};
    p->state = strncmp(path, "/sink", 5) == 0 ? SINK : strncmp(path, "/source", 7) == 0 ? SOURCE : ECHO;
    if (p->state == SOURCE)
        p->sender.limit = UINT64_MAX;
}

static void take_request(struct peer *p)
{
    struct buffer *b = &p->in;
    *buffer_room(b, 1) = 0;
    char *head = (char *)b->data + b->start, path[128] = "", key[KEY_SIZE + 1], accept[ACCEPT_SIZE + 1];
    size_t length = http_head_length(head, b->end - b->start);
    if (!length)
        return;
    if (sscanf(head, "GET %127s HTTP/1.1", path) != 1 ||
        !http_header(head, "Sec-WebSocket-Key", key, sizeof key)) {
        p->state = CLOSING;
        return;
    }
    handshake_accept(accept, key);
    p->out.end += (size_t)sprintf((char *)buffer_room(&p->out, 256),
                                  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                                  accept);
    b->start += length;
    const char *number = strchr(path, '?');
    begin(p, path, number ? strtoull(number + 1, NULL, 10) : 0);
}

static void take_in(struct peer *p)
{
    if (p->state == REQUEST)
        take_request(p);
    struct buffer *b = &p->in;
    if (p->state == ECHO)
        echo_frames(p);
    else if (p->state == SINK || p->state == SOURCE) {
        check_stream(p, b->data + b->start, b->end - b->start);
        b->start = b->end;
    }
}

/* Returns whether the peer is still there. */
static bool peer_read(struct peer *p)
{
    bool streams = p->state == SINK || p->state == SOURCE;
    if (p->in.start == p->in.end || p->in.size - p->in.end < FIRST_BUFFER / 2)
        buffer_room(&p->in, FIRST_BUFFER);
    uint8_t *to = streams ? scratch : p->in.data + p->in.end;
    ssize_t n = watch_read(&p->watch, to, streams ? sizeof scratch : p->in.size - p->in.end);
    if (n == 0 || n == LOST) {
        peer_end(p);
        return false;
    }
    if (n > 0 && streams)
        check_stream(p, scratch, (size_t)n);
    else if (n > 0)
        p->in.end += (size_t)n, take_in(p);
    return true;
}

static void peer_ready(struct watch *watch, uint32_t events)
{
    struct peer *p = (struct peer *)watch;
    if (!(events & ~(uint32_t)EPOLLOUT) || peer_read(p))
        peer_flush(p);
}

static void accept_all(struct watch *watch, uint32_t events)
{
    int fd, one = 1;
    (void)events;
    while ((fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        if (!p)
            fail("out of memory");
        open_now++;
        p->watch = (struct watch){.fd = fd, .ready = peer_ready};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        loop_want(&p->watch, EPOLLIN);
    }
    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        fail("accepting: %s; raise the limit of open files (ulimit -n)", strerror(errno));
}

static void report(void)
{
    printf("{\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"open\": %" PRIu64 "}\n", messages,
           bytes, open_now);
    messages = bytes = 0;
}

void serve(void)
{
    static struct watch listener = {.ready = accept_all};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener.fd, (struct sockaddr *)&address, size) < 0 || listen(listener.fd, 4096) < 0)
        fail("listening: %s", strerror(errno));
    getsockname(listener.fd, (struct sockaddr *)&address, &size);
    loop_want(&listener, EPOLLIN);
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    loop_run(report);
}
