#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "pump.h"

static struct hub *hub_of(const struct leg *leg)
{
    return leg->pump->hub;
}

static int side_of(const struct leg *leg)
{
    return leg == &leg->pump->legs[1];
}

/* A close frame that waits for a boundary must not stop the frame before it. */
bool leg_takes_data(const struct leg *leg)
{
    return !leg->finished || buffer_size(&leg->waiting);
}

bool leg_is_mid_frame(const struct leg *leg)
{
    return leg->far->scanner.left && leg_takes_data(leg);
}

static bool is_mid_message(const struct leg *leg)
{
    return ws_is_mid_message(&leg->far->scanner);
}

/* Whether data for this leg would have to be kept. */
static bool is_full(const struct leg *leg)
{
    return leg->blocked && !leg->shut && leg_takes_data(leg);
}

/* Whether what this leg sends has somewhere to go. */
static bool may_be_read(const struct leg *leg)
{
    if (leg->shut || leg->broken || buffer_size(&leg->tls.unsaid))
        return true;
    return !is_full(leg->far) && leg->answers <= MAX_WAITING;
}

void leg_break(struct leg *leg)
{
    leg->broken = true;
    leg->blocked = false;
    pipe_drop(leg);
    buffer_clear(&leg->out, &hub_of(leg)->blocks);
    hub_add_todo(hub_of(leg), leg);
}

/* Whether what this leg sends is passed on, so that it counts how much that is. */
static bool is_limited(const struct leg *leg)
{
    return !leg->shut && !leg->far->gone && leg_takes_data(leg->far);
}

bool leg_is_throttled(const struct leg *leg)
{
    return leg->scanner.waits_for && is_limited(leg);
}

/* Whether a turn of this leg's would come to something. */
static bool has_work(const struct leg *leg)
{
    if (leg->broken)
        return true;
    bool has_something = leg->backlog || leg->readable || leg->over;
    return has_something && may_be_read(leg) && !leg_is_throttled(leg);
}

/* Look at a leg after a change: it may go on, or has to stop. */
void leg_update(struct leg *leg)
{
    if (leg->gone)
        return;
    bool stopped = !may_be_read(leg);
    leg->pauses += stopped && !leg->stopped;
    leg->stopped = stopped;
    if (has_work(leg))
        hub_add_todo(hub_of(leg), leg);
}

bool leg_is_paused(const struct leg *leg)
{
    return !leg->gone && (leg->backlog || !may_be_read(leg));
}

static void update_both(struct leg *leg)
{
    leg_update(leg);
    leg_update(leg->far);
}

/* What goes to a leg. */

/* Send what the kernel takes now; returns how much that was. */
static size_t send_now(struct leg *leg, const uint8_t *data, size_t size)
{
    size_t sent = 0;
    int more = leg->shut ? MSG_MORE : 0; /* the FIN goes out with the last words */
    while (sent < size) {
        ssize_t n = send(leg->fd, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT | more);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            leg_break(leg);
        if (n < 0)
            break;
        sent += n;
    }
    leg->sent += sent;
    return sent;
}

void leg_keep(struct leg *leg, struct buffer *buffer, const uint8_t *data, size_t size)
{
    if (!buffer_add(buffer, &hub_of(leg)->blocks, data, size))
        leg_break(leg);
}

void leg_block(struct leg *leg)
{
    if (!leg->broken && !leg->blocked) {
        leg->blocked = true;
        leg->stalls++;
        leg_watch_taking(leg);
        update_both(leg);
    }
}

/* Write bytes as they go over the wire. */
void leg_put(struct leg *leg, const uint8_t *data, size_t size)
{
    if (leg->corked || leg->blocked) {
        leg_keep(leg, &leg->out, data, size);
        return;
    }
    size_t sent = send_now(leg, data, size);
    if (sent < size && !leg->broken) {
        leg_keep(leg, &leg->out, data + sent, size - sent);
        leg_block(leg);
    }
}

void leg_write(struct leg *leg, const uint8_t *data, size_t size)
{
    if (leg->gone || leg->broken || leg->shut || !size)
        return;
    if (leg->tls.ssl)
        tls_write(leg, data, size);
    else
        leg_put(leg, data, size);
}

static void send_fin(struct leg *leg)
{
    if (shutdown(leg->fd, SHUT_WR) < 0)
        leg_break(leg);
}

