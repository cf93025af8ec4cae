#include "pump.h"

#include <stdlib.h>

static void prepare(struct leg *leg, struct pump *pump, int fd, bool is_masked,
                    const struct ws_limits *limits, uint8_t bits)
{
    leg->pump = pump;
    leg->fd = fd;
    ws_init(&leg->scanner, is_masked, bits, limits);
}

struct pump *pump_new(struct hub *hub, void *owner, int client, int upstream, uint8_t bits,
                      const struct ws_limits *up, const struct ws_limits *down)
{
    struct pump *pump = calloc(1, sizeof *pump);
    if (!pump)
        return NULL;
    pump->hub = hub;
    pump->owner = owner;
    hub->users++;
    struct leg *near = &pump->legs[0], *far = &pump->legs[1];
    prepare(near, pump, client, true, up, bits);
    prepare(far, pump, upstream, false, down, bits);
    near->far = far;
    far->far = near;
    return pump;
}

void pump_free(struct pump *pump)
{
    struct hub *hub = pump->hub;
    leg_let_go(&pump->legs[0]);
    leg_let_go(&pump->legs[1]);
    if (hub->depth) { /* its legs may be on the stack, or among the events of this turn */
        pump->next_dead = hub->dead;
        hub->dead = pump;
        return;
    }
    free(pump);
    hub_release(hub);
}

void pump_start(struct pump *pump, double now, const uint8_t *head, size_t head_size,
               const uint8_t *from_client, size_t from_client_size, const uint8_t *from_upstream,
               size_t from_upstream_size)
{
    struct leg *client = &pump->legs[0], *upstream = &pump->legs[1];
    struct hub *hub = pump->hub;
    hub_enter(hub);
    hub->now = client->last_data = upstream->last_data = now;
    client->uncounted = head_size;
    leg_write(client, head, head_size);
    if (!hub_watch(hub, client))
        leg_break(client);
    if (!hub_watch(hub, upstream))
        leg_break(upstream);
    upstream->received = from_upstream_size;
    client->received = client->unpaid = from_client_size;
    if (from_upstream_size)
        leg_feed(upstream, from_upstream, from_upstream_size);
    if (from_client_size && !client->gone)
        leg_feed(client, from_client, from_client_size);
    hub_leave(hub);
}

void pump_take_over(struct pump *pump, double now, int side, const uint8_t *data, size_t size)
{
    struct leg *leg = &pump->legs[side];
    if (leg->gone)
        return;
    hub_enter(pump->hub);
    pump->hub->now = now;
    leg_take_over(leg, data, size);
    hub_leave(pump->hub);
}

void pump_set_patience(struct pump *pump, double seconds)
{
    pump->patience = seconds;
}

void pump_set_tls(struct pump *pump, int side, void *ssl, void *in, void *out)
{
    pump->legs[side].tls = (struct tls){.ssl = ssl, .in = in, .out = out};
}

void pump_send(struct pump *pump, int side, const uint8_t *frame, size_t size)
{
    leg_send_own(&pump->legs[side], frame, size);
}

int pump_inject(struct pump *pump, double now, int side, const uint8_t *frame, size_t size)
{
    pump->hub->now = now;
    return leg_inject(&pump->legs[side], frame, size);
}

void pump_finish(struct pump *pump, int side)
{
    pump->legs[side].finished = true;
    buffer_clear(&pump->legs[side].published, &pump->hub->blocks);
    leg_update(pump->legs[side].far);
}

void pump_shut(struct pump *pump, int side)
{
    leg_shut(&pump->legs[side]);
}

void pump_let_go(struct pump *pump, int side)
{
    leg_let_go(&pump->legs[side]);
}

int pump_is_cut(const struct pump *pump, int side)
{
    const struct leg *leg = &pump->legs[side];
    return leg->far->gone && leg_is_mid_frame(leg);
}

int pump_is_paused(const struct pump *pump, int side)
{
    return leg_is_paused(&pump->legs[side]);
}

int pump_is_waiting(const struct pump *pump, int side)
{
    const struct leg *leg = &pump->legs[side];
    return leg->blocked || buffer_size(&leg->waiting);
}

uint64_t pump_messages(const struct pump *pump, int side)
{
    return pump->legs[side].scanner.messages;
}

uint64_t pump_binary_messages(const struct pump *pump, int side)
{
    return pump->legs[side].scanner.binary;
}

uint64_t pump_payload(const struct pump *pump, int side)
{
    return pump->legs[side].scanner.payload;
}

uint64_t pump_received(const struct pump *pump, int side)
{
    return pump->legs[side].received;
}

/* Bytes of the opening handshake are not counted. */
uint64_t pump_sent(const struct pump *pump, int side)
{
    const struct leg *leg = &pump->legs[side];
    return leg->sent > leg->uncounted ? leg->sent - leg->uncounted : 0;
}

uint64_t pump_stalls(const struct pump *pump, int side)
{
    return pump->legs[side].stalls;
}

/* What is kept of what came from a leg, and of what goes to it. */
static uint64_t kept(const struct leg *leg)
{
    return buffer_size(&leg->held) + (leg->pipe ? leg->pipe->size : 0) + buffer_size(&leg->out) +
           buffer_size(&leg->waiting) + buffer_size(&leg->published) +
           buffer_size(&leg->tls.unsaid);
}

void pump_totals(const struct pump *pump, struct ws_totals *totals)
{
    const struct leg *client = &pump->legs[0], *upstream = &pump->legs[1];
    *totals = (struct ws_totals){
        .client_messages = client->scanner.messages,
        .client_binary_messages = client->scanner.binary,
        .client_payload = client->scanner.payload,
        .client_received = client->received,
        .client_sent = pump_sent(pump, 0),
        .client_pauses = client->pauses,
        .upstream_messages = upstream->scanner.messages,
        .upstream_binary_messages = upstream->scanner.binary,
        .upstream_payload = upstream->scanner.payload,
        .upstream_received = upstream->received,
        .upstream_sent = pump_sent(pump, 1),
        .upstream_pauses = upstream->pauses,
        .buffered = kept(client) + kept(upstream),
        .throttles = client->throttles,
    };
}

double pump_last_data(const struct pump *pump)
{
    double client = pump->legs[0].last_data, upstream = pump->legs[1].last_data;
    return client > upstream ? client : upstream;
}
