/* Load and upstream of the benchmark; see README.rst.  Speaks JSON lines, made for programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "modes.h"
#include "stream.h"

static const char usage[] =
    "usage: wsload serve\n"
    "       wsload KIND PORT CONNECTIONS [SIZE [RATE]] [tls]\n"
    "KIND: closed-loop, fixed-rate, up, down, idle or handshakes";

static const char *const kinds[] = {
    [CLOSED_LOOP] = "closed-loop", [FIXED_RATE] = "fixed-rate", [UP] = "up",
    [DOWN] = "down",               [IDLE] = "idle",             [HANDSHAKES] = "handshakes",
};

static enum load_kind kind_named(const char *name)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i], name) == 0)
            return (enum load_kind)i;
    fail("there is no %s; %s", name, "KIND is closed-loop, fixed-rate, up, down, idle, handshakes");
}

int main(int argc, char **argv)
{
    loop_init();
    stream_init();
    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        serve();
        return 0;
    }
    if (argc < 4) {
        fprintf(stderr, "%s\n", usage);
        return 2;
    }
    struct load load = {.tls = strcmp(argv[argc - 1], "tls") == 0, .size = MIN_MESSAGE, .rate = 1};
    load.kind = kind_named(argv[1]);
    load.port = (uint16_t)atoi(argv[2]);
    load.connections = (unsigned)atoi(argv[3]);
    argc -= load.tls;
    if (argc > 4)
        load.size = strtoull(argv[4], NULL, 10);
    if (argc > 5)
        load.rate = atof(argv[5]);
    if (!load.port || !load.connections || load.size < MIN_MESSAGE || load.rate <= 0)
        fail("a port, at least one connection, 8 bytes and a rate above 0 are needed");
    drive(&load);
    return 0;
}
