#include "relay/relay.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "crypto/crypto.h"
#include "relay/client_internal.h"
#include "relay/relay_internal.h"

LOG_MODULE("relay");

static int64_t or_default(int64_t v, int64_t fallback)
{
    return v == 0 ? fallback : v;
}

/* An eighth, but no more than the clients of a tailnet need when all of them come back at once. */
static unsigned login_share(unsigned max_conns)
{
    enum { MIN = 16, MAX = 4096 };
    unsigned share = max_conns / 8;
    return share < MIN ? MIN : share > MAX ? MAX : share;
}

static unsigned key_share(unsigned max_conns)
{
    enum { MAX = 16 };
    unsigned share = max_conns / 4 + 1;
    return share < MAX ? share : MAX;
}

static void take_opts(struct relay *relay, const struct relay_opts *opts)
{
    enum { QUEUE_MIN_BYTES = 128 * 1024, BURST_MIN_BYTES = 128 * 1024, RATE_MIN_BYTES = 16 * 1024 };
    relay->key = opts->key;
    relay->opts = *opts;
    secret_wipe(&relay->opts.key, sizeof(relay->opts.key));
    struct relay_opts *o = &relay->opts;
    o->login_timeout_ms = or_default(o->login_timeout_ms, 10 * 1000);
    o->write_timeout_ms = or_default(o->write_timeout_ms, 2 * 1000);
    o->keep_alive_ms = or_default(o->keep_alive_ms, 60 * 1000);
    o->ping_ms = or_default(o->ping_ms, 30 * 1000);
    if (o->queue_bytes == 0)
        o->queue_bytes = 256 * 1024;
    if (o->queue_bytes < QUEUE_MIN_BYTES)
        o->queue_bytes = QUEUE_MIN_BYTES;
    o->client_burst_bytes = or_default(o->client_burst_bytes, 1024 * 1024);
    if (o->client_burst_bytes < BURST_MIN_BYTES)
        o->client_burst_bytes = BURST_MIN_BYTES;
    if (o->client_rate_bytes > 0 && o->client_rate_bytes < RATE_MIN_BYTES)
        o->client_rate_bytes = RATE_MIN_BYTES;
    metric_set(&relay_gauge_rate, o->client_rate_bytes);
    metric_set(&relay_gauge_burst, o->client_rate_bytes > 0 ? o->client_burst_bytes : 0);
    if (o->max_conns == 0)
        o->max_conns = 100 * 1000;
    if (o->max_logins == 0)
        o->max_logins = login_share(o->max_conns);
    if (o->max_logins_per_address == 0)
        o->max_logins_per_address = o->max_logins / 4 + 1;
    if (o->max_conns_per_key == 0)
        o->max_conns_per_key = key_share(o->max_conns);
    if (o->max_gone_sources == 0)
        o->max_gone_sources = 1024;
    if (o->max_mesh_keys == 0)
        o->max_mesh_keys = 1000 * 1000;
    if (o->mesh_queue_bytes == 0)
        o->mesh_queue_bytes = 2 * 1024 * 1024;
}

struct relay *relay_create(const struct relay_opts *opts, const struct relay_ops *ops, struct loop *const *loops,
                           unsigned loop_n)
{
    assert(loop_n > 0);
    struct relay *relay = MEM_NEW(struct relay);
    take_opts(relay, opts);
    private_key_public(&relay->key, relay->public_key);
    if (ops != NULL)
        relay->ops = *ops;
    directory_init(&relay->directory);
    messages_init(&relay->messages, worker_message_handlers);
    relay->on_batch = packet_deliver_batch;
    mesh_init(&relay->mesh);
    relay->worker_n = loop_n;
    relay->workers = mem_zalloc(loop_n, sizeof(*relay->workers));
    for (unsigned i = 0; i < loop_n; i++)
        worker_init(&relay->workers[i], relay, loops[i], i);
    places_init(relay);
    return relay;
}

void relay_destroy(struct relay **at)
{
    struct relay *relay = *at;
    *at = NULL;
    if (relay == NULL)
        return;
    relay->is_ending = true;
    mesh_fini(&relay->mesh);
    for (unsigned i = 0; i < relay->worker_n; i++)
        worker_fini(&relay->workers[i]);
    messages_fini(&relay->messages); /* what the stopped loops have not run */
    places_fini(relay);
    mem_free(relay->workers);
    directory_fini(&relay->directory);
    mem_free_secret(relay, sizeof(*relay));
}

