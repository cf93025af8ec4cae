#define _GNU_SOURCE
#include "handshake.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static uint32_t turn(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

/* FIPS 180-4, section 6.1.2 */
static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    static const uint32_t k[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], v[5];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = turn(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    memcpy(v, h, sizeof v);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t choose = (v[1] & v[2]) ^ (~v[1] & v[3]);
        uint32_t parity = v[1] ^ v[2] ^ v[3];
        uint32_t majority = (v[1] & v[2]) ^ (v[1] & v[3]) ^ (v[2] & v[3]);
        uint32_t f = t < 20 ? choose : t >= 40 && t < 60 ? majority : parity;
        uint32_t next = turn(v[0], 5) + f + v[4] + k[t / 20] + w[t];
        v[4] = v[3], v[3] = v[2], v[2] = turn(v[1], 30), v[1] = v[0], v[0] = next;
    }
    for (unsigned i = 0; i < 5; i++)
        h[i] += v[i];
}

/* Of 60 bytes, which is what a key and the GUID of RFC 6455 come to: always two blocks. */
static void sha1_of_60(uint8_t digest[20], const char text[60])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    memcpy(blocks, text, 60);
    blocks[60] = 0x80;
    blocks[126] = 60 * 8 >> 8;
    blocks[127] = 60 * 8 & 0xff;
    sha1_block(h, blocks);
    sha1_block(h, blocks + 64);
    for (unsigned i = 0; i < 20; i++)
        digest[i] = (uint8_t)(h[i / 4] >> 8 * (3 - i % 4));
}

static void base64(char *out, const uint8_t *data, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)data[i] << 16;
        if (i + 1 < n)
            bits |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < n)
            bits |= data[i + 2];
        *out++ = digits[bits >> 18];
        *out++ = digits[bits >> 12 & 63];
        *out++ = i + 1 < n ? digits[bits >> 6 & 63] : '=';
        *out++ = i + 2 < n ? digits[bits & 63] : '=';
    }
    *out = 0;
}

void handshake_key(char key[KEY_SIZE + 1], uint64_t random_bits)
{
    uint8_t nonce[16];
    memcpy(nonce, &random_bits, 8);
    random_bits *= 0x9e3779b97f4a7c15U;
    memcpy(nonce + 8, &random_bits, 8);
    base64(key, nonce, sizeof nonce);
}

void handshake_accept(char accept[ACCEPT_SIZE + 1], const char *key)
{
    char text[KEY_SIZE + 36 + 1];
    uint8_t digest[20];
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1_of_60(digest, text);
    base64(accept, digest, sizeof digest);
}

bool http_header(const char *head, const char *name, char *value, size_t room)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) != 0 || line[length] != ':')
            continue;
        line += length + 1;
        line += strspn(line, " \t");
        size_t n = strcspn(line, " \t\r\n");
        if (n >= room)
            return false;
        memcpy(value, line, n);
        value[n] = 0;
        return true;
    }
    return false;
}

size_t http_head_length(const char *data, size_t have)
{
    const char *end = memmem(data, have, "\r\n\r\n", 4);
    return end ? (size_t)(end - data) + 4 : 0;
}
