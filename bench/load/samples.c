#include "samples.h"

#include <stdlib.h>

#include "loop.h"

void samples_add(struct samples *s, uint64_t value)
{
    if (s->count == s->room) {
        s->room = s->room ? 2 * s->room : 1 << 16;
        s->values = realloc(s->values, s->room * sizeof *s->values);
        if (!s->values)
            fail("out of memory");
    }
    s->values[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t samples_percentile(struct samples *s, double percent)
{
    if (!s->count)
        return 0;
    qsort(s->values, s->count, sizeof *s->values, compare);
    double wanted = percent / 100 * (double)s->count;
    size_t rank = (size_t)wanted + (wanted > (double)(size_t)wanted);
    return s->values[rank ? rank - 1 : 0];
}
