/*
 * Frames in any pieces: whatever the bytes are, ws_scan finds the same in them whether they
 * come at once, byte by byte, or cut somewhere.  Built and run by `make fuzz`, with libFuzzer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"

enum { CONTROL_BYTES = 4 }; /* of an input, which say how the rest is to be read */

/* What one direction came to. */
struct findings {
    uint64_t controls; /* a sum over where control frames stand, and how long they are */
    size_t passed;     /* bytes that were passed on, or told */
    int fault;
};

static const uint64_t LIMITS[] = {UINT64_MAX, 0, 1, 20, 126, 200, 65535, UINT64_MAX};

/* Scan what is held and not done with; returns how much of it was. */
static size_t scan(struct ws_scanner *s, const uint8_t *held, size_t size, struct findings *f)
{
    uint8_t *exact = malloc(size ? size : 1); /* so that a read behind it is seen */
    size_t position = 0, extent = 0;
    if (size)
        memcpy(exact, held, size);
    for (;;) {
        enum ws_found found = ws_scan(s, exact, size, &position, &extent);
        if (position > size || (found == WS_MORE && s->need <= size - position))
            abort();
        if (found == WS_FAULT)
            f->fault = 1 + (int)s->fault;
        if (found == WS_MORE || found == WS_FAULT)
            break;
        if (found == WS_BOUNDARY || found == WS_END)
            continue;
        f->controls = f->controls * 31 + (f->passed + position) * 131 + extent * 2 +
                      (found == WS_CONTROL);
        position += extent;
        if (position > size)
            abort();
    }
    free(exact);
    f->passed += position;
    return position;
}

static struct findings read_in_pieces(struct ws_scanner *s, const uint8_t *data, size_t size,
                                      size_t piece)
{
    struct findings f = {0};
    size_t begin = 0, end = 0;
    while (end < size && !f.fault) {
        end = size - end < piece ? size : end + piece;
        begin += scan(s, data + begin, end - begin, &f);
    }
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CONTROL_BYTES)
        return 0;
    struct ws_scanner fresh = {
        .masked = data[0] & 1,
        .bits = (const uint8_t[]){0, 0x40, 0x70, 0}[data[0] >> 1 & 3],
        .whole_frames = LIMITS[data[1] & 7],
        .max_frame = LIMITS[data[1] >> 3 & 7],
        .max_message = LIMITS[data[2] & 7],
    };
    size_t pieces[] = {size, 1, 1 + data[3]};
    data += CONTROL_BYTES;
    size -= CONTROL_BYTES;
    struct ws_scanner first = fresh;
    struct findings whole = read_in_pieces(&first, data, size, pieces[0]);
    for (int i = 1; i < 3; i++) {
        struct ws_scanner s = fresh;
        struct findings f = read_in_pieces(&s, data, size, pieces[i]);
        if (f.controls != whole.controls || f.passed != whole.passed || f.fault != whole.fault ||
            s.messages != first.messages || s.binary != first.binary ||
            s.payload != first.payload || s.left != first.left || s.detail != first.detail)
            abort();
    }
    return 0;
}
