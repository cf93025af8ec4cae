#include "buffer.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, MAX_SPARE = 256 };

struct block {
    struct block *next;
};

static uint8_t *take(struct blocks *blocks, size_t capacity)
{
    struct block *block = blocks->spare;
    if (capacity != BLOCK || !block)
        return malloc(capacity);
    blocks->spare = block->next;
    blocks->count--;
    return (uint8_t *)block;
}

static void give(struct blocks *blocks, uint8_t *data, size_t capacity)
{
    if (capacity != BLOCK || blocks->count == MAX_SPARE) {
        free(data);
        return;
    }
    struct block *block = (struct block *)(void *)data;
    block->next = blocks->spare;
    blocks->spare = block;
    blocks->count++;
}

/* Make room for size bytes behind the end. */
static bool make_room(struct buffer *b, struct blocks *blocks, size_t size)
{
    size_t have = buffer_size(b), capacity = b->capacity ? b->capacity : BLOCK;
    while (capacity < have + size)
        capacity *= 2;
    uint8_t *data = b->data;
    if (capacity != b->capacity) {
        data = take(blocks, capacity);
        if (!data)
            return false;
    }
    if (have)
        memmove(data, buffer_bytes(b), have);
    if (data != b->data && b->data)
        give(blocks, b->data, b->capacity);
    *b = (struct buffer){.data = data, .end = have, .capacity = capacity};
    return true;
}

bool buffer_add(struct buffer *b, struct blocks *blocks, const uint8_t *data, size_t size)
{
    if (!size)
        return true;
    if (b->capacity - b->end < size && !make_room(b, blocks, size))
        return false;
    memcpy(b->data + b->end, data, size);
    b->end += size;
    return true;
}

void buffer_drop(struct buffer *b, struct blocks *blocks, size_t size)
{
    b->begin += size;
    if (b->begin == b->end)
        buffer_clear(b, blocks);
}

void buffer_clear(struct buffer *b, struct blocks *blocks)
{
    if (b->data)
        give(blocks, b->data, b->capacity);
    *b = (struct buffer){0};
}

void blocks_free(struct blocks *blocks)
{
    while (blocks->spare)
        free(take(blocks, BLOCK));
}
