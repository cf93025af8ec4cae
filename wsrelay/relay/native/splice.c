/*
 * Long payloads are moved from socket to socket inside the kernel, through a pipe: once the
 * header of a long frame has been read, nobody has to look at the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "pump.h"

enum { MIN_SPLICE = 64 * 1024 }; /* payload bytes to come below which copying is as good */
enum { PIPE_SIZE = 1024 * 1024 }; /* bytes moved at once, and so what may wait in the kernel */
enum { MAX_PIPES = 32 };         /* open at a time; the kernel limits them by user */

static struct pipe *take_pipe(struct hub *hub)
{
    struct pipe *pipe = hub->pipes;
    if (pipe) {
        hub->pipes = pipe->next;
        return pipe;
    }
    if (hub->pipe_count == MAX_PIPES || !(pipe = calloc(1, sizeof *pipe)))
        return NULL;
    if (pipe2(pipe->ends, O_NONBLOCK | O_CLOEXEC) < 0) {
        free(pipe);
        return NULL;
    }
    fcntl(pipe->ends[1], F_SETPIPE_SZ, PIPE_SIZE); /* smaller is slower, no more */
    hub->pipe_count++;
    return pipe;
}

static void give_pipe(struct hub *hub, struct pipe *pipe)
{
    pipe->next = hub->pipes;
    hub->pipes = pipe;
}

static void close_pipe(struct hub *hub, struct pipe *pipe)
{
    close(pipe->ends[0]);
    close(pipe->ends[1]);
    free(pipe);
    hub->pipe_count--;
}

void pipes_free(struct hub *hub)
{
    while (hub->pipes) {
        struct pipe *pipe = hub->pipes;
        hub->pipes = pipe->next;
        close_pipe(hub, pipe);
    }
}

void pipe_drop(struct leg *leg)
{
    if (leg->pipe)
        close_pipe(leg->pump->hub, leg->pipe);
    leg->pipe = NULL;
}

/* Send what is in the pipe; true when it is all gone. */
bool pipe_flush(struct leg *leg)
{
    struct pipe *pipe = leg->pipe;
    while (pipe->size) {
        ssize_t n = splice(pipe->ends[0], NULL, leg->fd, NULL, pipe->size,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            leg_block(leg);
            return false;
        }
        if (n <= 0) {
            leg_break(leg);
            return false;
        }
        pipe->size -= n;
        leg->sent += n;
    }
    leg->pipe = NULL;
    give_pipe(leg->pump->hub, pipe);
    return true;
}

bool leg_may_splice(const struct leg *leg)
{
    const struct leg *far = leg->far;
    return leg->scanner.left >= MIN_SPLICE && ws_room(&leg->scanner) >= MIN_SPLICE &&
           !leg->tls.ssl && !far->tls.ssl &&
           leg_takes_data(far) && !far->blocked && !far->gone && !far->broken && !far->shut &&
           !leg->shut && !leg->broken;
}

/*
 * Move payload of the frame that is passed on in pieces; like recv, returns how much, or 0
 * at the end of the stream, or -1 with errno.
 */
ssize_t leg_splice(struct leg *leg)
{
    struct hub *hub = leg->pump->hub;
    struct leg *far = leg->far;
    struct pipe *pipe = take_pipe(hub);
    if (!pipe)
        return leg_receive(leg);
    size_t size = leg->scanner.left < PIPE_SIZE ? leg->scanner.left : PIPE_SIZE;
    uint64_t room = ws_room(&leg->scanner);
    if (size > room)
        size = room;
    ssize_t n = splice(leg->fd, NULL, pipe->ends[1], NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n <= 0) {
        give_pipe(hub, pipe);
        return n;
    }
    leg->received += n;
    ws_pay(&leg->scanner, n);
    leg->last_data = hub->now;
    pipe->size = n;
    far->pipe = pipe;
    pipe_flush(far);
    if (ws_pass(&leg->scanner, n))
        leg_at_boundary(far);
    return n;
}
