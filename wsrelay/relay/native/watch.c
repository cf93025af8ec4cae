/*
 * Legs that are looked at after a while, because nothing happens to their sockets that would
 * tell: those that wait for room in a pace, and those that take nothing.
 *
 * They are few as a rule, and in a list.  One timer wakes the hub when the first look is due,
 * and runs only while there is one.
 */
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pump.h"

static const double SHORTEST = 0.005; /* seconds until a look, at least */
static const double NEVER = -1;

/*
 * In the time for which a leg may take nothing.  They are counted, not timed: a clock that is
 * set forward must not make anybody slow.
 */
enum { LOOKS = 4 };

/* Set the timer; 0 seconds: it does not run. */
static void set_timer(struct hub *hub, double seconds)
{
    long nanoseconds = (long)((seconds - (double)(time_t)seconds) * 1e9);
    struct itimerspec in = {.it_value = {.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds}};
    timerfd_settime(hub->timer, 0, &in, NULL);
}

/* Seconds until the timer rings; 0 if it does not run, or rings now. */
static double timer_left(const struct hub *hub)
{
    struct itimerspec left = {0};
    timerfd_gettime(hub->timer, &left);
    return (double)left.it_value.tv_sec + (double)left.it_value.tv_nsec * 1e-9;
}

/*
 * Look after so many seconds, or before.
 *
 * By the reactor's clock, which can be set and is as old as the turn, or by the timer, which
 * knows neither: whichever says so first.
 */
static void plan(struct hub *hub, double seconds)
{
    if (seconds < SHORTEST)
        seconds = SHORTEST;
    if (!hub->has_plan || seconds < timer_left(hub))
        set_timer(hub, seconds);
    if (!hub->has_plan || hub->now + seconds < hub->look_at)
        hub->look_at = hub->now + seconds;
    hub->has_plan = true;
}

void hub_timer_rang(struct hub *hub)
{
    uint64_t ignored;
    if (read(hub->timer, &ignored, sizeof ignored) > 0)
        hub->look_at = hub->now;
}

bool hub_must_look(const struct hub *hub)
{
    return hub->has_plan && hub->now >= hub->look_at;
}

static void put(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    leg->next_watched = hub->watched;
    leg->watched_by = &hub->watched;
    if (hub->watched)
        hub->watched->watched_by = &leg->next_watched;
    hub->watched = leg;
}

void leg_unwatch(struct leg *leg)
{
    if (!leg->watched_by)
        return;
    *leg->watched_by = leg->next_watched;
    if (leg->next_watched)
        leg->next_watched->watched_by = leg->watched_by;
    leg->watched_by = NULL;
}

/* Look at a leg after so many seconds, or before. */
void leg_watch(struct leg *leg, double seconds)
{
    if (!leg->watched_by)
        put(leg);
    plan(leg->pump->hub, seconds);
}

/* Look from time to time whether a leg that is blocked takes something. */
void leg_watch_taking(struct leg *leg)
{
    double patience = leg->pump->patience;
    if (patience <= 0 || leg->was_slow)
        return;
    /* The hub's time may be old here, so the first look only says where it begins. */
    leg->looks_in_vain = -1;
    leg->look_at = leg->pump->hub->now;
    leg_watch(leg, patience / LOOKS);
}

/*
 * Count what a leg's peer has confirmed, but for a constant.
 *
 * What the kernel took is not enough: a full socket takes no more before the peer has read a
 * third of what may be megabytes.
 */
static uint64_t count_taken(const struct leg *leg)
{
    int unconfirmed = 0;
    ioctl(leg->fd, SIOCOUTQ, &unconfirmed);
    return leg->sent - (uint64_t)unconfirmed;
}

/* See whether a leg takes something; returns after how long it is to be looked at again. */
static double look_at_taking(struct leg *leg, double now)
{
    double patience = leg->pump->patience;
    if (patience <= 0 || !leg->blocked || leg->shut || leg->was_slow)
        return NEVER;
    double until = leg->look_at - now;
    if (until > 0 && until <= patience)
        return until;
    uint64_t taken = count_taken(leg);
    bool has_moved = (int64_t)(taken - leg->taken) > 0;
    leg->looks_in_vain = has_moved || leg->looks_in_vain < 0 ? 0 : leg->looks_in_vain + 1;
    leg->taken = taken;
    if (leg->looks_in_vain == LOOKS) {
        leg->was_slow = true;
        return NEVER;
    }
    leg->look_at = now + patience / LOOKS;
    return patience / LOOKS;
}

/* See whether a leg may go on; returns after how long it is to be looked at again. */
static double look_at_pace(struct leg *leg, double now)
{
    if (!leg_is_throttled(leg))
        return NEVER;
    ws_fill(&leg->scanner, now);
    double wait = bucket_wait(leg->scanner.waits_for);
    if (wait > 0)
        return wait;
    leg->scanner.waits_for = NULL;
    leg_update(leg);
    return NEVER;
}

static double earlier(double one, double other)
{
    return one < 0 || (other >= 0 && other < one) ? other : one;
}

static void tell_slow(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    hub->told = true;
    hub->slow(leg->pump->owner, leg == &leg->pump->legs[1]);
}

/* Look at all of them; whoever is told may do anything to any leg. */
void hub_look(struct hub *hub)
{
    double next = NEVER;
    set_timer(hub, 0);
    hub->has_plan = false;
    hub->looking = hub->watched;
    hub->watched = NULL;
    if (hub->looking)
        hub->looking->watched_by = &hub->looking;
    while (hub->looking) {
        struct leg *leg = hub->looking;
        bool was_slow = leg->was_slow;
        leg_unwatch(leg);
        double again = earlier(look_at_pace(leg, hub->now), look_at_taking(leg, hub->now));
        if (again >= 0)
            put(leg);
        next = earlier(next, again);
        if (leg->was_slow && !was_slow)
            tell_slow(leg);
    }
    if (next >= 0)
        plan(hub, next);
}
