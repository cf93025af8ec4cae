/*
 * Legs that speak TLS.
 *
 * OpenSSL never sees the socket: it reads and writes memory (BIO_s_mem), as it did for
 * Twisted while the handshake went on, so that a leg can be taken over at any moment.  It also
 * means that a read never has to wait for a write or the other way round: what OpenSSL has to
 * say, be it data, an alert or a new key (RFC 8446 section 4.6.3), is sent like anything else.
 */
#include <errno.h>
#include <sys/socket.h>

#include "pump.h"

enum { ERROR_WANT_READ = 2 };       /* of SSL_get_error */
enum { PIECE = 16 * 1024 };         /* bytes in OpenSSL's memory at a time: it never gives any back */
enum { MAX_RECORD = 17 * 1024 };    /* RFC 8446 section 5.2, rounded up */

/* Send what OpenSSL has written; returns how much that was. */
static size_t send_written(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    size_t size = 0;
    int n;
    while (!leg->broken && (n = hub->tls.bio_read(leg->tls.out, hub->cipher, READ_SIZE)) > 0) {
        leg_put(leg, hub->cipher, n);
        size += n;
    }
    return size;
}

/*
 * Write data.
 *
 * Half of a handshake message may have come: OpenSSL wants to read the rest of it before it
 * takes anything.  Until then the data is kept, and the leg is as one whose socket is full.
 */
void tls_write(struct leg *leg, const uint8_t *data, size_t size)
{
    struct hub *hub = leg->pump->hub;
    hub->tls.err_clear_error();
    while (size && !leg->broken && !buffer_size(&leg->tls.unsaid)) {
        int n = hub->tls.ssl_write(leg->tls.ssl, data, size < PIECE ? (int)size : PIECE);
        if (n <= 0) {
            bool wants_read = hub->tls.ssl_get_error(leg->tls.ssl, n) == ERROR_WANT_READ;
            hub->tls.err_clear_error();
            if (wants_read)
                break;
            leg_break(leg);
            return;
        }
        data += n;
        size -= n;
        send_written(leg);
    }
    if (size && !leg->broken) {
        leg_keep(leg, &leg->tls.unsaid, data, size);
        leg_block(leg);
    }
}

/* Write what OpenSSL did not take; it has read more since. */
static void write_unsaid(struct leg *leg)
{
    struct buffer data = leg->tls.unsaid;
    leg->tls.unsaid = (struct buffer){0};
    tls_write(leg, buffer_bytes(&data), buffer_size(&data));
    buffer_clear(&data, &leg->pump->hub->blocks);
    if (!leg->broken && !buffer_size(&leg->tls.unsaid))
        leg_unblock(leg);
}

/* Send a close_notify: nothing more will come (RFC 8446 section 6.1). */
void tls_say_goodbye(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    hub->tls.err_clear_error();
    hub->tls.ssl_shutdown(leg->tls.ssl);
    hub->tls.err_clear_error();
    send_written(leg);
}

/* Have OpenSSL read; false when nothing more will come from it, now or later. */
static bool decrypt(struct leg *leg, uint8_t *plain, size_t capacity, size_t *size)
{
    struct hub *hub = leg->pump->hub;
    int n = 0;
    while (*size < capacity &&
           (n = hub->tls.ssl_read(leg->tls.ssl, plain + *size, (int)(capacity - *size))) > 0)
        *size += n;
    return n <= 0 && hub->tls.ssl_get_error(leg->tls.ssl, n) == ERROR_WANT_READ;
}

/* Read once, like recv; all that can be decrypted is taken, and the leg is lost at the end of it. */
ssize_t tls_receive(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    size_t held = buffer_size(&leg->held), capacity = READ_SIZE + MAX_RECORD, size = 0;
    if (!hub_reserve(hub, held + capacity))
        return -1; /* with errno */
    ssize_t count = recv(leg->fd, hub->cipher, READ_SIZE, MSG_DONTWAIT);
    leg_was_read(leg, count);
    if (count <= 0)
        return count;
    bool goes_on = true;
    hub->tls.err_clear_error();
    for (ssize_t at = 0; at < count && goes_on; at += PIECE) {
        int piece = count - at < PIECE ? (int)(count - at) : PIECE;
        goes_on = hub->tls.bio_write(leg->tls.in, hub->cipher + at, piece) == piece &&
                  decrypt(leg, hub->scratch + held, capacity, &size);
    }
    if (!goes_on)
        hub->tls.err_clear_error();
    size_t said = send_written(leg);
    if (leg->blocked)
        leg->answers += said; /* to new keys: a peer could ask for them, and read none */
    if (goes_on && buffer_size(&leg->tls.unsaid))
        write_unsaid(leg);
    if (size)
        leg_take(leg, size);
    if (!goes_on) {
        if (!leg->gone && !leg->broken && !leg->shut)
            tls_say_goodbye(leg);
        if (leg_is_throttled(leg) && !leg->broken)
            leg->over = true;
        else
            leg_lose(leg);
    }
    return count;
}