const uint8_t *relay_public_key(const struct relay *relay)
{
    return relay->public_key;
}

bool relay_is_draining(const struct relay *relay)
{
    return atomic_load_explicit(&relay->is_draining, memory_order_relaxed);
}

bool relay_has_room(const struct relay *relay)
{
    return !relay_is_draining(relay) &&
           atomic_load_explicit(&relay->member_n, memory_order_relaxed) < relay->opts.max_conns;
}

unsigned relay_client_count(const struct relay *relay)
{
    return atomic_load_explicit(&relay->client_n, memory_order_relaxed);
}

enum rc relay_mesh_key_parse(struct str text, uint8_t out[32])
{
    uint8_t key[32];
    enum rc rc = hex_decode(str_trim(text), key, sizeof(key));
    if (rc == RC_OK && key_is_zero(key))
        rc = RC_INVALID;
    if (rc == RC_OK)
        memcpy(out, key, sizeof(key));
    secret_wipe(key, sizeof(key));
    return rc;
}

/* --- Requests to the workers --- */

void relay_admit(struct relay_admission *login, bool is_allowed)
{
    login->is_allowed = is_allowed;
    message_post(&login->base);
}

void relay_put_off(struct relay_admission *login)
{
    login->is_put_off = true;
    message_post(&login->base);
}

void relay_close_key(struct relay *relay, const node_key *key)
{
    message_post_close_key(relay, key, false);
}

void relay_ask_again(struct relay *relay)
{
    for (unsigned i = 0; i < relay->worker_n && relay->ops.admit != NULL; i++)
        message_post(message_create(&relay->workers[i], MSG_ASK_AGAIN));
}

void relay_drain(struct relay *relay, int64_t over_ms)
{
    atomic_store(&relay->is_draining, true);
    for (unsigned i = 0; i < relay->worker_n; i++) {
        struct drain_message *m = message_create(&relay->workers[i], MSG_DRAIN);
        m->over_ms = over_ms;
        message_post(&m->base);
    }
    log_info("draining", LOG_U("clients", relay_client_count(relay)), LOG_I("over_ms", over_ms));
}

/* --- New connections --- */

static struct relay_worker *worker_of(struct relay *relay, const struct loop *loop)
{
    unsigned i = 0;
    while (i < relay->worker_n && relay->workers[i].loop != loop)
        i++;
    assert(i < relay->worker_n); /* a stream of a loop that is not the relay's */
    return &relay->workers[i];
}

/* A new connection takes the place of the one that has been logging in for longest, rather than be refused: a client
 * that logs in without delay always gets in. */
static bool take_place(struct relay_worker *w, const struct addr *from, struct budget_place *out)
{
    struct client *oldest;
    if (places_take(w, from, out, &oldest))
        return true;
    if (oldest == NULL)
        return false;
    client_close(oldest, COUNT_CLOSED_LOGIN_LIMIT, false);
    return places_take(w, from, out, &oldest);
}

void relay_attach(struct relay *relay, struct stream *s, const void *leftover, size_t leftover_len, bool is_not_ideal)
{
    struct relay_worker *w = worker_of(relay, s->loop);
    worker_touch(w);
    if (relay_is_draining(relay)) {
        stats_add(&w->stats, COUNT_CLOSED_DRAINING, 1);
        stream_close(&s, false);
        return;
    }
    struct budget_place place;
    if (!take_place(w, &s->peer, &place)) {
        stats_add(&w->stats, COUNT_CLOSED_LIMIT, 1);
        log_limited(LOG_WARN, "too many connections that have not logged in", LOG_U("limit", relay->opts.max_logins));
        stream_close(&s, false);
        return;
    }
    client_create(w, s, &place, leftover, leftover_len, is_not_ideal);
}

void relay_test_advance(struct relay *relay, int64_t ms)
{
    for (unsigned i = 0; i < relay->worker_n; i++) {
        relay->workers[i].test_skew_ms += ms;
        worker_tick(&relay->workers[i]);
        mesh_tick(&relay->workers[i]);
        rate_tick(&relay->workers[i]);
    }
}
