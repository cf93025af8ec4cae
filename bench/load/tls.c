#include "tls.h"

#ifdef WITH_TLS

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context(void)
{
    static SSL_CTX *made;
    if (made)
        return made;
    made = SSL_CTX_new(TLS_client_method());
    if (!made)
        fail("OpenSSL makes no context");
    /* One protocol and one cipher for every proxy, or their preferences would be compared. */
    SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(made, 1);
    /* What waits is written again from another buffer, perhaps with more behind it. */
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return made;
}

void tls_begin(struct watch *watch)
{
    watch->ssl = SSL_new(context());
    if (!watch->ssl || !SSL_set_fd(watch->ssl, watch->fd))
        fail("OpenSSL makes no connection");
    SSL_set_connect_state(watch->ssl);
}

void tls_end(struct watch *watch)
{
    SSL_free(watch->ssl);
    watch->ssl = NULL;
}

static ssize_t outcome(struct watch *watch, int done)
{
    switch (SSL_get_error(watch->ssl, done)) {
    case SSL_ERROR_NONE: return done;
    case SSL_ERROR_WANT_READ: watch->blocked = EPOLLIN; return BLOCKED;
    case SSL_ERROR_WANT_WRITE: watch->blocked = EPOLLOUT; return BLOCKED;
    case SSL_ERROR_ZERO_RETURN: return 0;
    }
    ERR_clear_error();
    return LOST;
}

ssize_t tls_read(struct watch *watch, void *data, size_t room)
{
    return outcome(watch, SSL_read(watch->ssl, data, (int)room));
}

ssize_t tls_write(struct watch *watch, const void *data, size_t n)
{
    return outcome(watch, SSL_write(watch->ssl, data, (int)n));
}

#else

void tls_begin(struct watch *watch)
{
    (void)watch;
    fail("this program was built without OpenSSL");
}

void tls_end(struct watch *watch)
{
    (void)watch;
}

ssize_t tls_read(struct watch *watch, void *data, size_t room)
{
    (void)watch, (void)data, (void)room;
    return LOST;
}

ssize_t tls_write(struct watch *watch, const void *data, size_t n)
{
    (void)watch, (void)data, (void)n;
    return LOST;
}

#endif
