/*
 * What Python sees of the native pump; read by the C compiler and by CFFI alike, so there
 * are no preprocessor lines here.  See wsrelay/relay/native_pump.py for the other side.
 *
 * side is 0 for the client, 1 for the upstream.
 */

/* Rules that a frame can break; wsrelay.wire.faults.Fault has the same, with the texts. */
enum ws_fault {
    WS_RESERVED_OPCODE,
    WS_CONTROL_BITS,
    WS_CONTROL_FRAGMENT,
    WS_NESTED_MESSAGE,
    WS_STRAY_CONTINUATION,
    WS_DATA_BITS,
    WS_NOT_MASKED,
    WS_MASKED,
    WS_LONG_CONTROL,
    WS_HALF_CODE,
    WS_LONG_FORM,
    WS_TOP_BIT,
    WS_BIG_FRAME,
    WS_BIG_MESSAGE,
    WS_MANY_MESSAGES,
    WS_MANY_BYTES
};

struct hub;
struct pump;

/* So many a second, and up to burst at once; 0 a second for no limit. */
struct ws_pace {
    double per_second;
    double burst;
};

/* How one direction is checked; UINT64_MAX for no limit. */
struct ws_limits {
    uint64_t whole_frames;
    uint64_t max_frame;
    uint64_t max_message;
    struct ws_pace messages;
    struct ws_pace bytes;
    int throttles; /* what is more than a pace allows waits, and is no fault */
};

/*
 * What a hub tells, always with the pump's owner.  Called inside hub_turn, pump_start and
 * pump_take_over only; every other function but those may be called from it.
 */
typedef void (*told_control)(void *owner, int side, const uint8_t *frame, size_t size);
typedef void (*told_fault)(void *owner, int side, enum ws_fault fault, uint64_t detail);
typedef void (*told_lost)(void *owner, int side);
typedef void (*told_slow)(void *owner, int side);

/* Return NULL, with errno set, when there is no descriptor or no memory. */
struct hub *hub_new(told_control control, told_fault fault, told_lost lost, told_slow slow);
void hub_free(struct hub *hub);
int hub_descriptor(const struct hub *hub);
int hub_turn(struct hub *hub, double now, int reactor, double patience);

/* What the pump needs of OpenSSL, which cryptography brings; see OpenSSL's pages by these names. */
struct tls_functions {
    int (*ssl_read)(void *ssl, void *data, int size);
    int (*ssl_write)(void *ssl, const void *data, int size);
    int (*ssl_get_error)(const void *ssl, int result);
    int (*ssl_shutdown)(void *ssl);
    int (*bio_read)(void *bio, void *data, int size);
    int (*bio_write)(void *bio, const void *data, int size);
    void (*err_clear_error)(void);
};

/* Return -1 when there is no memory. */
int hub_set_tls(struct hub *hub, const struct tls_functions *functions);

struct pump *pump_new(struct hub *hub, void *owner, int client, int upstream, uint8_t bits,
                      const struct ws_limits *up, const struct ws_limits *down);
void pump_free(struct pump *pump);
void pump_start(struct pump *pump, double now, const uint8_t *head, size_t head_size,
               const uint8_t *from_client, size_t from_client_size, const uint8_t *from_upstream,
               size_t from_upstream_size);
/* Take what somebody else had read of a leg already; called after pump_start, outside hub_turn. */
void pump_take_over(struct pump *pump, double now, int side, const uint8_t *data, size_t size);
/* Tell of a leg that takes nothing for so many seconds while something waits for it. */
void pump_set_patience(struct pump *pump, double seconds);
void pump_set_tls(struct pump *pump, int side, void *ssl, void *in, void *out);
void pump_send(struct pump *pump, int side, const uint8_t *frame, size_t size);
/* Send a data message between two of the other leg's; 0 when it is not taken. */
int pump_inject(struct pump *pump, double now, int side, const uint8_t *frame, size_t size);
void pump_finish(struct pump *pump, int side);
void pump_shut(struct pump *pump, int side);
void pump_let_go(struct pump *pump, int side);

int pump_is_cut(const struct pump *pump, int side);
int pump_is_paused(const struct pump *pump, int side);
int pump_is_waiting(const struct pump *pump, int side);
uint64_t pump_messages(const struct pump *pump, int side);
uint64_t pump_binary_messages(const struct pump *pump, int side);
uint64_t pump_payload(const struct pump *pump, int side);
uint64_t pump_received(const struct pump *pump, int side);
uint64_t pump_sent(const struct pump *pump, int side);
uint64_t pump_stalls(const struct pump *pump, int side);
double pump_last_data(const struct pump *pump);

/* All that a pump counts; wsrelay.relay.pump.Totals has the same numbers in this order. */
struct ws_totals {
    uint64_t client_messages, client_binary_messages, client_payload;
    uint64_t client_received, client_sent, client_pauses;
    uint64_t upstream_messages, upstream_binary_messages, upstream_payload;
    uint64_t upstream_received, upstream_sent, upstream_pauses;
    uint64_t buffered, throttles;
};
void pump_totals(const struct pump *pump, struct ws_totals *totals);

/* For tests: one direction's scanner by itself. */
struct ws_scanner;
struct ws_scanner *scanner_new(int masked, uint8_t bits, const struct ws_limits *limits);
void scanner_free(struct ws_scanner *scanner);
int scanner_scan(struct ws_scanner *scanner, const uint8_t *data, size_t size, size_t *position,
                 size_t *extent);
enum ws_fault scanner_fault(const struct ws_scanner *scanner);
uint64_t scanner_detail(const struct ws_scanner *scanner);
void scanner_fill(struct ws_scanner *scanner, double now);
uint64_t scanner_pay(struct ws_scanner *scanner, uint64_t size);
int scanner_go_over(struct ws_scanner *scanner);
double scanner_wait(const struct ws_scanner *scanner);
uint64_t scanner_need(const struct ws_scanner *scanner);
uint64_t scanner_left(const struct ws_scanner *scanner);
uint64_t scanner_messages(const struct ws_scanner *scanner);
uint64_t scanner_binary_messages(const struct ws_scanner *scanner);
uint64_t scanner_payload(const struct ws_scanner *scanner);