/* Send what waits: in the pipe, then in out. */
static void flush(struct leg *leg)
{
    if (leg->pipe && !pipe_flush(leg))
        return;
    size_t sent = send_now(leg, buffer_bytes(&leg->out), buffer_size(&leg->out));
    if (leg->broken)
        return;
    buffer_drop(&leg->out, &hub_of(leg)->blocks, sent);
    if (buffer_size(&leg->out)) {
        leg_block(leg);
        return;
    }
    if (buffer_size(&leg->tls.unsaid))
        return;
    leg->blocked = false;
    if (!buffer_size(&leg->waiting))
        leg->answers = 0;
    if (!buffer_size(&leg->published))
        leg->untaken = 0;
    if (leg->shut)
        send_fin(leg);
}

/* Go on where OpenSSL, and not the kernel, took nothing. */
void leg_unblock(struct leg *leg)
{
    flush(leg);
    if (leg->ending)
        leg_shut(leg);
    update_both(leg);
}

static void uncork(struct leg *leg)
{
    leg->corked = false;
    if (!leg->gone && !leg->blocked && buffer_size(&leg->out))
        flush(leg);
}

void leg_send_own(struct leg *leg, const uint8_t *frame, size_t size)
{
    if (leg->gone || leg->broken || leg->shut)
        return;
    if (leg_is_mid_frame(leg)) {
        leg->stalls += !buffer_size(&leg->waiting);
        leg_keep(leg, &leg->waiting, frame, size);
    } else {
        leg_write(leg, frame, size);
    }
    if (buffer_size(&leg->waiting) || leg->blocked) {
        leg->answers += size;
        leg_update(leg);
    }
}

static void write_message(struct leg *leg, const uint8_t *data, size_t size)
{
    leg->last_data = hub_of(leg)->now;
    leg_write(leg, data, size);
}

/* Send a message of the relay's own, now or at the next end of one, or do not. */
bool leg_inject(struct leg *leg, const uint8_t *frame, size_t size)
{
    if (leg->gone || leg->broken || leg->shut || leg->ending || leg->finished)
        return false;
    if (!leg->blocked && !buffer_size(&leg->out) && !buffer_size(&leg->published))
        leg->untaken = 0;
    if (leg->untaken && leg->untaken + size > MAX_PUBLISHED)
        return false;
    leg->untaken += size;
    if (is_mid_message(leg)) {
        leg_keep(leg, &leg->published, frame, size);
        leg->far->scanner.marks_end = true;
    } else {
        write_message(leg, frame, size);
    }
    return !leg->broken;
}

/* Send what waited for the far leg's message to end. */
static void at_message_end(struct leg *leg)
{
    struct buffer messages = leg->published;
    leg->published = (struct buffer){0};
    leg->far->scanner.marks_end = false;
    if (buffer_size(&messages))
        write_message(leg, buffer_bytes(&messages), buffer_size(&messages));
    buffer_clear(&messages, &hub_of(leg)->blocks);
}

/* Send what waited for the far leg's frame to end. */
void leg_at_boundary(struct leg *leg)
{
    struct buffer frames = leg->waiting;
    leg->waiting = (struct buffer){0};
    leg->answers = 0;
    leg_write(leg, buffer_bytes(&frames), buffer_size(&frames));
    buffer_clear(&frames, &hub_of(leg)->blocks);
    if (!is_mid_message(leg))
        at_message_end(leg);
    if (leg->ending)
        leg_shut(leg);
    update_both(leg);
}

void leg_shut(struct leg *leg)
{
    leg->ending = true;
    if (leg->gone || leg->broken || leg->shut)
        return;
    if (buffer_size(&leg->waiting) || buffer_size(&leg->tls.unsaid))
        return;
    if (leg->tls.ssl)
        tls_say_goodbye(leg);
    leg->shut = true;
    leg->answers = 0;
    buffer_clear(&leg->published, &hub_of(leg)->blocks);
    if (!leg->broken && !leg->pipe && !buffer_size(&leg->out))
        send_fin(leg);
    update_both(leg);
}

/* What comes from a leg. */

static void pass_on(struct leg *leg, const uint8_t *data, size_t size)
{
    if (!size || leg->shut)
        return;
    leg->last_data = hub_of(leg)->now;
    if (leg_takes_data(leg->far))
        leg_write(leg->far, data, size);
}

static void cork(struct leg *leg)
{
    leg->corked = leg->far->corked = true;
}

