/* The life of map sessions without their connections: the input is a list of events (a node registers, polls,
 * reports whatever Hostinfo the input has, loses its poll, is deleted, the key that let it in expires), each
 * followed by what a watcher is sent. All of that is JSON with members of the right types, a change costs a
 * bounded number of messages, and memory is bounded by what was said. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/fuzz_bounds.h"
#include "base/log.h"
#include "codec/json.h"
#include "control/control_internal.h"
#include "crypto/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MACHINES = 5, WATCHER = 0, SAID_MAX = 2048, MESSAGES_MAX = 8, STEPS_MAX = 200 };

static const int64_t start_ms = 1700000000000;

struct run {
    struct state *st;
    struct netmap_ctx ctx;
    char key[AUTH_KEY_TEXT_CAP];
    int64_t now_ms;
    unsigned polls[MACHINES];
};

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

static void names_of(unsigned i, node_key *key, machine_key *machine)
{
    *key = (node_key){.b = {1, (uint8_t)i, [31] = 7}};
    *machine = (machine_key){.b = {2, (uint8_t)i, [31] = 7}};
}

/* --- what is sent --- */

static bool is_type(const struct json *obj, const char *key, enum json_type type)
{
    const struct json *v = json_get_exact(obj, key);
    return v == NULL || json_type_of(v) == type;
}

static void check_peer(const struct json *peer)
{
    const struct json *h = json_get_exact(peer, "Hostinfo");
    int64_t port;
    check(json_type_of(json_get_exact(peer, "Name")) == JSON_STRING);
    check(is_type(peer, "Hostinfo", JSON_OBJECT) && is_type(peer, "Endpoints", JSON_ARRAY));
    check(is_type(h, "OS", JSON_STRING) && is_type(h, "OSVersion", JSON_STRING) &&
          is_type(h, "Hostname", JSON_STRING) && is_type(h, "App", JSON_STRING) && is_type(h, "ShieldsUp", JSON_BOOL) &&
          is_type(h, "WireIngress", JSON_BOOL) && is_type(h, "IngressEnabled", JSON_BOOL) &&
          is_type(h, "PeerRelay", JSON_BOOL) && is_type(h, "AppConnector", JSON_BOOL) &&
          is_type(h, "sshHostKeys", JSON_ARRAY) && is_type(h, "Location", JSON_OBJECT) &&
          is_type(h, "Services", JSON_ARRAY));
    JSON_EACH (s, json_get_exact(h, "Services"))
        check(json_i64(json_get_exact(s, "Port"), &port) && port >= 0 && port <= UINT16_MAX);
    JSON_EACH (k, json_get_exact(h, "sshHostKeys"))
        check(json_type_of(k) == JSON_STRING);
}

static void check_message(struct str text)
{
    struct arena a = {0};
    const struct json *root;
    static const struct json_limits limits = {
        .max_bytes = 1 << 24, .max_depth = 32, .max_nodes = 1 << 20, .strict_text = true};
    check(json_parse(&a, text, &limits, &root, NULL) == RC_OK);
    JSON_EACH (peer, json_get_exact(root, "Peers"))
        check_peer(peer);
    JSON_EACH (peer, json_get_exact(root, "PeersChanged"))
        check_peer(peer);
    arena_fini(&a);
}

static void check_pieces(struct netmap_pieces *p, bool is_one)
{
    struct buf all = {0};
    check(is_one || p->n <= MESSAGES_MAX);
    for (size_t i = 0; i < p->n; i++) {
        buf_append(&all, p->items[i]->data, p->items[i]->len);
        if (is_one && i + 1 < p->n)
            continue;
        check_message(str_n(buf_at(&all) + 4, buf_len(&all) - 4));
        buf_clear(&all);
    }
    buf_fini(&all);
    netmap_pieces_fini(p);
}

static void publish(struct run *r)
{
    struct netmap_pieces pieces = {0};
    state_settle(r->st, r->now_ms);
    struct row_batch *b = state_take_batch(r->st);
    if (b != NULL)
        state_committed(r->st, b->seq);
    row_batch_destroy(&b);
    struct change *c = state_publish(r->st, r->now_ms);
    if (c == NULL)
        return;
    netmap_delta(&r->ctx, c, 1, NETMAP_PLAIN, &pieces);
    check_pieces(&pieces, false);
    change_unref(&c);
}

/* --- events --- */

static void enroll(struct run *r, unsigned i)
{
    struct register_result result;
    struct registration reg = {.auth_key = str_c(r->key), .random = {(uint8_t)i, 9}};
    names_of(i, &reg.key, &reg.machine);
    reg.report.hostname = STR("node");
    state_register(r->st, &reg, r->now_ms, &result);
}

