/* The client's side of TLS, with OpenSSL; the program is built without it where it is missing. */
#ifndef TLS_H
#define TLS_H

#include "loop.h"

void tls_begin(struct watch *watch);
void tls_end(struct watch *watch);
ssize_t tls_read(struct watch *watch, void *data, size_t room);
ssize_t tls_write(struct watch *watch, const void *data, size_t n);

#endif
