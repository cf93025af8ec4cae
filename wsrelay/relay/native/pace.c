#include "pace.h"

static const double STEP = 0.05; /* seconds' worth of room that is waited for */

void bucket_init(struct ws_bucket *bucket, const struct ws_pace *pace)
{
    *bucket = (struct ws_bucket){.pace = *pace, .room = pace->burst};
}

void bucket_fill(struct ws_bucket *bucket, double now)
{
    double elapsed = now - bucket->filled_at;
    bucket->filled_at = now;
    if (elapsed <= 0)
        return;
    bucket->room += elapsed * bucket->pace.per_second;
    if (bucket->room > bucket->pace.burst)
        bucket->room = bucket->pace.burst;
}

uint64_t bucket_take_up_to(struct ws_bucket *bucket, uint64_t count)
{
    uint64_t taken = (double)count < bucket->room ? count : (uint64_t)bucket->room;
    bucket->room -= (double)taken;
    return taken;
}

double bucket_wait(const struct ws_bucket *bucket)
{
    const struct ws_pace *pace = &bucket->pace;
    double enough = pace->per_second * STEP;
    if (enough > pace->burst / 2)
        enough = pace->burst / 2;
    if (enough < 1)
        enough = 1;
    return bucket->room < enough ? (enough - bucket->room) / pace->per_second : 0;
}