static void report(struct run *r, unsigned i, struct str said, bool is_poll)
{
    struct arena a = {0};
    struct map_request req;
    struct node_report report = {0};
    struct str body = str_c(arena_printf(&a, "{\"Version\":142,\"Endpoints\":[\"192.0.2.%u:1\"],\"Hostinfo\":%.*s}",
                                         (unsigned)said.len % 200, STR_ARG(said)));
    node_key key;
    machine_key machine;
    const struct node *n;
    names_of(i, &key, &machine);
    if (tailcfg_map_request_parse(&a, body, &req, NULL) == RC_OK) {
        control_report_fill(&report, &a, req.version, &req.hostinfo);
        report.endpoints = req.endpoints;
        report.endpoints_n = req.endpoints_n;
        enum rc rc = is_poll ? state_poll_begin(r->st, &key, &machine, &report, r->now_ms, &n)
                             : state_node_report(r->st, &key, &machine, &report, &n);
        r->polls[i] += rc == RC_OK && is_poll;
        control_report_fini(&report);
    }
    arena_fini(&a);
}

static void end_poll(struct run *r, unsigned i)
{
    node_key key;
    machine_key machine;
    names_of(i, &key, &machine);
    const struct node *n = state_node_by_key(r->st, &key);
    if (n != NULL && r->polls[i] > 0) {
        r->polls[i]--;
        state_poll_end(r->st, n->id, r->now_ms);
    }
}

static void delete_node(struct run *r, unsigned i)
{
    node_key key;
    machine_key machine;
    names_of(i, &key, &machine);
    const struct node *n = state_node_by_key(r->st, &key);
    if (i != WATCHER && n != NULL) {
        r->polls[i] = 0;
        check(state_node_delete(r->st, n->id, NULL) == RC_OK);
    }
}

static void full_map(struct run *r)
{
    struct netmap_pieces pieces = {0};
    check(netmap_full(&r->ctx, state_snapshot(r->st), 1, NETMAP_PLAIN, true, &pieces) == RC_OK);
    check_pieces(&pieces, true);
}

/* A byte says what happens to which machine; a report takes the text up to the next line end. */
static void event(struct run *r, const uint8_t **p, const uint8_t *end)
{
    uint8_t what = *(*p)++;
    unsigned i = what / 8 % MACHINES;
    const uint8_t *line_end = memchr(*p, '\n', (size_t)(end - *p));
    struct str said = str_n(*p, (size_t)((line_end != NULL ? line_end : end) - *p));
    bool takes_text = what % 8 < 3;
    if (takes_text) {
        *p += said.len + (line_end != NULL);
        said.len = said.len < SAID_MAX ? said.len : SAID_MAX;
    }
    switch (what % 8) {
    case 0:
    case 1: report(r, i, said, false); break;
    case 2: report(r, i, said, true); break;
    case 3: enroll(r, i); break;
    case 4: end_poll(r, i); break;
    case 5: delete_node(r, i); break;
    case 6: full_map(r); break;
    default:
        r->now_ms += 60000;
        state_tick(r->st, r->now_ms);
        break;
    }
    publish(r);
}

static void begin(struct run *r)
{
    struct state_options options = {
        .v4_prefix = {.family = 4, .ip = {100, 64}}, .v4_bits = 10, .ephemeral_timeout_ms = 60000};
    struct tailnet_settings *settings = tailnet_settings_create();
    struct user_spec spec = {.name = STR("ann")};
    const struct user *user;
    const struct auth_key *key;
    uint8_t random[AUTH_KEY_RANDOM_BYTES] = {1};
    settings->derp_map_json = rcbuf_create("{}", 2);
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    *r = (struct run){.st = state_create(&options, settings), .now_ms = start_ms};
    check(state_user_create(r->st, &spec, start_ms, &user, NULL) == RC_OK);
    struct auth_key_spec how = {.user = user->id, .is_reusable = true};
    check(state_key_create(r->st, &how, random, start_ms, &key, r->key, NULL) == RC_OK);
    for (unsigned i = 0; i < MACHINES; i++)
        enroll(r, i);
    publish(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_ready;
    struct run r;
    const uint8_t *p = data, *end = data + size;
    if (!is_ready) {
        crypto_init();
        check(log_set_level(NULL, LOG_OFF) == RC_OK);
        is_ready = true;
    }
    fuzz_bounds_mark();
    begin(&r);
    for (unsigned n = 0; p < end && n < STEPS_MAX; n++)
        event(&r, &p, end);
    netmap_ctx_fini(&r.ctx);
    state_destroy(&r.st);
    /* A tailnet of five, and what one report and one map of them take. */
    fuzz_bounds_check(size, 2 << 20, 256);
    fuzz_bounds_check_steps(size, 8000000, 200);
    return 0;
}
