#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "pump.h"

enum { MAX_EVENTS = 128 }; /* sockets handled before the clock is looked at */

bool hub_reserve(struct hub *hub, size_t size)
{
    if (size <= hub->scratch_size)
        return true;
    uint8_t *scratch = malloc(size);
    if (!scratch)
        return false;
    free(hub->scratch);
    hub->scratch = scratch;
    hub->scratch_size = size;
    return true;
}

void hub_add_todo(struct hub *hub, struct leg *leg)
{
    if (leg->on_todo || leg->gone)
        return;
    struct leg *first = hub->todo ? hub->todo : (hub->todo = leg->previous_todo = leg);
    leg->next_todo = first;
    leg->previous_todo = first->previous_todo;
    leg->previous_todo->next_todo = leg;
    first->previous_todo = leg;
    leg->on_todo = true;
    if (!hub->depth)
        eventfd_write(hub->wake, 1);
}

void hub_remove_todo(struct hub *hub, struct leg *leg)
{
    if (!leg->on_todo)
        return;
    leg->previous_todo->next_todo = leg->next_todo;
    leg->next_todo->previous_todo = leg->previous_todo;
    if (hub->todo == leg)
        hub->todo = leg->next_todo == leg ? NULL : leg->next_todo;
    leg->on_todo = false;
}

/*
 * Be told of all that happens to a leg's socket: once, when it happens (EPOLLET).
 *
 * What is not dealt with then is remembered in the leg, so nothing has to be said to the
 * kernel when a leg is not to be read for a while.
 */
bool hub_watch(struct hub *hub, struct leg *leg)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    event.data.ptr = leg;
    leg->known = epoll_ctl(hub->epoll, EPOLL_CTL_ADD, leg->fd, &event) == 0;
    return leg->known;
}

void hub_forget(struct hub *hub, struct leg *leg)
{
    if (leg->known)
        epoll_ctl(hub->epoll, EPOLL_CTL_DEL, leg->fd, NULL);
    leg->known = false;
}

void hub_enter(struct hub *hub)
{
    hub->depth++;
}

static void destroy(struct hub *hub)
{
    if (hub->epoll >= 0)
        close(hub->epoll);
    if (hub->wake >= 0)
        close(hub->wake);
    if (hub->timer >= 0)
        close(hub->timer);
    pipes_free(hub);
    blocks_free(&hub->blocks);
    free(hub->scratch);
    free(hub->cipher);
    free(hub);
}

/* Drop a reference: the hub's owner has one, and each pump. */
void hub_release(struct hub *hub)
{
    if (--hub->users == 0)
        destroy(hub);
}

void hub_leave(struct hub *hub)
{
    if (--hub->depth)
        return;
    if (hub->todo)
        eventfd_write(hub->wake, 1);
    while (hub->dead) {
        struct pump *pump = hub->dead;
        hub->dead = pump->next_dead;
        free(pump);
        hub->users--; /* the caller has one, too */
    }
}

struct hub *hub_new(told_control control, told_fault fault, told_lost lost, told_slow slow)
{
    struct hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return NULL;
    hub->control = control;
    hub->fault = fault;
    hub->lost = lost;
    hub->slow = slow;
    hub->users = 1;
    hub->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    hub->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    hub->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wakes = {.events = EPOLLIN, .data.ptr = NULL};
    struct epoll_event times = {.events = EPOLLIN, .data.ptr = hub};
    if (hub->wake < 0 || hub->timer < 0 || hub->epoll < 0 || !hub_reserve(hub, READ_SIZE) ||
        epoll_ctl(hub->epoll, EPOLL_CTL_ADD, hub->wake, &wakes) < 0 ||
        epoll_ctl(hub->epoll, EPOLL_CTL_ADD, hub->timer, &times) < 0) {
        destroy(hub);
        return NULL;
    }
    return hub;
}

void hub_free(struct hub *hub)
{
    hub_release(hub);
}

int hub_descriptor(const struct hub *hub)
{
    return hub->epoll;
}

int hub_set_tls(struct hub *hub, const struct tls_functions *functions)
{
    hub->tls = *functions;
    if (!hub->cipher)
        hub->cipher = malloc(READ_SIZE);
    return hub->cipher ? 0 : -1;
}

static uint64_t nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Whether Python has had so much to do that the rest has to wait for the next turn. */
static bool is_late(const struct hub *hub)
{
    return hub->told && nanoseconds() >= hub->until;
}

/* Handle the sockets that are ready; returns how many there were. */
static int handle_ready(struct hub *hub)
{
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(hub->epoll, events, MAX_EVENTS, 0);
    for (int i = 0; i < count; i++) {
        if (!events[i].data.ptr)
            eventfd_read(hub->wake, &(eventfd_t){0});
        else if (events[i].data.ptr == hub)
            hub_timer_rang(hub);
        else
            leg_ready(events[i].data.ptr, events[i].events, is_late(hub));
    }
    return count;
}

/* Go on with the legs that are not done yet: once with each, as far as they are there now. */
static void handle_todo(struct hub *hub)
{
    struct leg *last = hub->todo ? hub->todo->previous_todo : NULL;
    for (int i = 0; hub->todo && i < MAX_EVENTS && !is_late(hub); i++) {
        struct leg *leg = hub->todo;
        hub_remove_todo(hub, leg);
        leg_go_on(leg);
        if (leg == last)
            break;
    }
}

/* Sleep until the reactor has something to do, be it the hub or not. */
static bool sleep_until(int reactor, uint64_t until)
{
    uint64_t now = nanoseconds();
    if (now >= until)
        return false;
    struct timespec left = {(time_t)((until - now) / 1000000000u), (long)((until - now) % 1000000000u)};
    struct pollfd descriptor = {.fd = reactor, .events = POLLIN};
    return ppoll(&descriptor, 1, &left, NULL) > 0;
}

/*
 * Handle what is ready, and what becomes ready soon.
 *
 * Going back to Python and its reactor costs more than a frame does, so the hub stays for
 * up to patience seconds, asleep when there is nothing to do.  It returns at once when the
 * reactor's own epoll set is ready and the hub is not, when Python was told something, or
 * when a signal came.  A reactor of -1 means not to wait.
 */
int hub_turn(struct hub *hub, double now, int reactor, double patience)
{
    hub->until = nanoseconds() + (uint64_t)(patience * 1e9);
    int total = 0;
    hub_enter(hub);
    hub->now = now;
    hub->told = false;
    for (;;) {
        int count = handle_ready(hub);
        bool must_look = hub_must_look(hub);
        if (count <= 0 && !hub->todo && !must_look)
            break;
        total += count > 0 ? count : 0;
        if (must_look)
            hub_look(hub);
        handle_todo(hub);
        if (hub->told || nanoseconds() >= hub->until)
            break;
        if (hub->todo || count == MAX_EVENTS)
            continue;
        if (reactor >= 0 && !sleep_until(reactor, hub->until))
            break;
    }
    hub_leave(hub);
    return total;
}
