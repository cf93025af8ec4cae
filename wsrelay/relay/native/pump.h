/*
 * The inside of the native pump.
 *
 * hub.c     the epoll set, a turn of it, and who is told what
 * pump.c    one session's two legs as Python sees them
 * leg.c     what comes from a leg, what goes to it, and when it is read
 * watch.c   legs that are looked at after a while
 * tls.c     legs that speak TLS
 * splice.c  payloads that never leave the kernel
 * frames.c  frame headers
 * pace.c    so many a second
 * buffer.c  bytes that wait
 */
#ifndef WSRELAY_PUMP_H
#define WSRELAY_PUMP_H

#include <sys/types.h>

#include "buffer.h"
#include "frames.h"

enum { READ_SIZE = 64 * 1024 };   /* bytes of one recv */
enum { MAX_CONTROLS = 256 };      /* control frames handled in a row; each costs Python's time */
enum { MAX_WAITING = 16 * 1024 }; /* bytes of the relay's own frames before a leg is not read */
enum { MAX_PUBLISHED = 1024 * 1024 }; /* bytes of the relay's own messages that may wait for a leg */

/* OpenSSL's objects of a leg: the connection, and the memory that it reads and writes. */
struct tls {
    void *ssl; /* NULL for a plain leg */
    void *in;
    void *out;
    struct buffer unsaid; /* what OpenSSL has to read more for before it takes it */
};

/*
 * One socket of a session.
 *
 * "blocked" is about what goes to the leg, "paused" about what comes from it.
 */
struct leg {
    struct ws_scanner scanner; /* of what comes from here */
    struct pump *pump;
    struct leg *far;
    struct leg *next_todo, *previous_todo;
    struct leg *next_watched, **watched_by; /* what points here */
    struct tls tls;
    struct buffer held;    /* read, but not passed on: a frame's beginning, or a backlog */
    struct pipe *pipe;     /* to be sent first; NULL if there is nothing */
    struct buffer out;     /* to be sent */
    struct buffer waiting; /* frames of the relay's own, for the next boundary */
    struct buffer published; /* messages of the relay's own, for the next end of a message */
    uint64_t received, sent, stalls, pauses;
    uint64_t uncounted; /* bytes of sent that belong to the opening handshake */
    uint64_t throttles; /* reads of which something had to wait for a pace */
    size_t unpaid;      /* bytes at the end of held that no pace has had room for yet */
    double last_data;
    double look_at;   /* when it is to be looked at whether it takes something */
    uint64_t taken;   /* bytes that its peer had confirmed then, give or take a constant */
    int looks_in_vain; /* since it was seen to have taken something; -1: there was no look */
    size_t answers;   /* bytes of the relay's own frames that were not taken yet */
    size_t untaken;   /* and of its own messages */
    int fd;
    bool known : 1;    /* in the epoll set */
    bool readable : 1; /* there may be something to read */
    bool ends : 1;     /* there may be nothing more behind that */
    bool gone : 1;    /* not the pump's any more */
    bool blocked : 1; /* the kernel takes no more of out */
    bool corked : 1;  /* out is collected */
    bool stopped : 1; /* could not be read when that was looked at last */
    bool backlog : 1; /* held has more than a frame's beginning */
    bool on_todo : 1;
    bool over : 1;     /* nothing comes behind held: TLS has ended */
    bool was_slow : 1; /* that was told */
    bool finished : 1; /* gets no more data of the far leg's */
    bool ending : 1;   /* to be shut when waiting is empty */
    bool shut : 1;     /* gets nothing more but what is in out; what comes is discarded */
    bool broken : 1;   /* takes nothing any more, and will soon be lost */
    bool violated : 1; /* broke a rule: what comes is discarded */
};

/* A pipe that payload goes through from one socket to another. */
struct pipe {
    struct pipe *next;
    size_t size; /* bytes in it */
    int ends[2];
};

