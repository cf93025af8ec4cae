/* Opening handshakes, both sides (RFC 6455, section 4), as much of them as a benchmark needs. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_SIZE = 24, ACCEPT_SIZE = 28, MAX_HTTP = 4096 };

void handshake_key(char key[KEY_SIZE + 1], uint64_t random_bits);
void handshake_accept(char accept[ACCEPT_SIZE + 1], const char *key);

/* Find a header, its name in any case, and copy its value.  Returns whether it is there and fits. */
bool http_header(const char *head, const char *name, char *value, size_t room);

/* The length of the head at `data` with the empty line that ends it, or 0 when it is not whole. */
size_t http_head_length(const char *data, size_t have);

#endif
