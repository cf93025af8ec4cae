/* Times in nanoseconds, all of them kept, so that percentiles are exact. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    uint64_t *values;
    size_t count, room;
};

void samples_add(struct samples *s, uint64_t value);

/* Sorts.  The smallest value that `percent` of all do not exceed; 0 when there are none. */
uint64_t samples_percentile(struct samples *s, double percent);

#endif
