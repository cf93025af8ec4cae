/* Bytes that wait; memory only while there are any. */
#ifndef WSRELAY_BUFFER_H
#define WSRELAY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks of one size, kept for the next one who needs one: most waiting bytes are few. */
struct blocks {
    struct block *spare;
    size_t count;
};

struct buffer {
    uint8_t *data;
    size_t begin; /* the bytes stand from here */
    size_t end;   /* to here */
    size_t capacity;
};

static inline size_t buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->begin;
}

static inline const uint8_t *buffer_bytes(const struct buffer *buffer)
{
    return buffer->data + buffer->begin;
}

/* Add bytes at the end; false when there is no memory, and then nothing was added. */
bool buffer_add(struct buffer *buffer, struct blocks *blocks, const uint8_t *data, size_t size);

/* Take bytes off the front; the memory goes with the last one. */
void buffer_drop(struct buffer *buffer, struct blocks *blocks, size_t size);

/* Drop everything. */
void buffer_clear(struct buffer *buffer, struct blocks *blocks);

/* Give the spare blocks back. */
void blocks_free(struct blocks *blocks);

#endif