static void tell_control(struct leg *leg, const uint8_t *frame, size_t size)
{
    struct hub *hub = hub_of(leg);
    hub->told = true;
    hub->control(leg->pump->owner, side_of(leg), frame, size);
}

static void tell_fault(struct leg *leg)
{
    struct hub *hub = hub_of(leg);
    leg->violated = hub->told = true;
    hub->fault(leg->pump->owner, side_of(leg), leg->scanner.fault, leg->scanner.detail);
}

static bool waits_for_boundary(const struct leg *leg)
{
    return buffer_size(&leg->waiting) || buffer_size(&leg->published);
}

/*
 * Pass on frames, and tell of what is none; returns how many bytes were dealt with.
 *
 * Whoever is told may do anything to both legs.
 */
static size_t deal_with(struct leg *leg, const uint8_t *data, size_t size)
{
    size_t start = 0, position = 0, extent = 0, controls = 0;
    for (;;) {
        enum ws_found found = ws_scan(&leg->scanner, data, size, &position, &extent);
        if (found == WS_BOUNDARY && !waits_for_boundary(leg->far))
            continue;
        pass_on(leg, data + start, position - start);
        start = position;
        if (found == WS_MORE)
            return start;
        if (found == WS_OVER) {
            leg->backlog = true;
            return start;
        }
        if (found == WS_BOUNDARY) {
            leg_at_boundary(leg->far);
            continue;
        }
        if (found == WS_END) {
            at_message_end(leg->far);
            continue;
        }
        cork(leg);
        if (found == WS_FAULT) {
            tell_fault(leg);
            return size;
        }
        if (found == WS_CONTROL)
            tell_control(leg, data + position, extent);
        start = position += extent;
        if (leg->gone)
            return size;
        if (++controls == MAX_CONTROLS && position < size) {
            leg->backlog = true;
            return start;
        }
    }
}

/* Deal with as much as the pace allows; returns how much that was. */
static size_t deal_in_pace(struct leg *leg, const uint8_t *data, size_t size)
{
    struct ws_scanner *scanner = &leg->scanner;
    if (is_limited(leg))
        ws_fill(scanner, hub_of(leg)->now);
    else
        ws_lift(scanner);
    scanner->waits_for = NULL;
    leg->unpaid -= ws_pay(scanner, leg->unpaid);
    size_t done = deal_with(leg, data, size - leg->unpaid);
    bool goes_on = !leg->gone && !leg->violated && !scanner->closed;
    if (goes_on && leg->unpaid && !leg->backlog) {
        leg->backlog = ws_go_over(scanner) == WS_OVER;
        if (!leg->backlog) {
            cork(leg);
            tell_fault(leg);
            goes_on = false;
        }
    }
    if (goes_on && scanner->waits_for)
        leg_watch(leg, bucket_wait(scanner->waits_for));
    if (!goes_on)
        leg->unpaid = 0; /* nobody wants it */
    return goes_on ? done : size;
}

/* Deal with what was read, and what was held before it; returns how much need not be held. */
static size_t feed(struct leg *leg, const uint8_t *data, size_t size)
{
    leg->backlog = false;
    return leg->scanner.is_paced ? deal_in_pace(leg, data, size) : deal_with(leg, data, size);
}

/* Let out what was collected meanwhile. */
static void end_feed(struct leg *leg)
{
    if (leg->corked || leg->far->corked) {
        uncork(leg);
        uncork(leg->far);
        update_both(leg);
    }
}

void leg_feed(struct leg *leg, const uint8_t *data, size_t size)
{
    size_t done = feed(leg, data, size);
    leg->throttles += leg->scanner.waits_for != NULL;
    if (!leg->gone && done < size)
        leg_keep(leg, &leg->held, data + done, size - done);
    end_feed(leg);
}

/* Go on with a backlog, which is not copied: it may have to wait for a pace many times. */
static void feed_held(struct leg *leg)
{
    struct buffer held = leg->held;
    leg->held = (struct buffer){0};
    size_t done = feed(leg, buffer_bytes(&held), buffer_size(&held));
    buffer_drop(&held, &hub_of(leg)->blocks, done);
    if (leg->gone)
        buffer_clear(&held, &hub_of(leg)->blocks);
    else
        leg->held = held;
    end_feed(leg);
}

