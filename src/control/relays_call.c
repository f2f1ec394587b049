/* A request of a relay on another machine: reads its key, lets it wait for the core, answers it. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "control/relays_internal.h"
#include "crypto/crypto.h"

LOG_MODULE("relays");

enum { REQUEST_MAX_BYTES = 4096 };

void relays_call_destroy(struct relays_call *c)
{
    list_remove(&c->link);
    secret_wipe((void *)c->key.p, c->key.len);
    secret_wipe(c->reply.data, c->reply.cap);
    buf_fini(&c->reply);
    arena_fini(&c->arena);
    mem_free(c);
}

/* The password of "Basic" credentials, in the arena; empty when there is none. src: RFC 7617 2 */
static struct str basic_password(struct arena *a, struct str coded)
{
    struct str name, password;
    size_t n;
    uint8_t *text = arena_alloc(a, coded.len + 1);
    if (base64_decode(coded.p, coded.len, false, text, coded.len, &n) != RC_OK)
        return STR_EMPTY;
    return str_cut(str_n(text, n), ':', &name, &password) ? password : STR_EMPTY;
}

/* In the arena. */
static struct str find_key(struct arena *a, const struct http_request *req)
{
    struct str value;
    if (!http_header(req, "authorization", &value))
        return STR_EMPTY;
    if (str_starts(value, STR("Bearer ")))
        return arena_str(a, str_trim(str_n(value.p + 7, value.len - 7)));
    if (str_starts(value, STR("Basic ")))
        return basic_password(a, str_trim(str_n(value.p + 6, value.len - 6)));
    return STR_EMPTY;
}

struct relays_call *relays_call_create(struct control_worker *w, struct http_exchange *ex,
                                       const struct http_events *events)
{
    struct relays_call *c = MEM_NEW(struct relays_call);
    c->ex = ex;
    c->worker = w;
    c->job.tailnet = core_tailnet_of_host(w->control->core, http_request(ex)->authority);
    c->job.home = w->loop;
    c->job.kind = JOB_LOCAL;
    list_init(&c->link);
    c->key = find_key(&c->arena, http_request(ex));
    http_set_events(ex, events, c);
    return c;
}

/* --- which sender a request is charged to --- */

static uint64_t hash_key(const struct relays_call *c)
{
    uint64_t seed[2];
    memcpy(seed, c->worker->control->relay_seed, sizeof(seed));
    return siphash13(seed, c->key.p, c->key.len);
}

static bool is_seen(const struct control_worker *w, uint64_t hash)
{
    for (size_t i = 0; i < RELAYS_SEEN_MAX; i++) {
        if (w->relays_seen[i] == hash)
            return hash != 0;
    }
    return false;
}

void relays_call_note_seen(const struct relays_call *c)
{
    struct control_worker *w = c->worker;
    uint64_t hash = hash_key(c);
    if (c->key.len == 0)
        return;
    if (!is_seen(w, hash))
        w->relays_seen[w->relays_seen_next++ % RELAYS_SEEN_MAX] = hash;
    if (c->ex != NULL)
        http_know(c->ex, &hash, sizeof(hash));
}

void relays_call_post(struct relays_call *c)
{
    uint64_t hash = hash_key(c);
    struct waiting_sender sender = is_seen(c->worker, hash) ? waiting_sender_key(WAIT_NODE, &hash, sizeof(hash))
                                                            : waiting_sender_address(&http_request(c->ex)->peer);
    if (core_offer(c->worker->control->core, &c->job, &sender, sizeof(*c) + c->arena.held_bytes))
        return;
    control_respond_busy(c->ex);
    relays_call_destroy(c);
}

const struct json *relays_call_body(struct relays_call *c)
{
    static const struct json_limits limits = {.max_bytes = REQUEST_MAX_BYTES, .max_depth = 8, .max_nodes = 256};
    const struct json *body = NULL;
    if (json_parse(&c->arena, arena_str(&c->arena, http_request(c->ex)->body), &limits, &body, NULL) != RC_OK ||
        json_type_of(body) != JSON_OBJECT)
        return NULL;
    return body;
}

void relays_call_respond(struct relays_call *c, struct str json)
{
    http_set_header(c->ex, "Cache-Control", STR("no-store"));
    http_respond(c->ex, 200, "application/json", json);
}

void relays_call_respond_bad(struct relays_call *c, struct metric *count, const char *text)
{
    metric_inc(count);
    http_respond_text(c->ex, 400, text);
    relays_call_destroy(c);
}

void relays_call_respond_denied(struct relays_call *c, struct metric *count)
{
    char from[ADDR_TEXT_CAP];
    metric_inc(count);
    addr_format(&http_request(c->ex)->peer, false, from);
    log_limited(LOG_WARN, "a relay whose key is not known here", LOG_S("from", from));
    http_respond_text(
        c->ex, 401,
        "the relay's key is not known here: enrol the relay with `fullscale relays create NAME` and give it "
        "the key that this shows");
}