struct pump {
    struct hub *hub;
    void *owner;
    struct leg legs[2];
    double patience; /* seconds for which a leg may take nothing; 0: for ever */
    struct pump *next_dead;
};

struct hub {
    told_control control;
    told_fault fault;
    told_lost lost;
    told_slow slow;
    uint8_t *scratch; /* what was just read */
    size_t scratch_size;
    uint8_t *cipher; /* READ_SIZE bytes as they are on the wire; NULL without TLS */
    struct tls_functions tls;
    struct blocks blocks;
    struct pipe *pipes; /* those that are empty */
    unsigned pipe_count;
    struct leg *todo;  /* legs that go on without being told, a circle: the first of them */
    struct pump *dead; /* freed by their owners while their legs may be on the stack */
    double now;        /* the reactor's seconds */
    struct leg *watched; /* legs that are looked at after a while */
    struct leg *looking; /* those whose turn has not come in this look */
    double look_at;    /* when that is, if there is a plan */
    bool has_plan;
    int timer; /* a timerfd that wakes the hub then */
    int epoll;
    int wake; /* an eventfd: there is something to do, though no socket is ready */
    int depth;
    unsigned users;
    bool told;      /* something was told in this turn */
    uint64_t until; /* when the turn should be over, in nanoseconds */
};

/* hub.c */
bool hub_reserve(struct hub *hub, size_t size);
void hub_add_todo(struct hub *hub, struct leg *leg);
void hub_remove_todo(struct hub *hub, struct leg *leg);
bool hub_watch(struct hub *hub, struct leg *leg);
void hub_forget(struct hub *hub, struct leg *leg);
void hub_enter(struct hub *hub);
void hub_leave(struct hub *hub);
void hub_release(struct hub *hub);

/* watch.c */
void leg_watch(struct leg *leg, double seconds);
void leg_unwatch(struct leg *leg);
void leg_watch_taking(struct leg *leg);
void hub_timer_rang(struct hub *hub);
bool hub_must_look(const struct hub *hub);
void hub_look(struct hub *hub);

/* tls.c */
ssize_t tls_receive(struct leg *leg);
void tls_write(struct leg *leg, const uint8_t *data, size_t size);
void tls_say_goodbye(struct leg *leg);

/* splice.c */
bool leg_may_splice(const struct leg *leg);
ssize_t leg_splice(struct leg *leg);
bool pipe_flush(struct leg *leg);
void pipe_drop(struct leg *leg);
void pipes_free(struct hub *hub);

/* leg.c */
void leg_ready(struct leg *leg, uint32_t events, bool later);
void leg_go_on(struct leg *leg);
void leg_feed(struct leg *leg, const uint8_t *data, size_t size);
ssize_t leg_receive(struct leg *leg);
void leg_was_read(struct leg *leg, ssize_t n);
void leg_take(struct leg *leg, size_t size);
void leg_take_over(struct leg *leg, const uint8_t *data, size_t size);
void leg_lose(struct leg *leg);
void leg_put(struct leg *leg, const uint8_t *data, size_t size);
void leg_write(struct leg *leg, const uint8_t *data, size_t size);
void leg_send_own(struct leg *leg, const uint8_t *frame, size_t size);
bool leg_inject(struct leg *leg, const uint8_t *frame, size_t size);
void leg_update(struct leg *leg);
bool leg_is_paused(const struct leg *leg);
bool leg_is_throttled(const struct leg *leg);
void leg_shut(struct leg *leg);
void leg_let_go(struct leg *leg);
bool leg_is_mid_frame(const struct leg *leg);
bool leg_takes_data(const struct leg *leg);
void leg_at_boundary(struct leg *leg);
void leg_block(struct leg *leg);
void leg_unblock(struct leg *leg);
void leg_keep(struct leg *leg, struct buffer *buffer, const uint8_t *data, size_t size);
void leg_break(struct leg *leg);

#endif