void leg_let_go(struct leg *leg)
{
    if (leg->gone)
        return;
    struct hub *hub = hub_of(leg);
    hub_forget(hub, leg);
    hub_remove_todo(hub, leg);
    leg_unwatch(leg);
    pipe_drop(leg);
    buffer_clear(&leg->held, &hub->blocks);
    buffer_clear(&leg->out, &hub->blocks);
    buffer_clear(&leg->waiting, &hub->blocks);
    buffer_clear(&leg->published, &hub->blocks);
    buffer_clear(&leg->tls.unsaid, &hub->blocks);
    leg->gone = true;
    leg->blocked = leg->backlog = false;
    leg_update(leg->far);
}

void leg_lose(struct leg *leg)
{
    while (leg->backlog && !leg->gone && !leg_is_throttled(leg))
        feed_held(leg);
    if (leg->gone)
        return;
    struct hub *hub = hub_of(leg);
    leg_let_go(leg);
    hub->told = true;
    hub->lost(leg->pump->owner, side_of(leg));
}

/* Take what was read, which is in the scratch memory behind room for what is held. */
void leg_take(struct leg *leg, size_t size)
{
    struct hub *hub = hub_of(leg);
    size_t held = buffer_size(&leg->held);
    leg->received += size;
    if (leg->violated)
        return;
    if (leg->scanner.is_paced)
        leg->unpaid += size;
    else if (held && held + size < leg->scanner.need) {
        leg_keep(leg, &leg->held, hub->scratch + held, size);
        return;
    }
    if (held) {
        memcpy(hub->scratch, buffer_bytes(&leg->held), held);
        buffer_clear(&leg->held, &hub->blocks);
    }
    leg_feed(leg, hub->scratch, held + size);
}

void leg_take_over(struct leg *leg, const uint8_t *data, size_t size)
{
    struct hub *hub = hub_of(leg);
    size_t held = buffer_size(&leg->held);
    if (leg->backlog) {
        leg->received += size;
        leg->unpaid += size;
        leg_keep(leg, &leg->held, data, size);
        return;
    }
    if (!hub_reserve(hub, held + size)) {
        leg_lose(leg);
        return;
    }
    memcpy(hub->scratch + held, data, size);
    leg_take(leg, size);
}

/*
 * Note what a recv of READ_SIZE bytes says of what is left.
 *
 * One that was not filled has emptied the socket, and what comes later is told; but not the
 * end of the stream, if that was told before.
 */
void leg_was_read(struct leg *leg, ssize_t n)
{
    leg->readable = n == READ_SIZE || (n > 0 && leg->ends);
}

ssize_t leg_receive(struct leg *leg)
{
    if (leg->tls.ssl)
        return tls_receive(leg);
    struct hub *hub = hub_of(leg);
    size_t held = buffer_size(&leg->held);
    if (!hub_reserve(hub, held + READ_SIZE))
        return -1; /* with errno */
    ssize_t n = recv(leg->fd, hub->scratch + held, READ_SIZE, MSG_DONTWAIT);
    leg_was_read(leg, n);
    if (n > 0)
        leg_take(leg, n);
    return n;
}

static void read_leg(struct leg *leg)
{
    ssize_t n = leg_may_splice(leg) ? leg_splice(leg) : leg_receive(leg);
    if (n > 0)
        return;
    if (n == 0 || leg->broken || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        leg_lose(leg);
    else
        leg->readable = errno == EINTR;
}

void leg_go_on(struct leg *leg)
{
    if (!has_work(leg)) /* it had some when it was put on the list */
        return;
    if (leg->broken && (is_full(leg->far) || leg_is_throttled(leg)))
        leg_lose(leg);
    else if (leg->backlog)
        feed_held(leg);
    else if (leg->over)
        leg_lose(leg);
    else
        read_leg(leg); /* of a broken leg, too: what it sent before is still there */
    leg_update(leg);
}

void leg_ready(struct leg *leg, uint32_t events, bool later)
{
    if (leg->gone)
        return;
    leg->ends |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    leg->readable |= leg->ends || events & EPOLLIN;
    if (events & EPOLLOUT && leg->blocked) {
        flush(leg);
        update_both(leg);
    }
    if (has_work(leg) && later)
        hub_add_todo(hub_of(leg), leg);
    else if (has_work(leg))
        leg_go_on(leg);
    else if (events & EPOLLERR)
        leg_lose(leg); /* it was reset, and what it sent has nowhere to go */
}
