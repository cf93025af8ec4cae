/*
 * Paces: so many a second, and how many at once.
 *
 * Token buckets, the same as in wsrelay/wire/paces.py, to the last bit.
 */
#ifndef WSRELAY_PACE_H
#define WSRELAY_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"

/* The room that a pace leaves at a moment; one of 0 a second is none at all. */
struct ws_bucket {
    struct ws_pace pace;
    double room;
    double filled_at;
};

void bucket_init(struct ws_bucket *bucket, const struct ws_pace *pace);

/* Add the room of the time since the last call; a clock that is set back changes nothing. */
void bucket_fill(struct ws_bucket *bucket, double now);

/* Take room for one; false, and nothing changes, if there is none. */
static inline bool bucket_take(struct ws_bucket *bucket)
{
    if (bucket->room < 1)
        return false;
    bucket->room -= 1;
    return true;
}

/* Take room for as many of count as there is; returns for how many that was. */
uint64_t bucket_take_up_to(struct ws_bucket *bucket, uint64_t count);

/* Seconds from the last fill until there is room that is worth going on for; 0: there is. */
double bucket_wait(const struct ws_bucket *bucket);

#endif
