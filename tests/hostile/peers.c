/* Writes what a node's peers get when it reports hostile things of itself: map responses, one a line, for
 * tests/golang/decode, which decodes them as official clients do.
 *
 * usage: hostile_peers [CASES [SEED]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "crypto/crypto.h"
#include "hostile/world.h"
#include "support/test_random.h"
#include "support/test_file.h"

enum { CASES = 4000, FULL_MAP_EVERY = 64 };

struct hostile {
    struct test_random random;
    struct arena vectors;
    const struct json *seeds[64]; /* bodies of requests that official clients sent */
    size_t seed_n;
    struct state *st;
    struct netmap_ctx ctx;
    unsigned taken;
};

static uint32_t below(struct hostile *h, uint32_t n)
{
    return test_random_below(&h->random, n);
}

/* --- making requests --- */

static const char *const values[] = {
    "7",
    "-1",
    "0",
    "65535",
    "65536",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "1.5",
    "1e400",
    "-0.0",
    "1e-400",
    "true",
    "false",
    "null",
    "\"\"",
    "\"x\"",
    "\"unset\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\xff\xfe\"",
    "\"\xc3\"",
    "\"a\\nb\\u202ec\\u001b[2J\"",
    "\"<script>&\\u2028\"",
    "[]",
    "[null]",
    "[7]",
    "[\"x\"]",
    "[[]]",
    "[{}]",
    "[{\"Proto\":7}]",
    "[{\"Proto\":\"peerapi4\",\"Port\":-1}]",
    "[{\"Proto\":\"peerapi4\",\"Port\":65536}]",
    "[{\"Proto\":\"peerapi4\",\"Port\":1.0}]",
    "[{\"Proto\":\"peerapi4\",\"Port\":1,\"Description\":[]}]",
    "[{\"proto\":\"peerapi6\",\"PORT\":65535}]",
    "{}",
    "{\"a\":1}",
    "{\"City\":7}",
    "{\"Latitude\":\"1\"}",
    "{\"Latitude\":1e308,\"Priority\":1.5}",
    "{\"Priority\":2147483648}",
    "{\"Country\":{\"x\":[]}}",
    "\"10.0.0.0/8\"",
    "[\"10.0.0.0/8\",\"::/129\"]",
    "[\"1.2.3.4:5\",\"[fe80::1%eth0]:1\",\"x\"]",
    "\"nodekey:00\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59-23:59\"",
    "[\"ssh-ed25519 AAAA\\n* ssh-rsa BBBB\"]",
};

static const char *const names[] = {
    "IPNVersion",    "OS",           "OSVersion",  "Container",   "Distro",         "App",          "Desktop",
    "Hostname",      "ShieldsUp",    "ShareeNode", "WireIngress", "IngressEnabled", "AllowsUpdate", "RoutableIPs",
    "RequestTags",   "WoLMACs",      "Services",   "NetInfo",     "sshHostKeys",    "Cloud",        "Userspace",
    "AppConnector",  "ServicesHash", "PeerRelay",  "ExitNodeID",  "Location",       "TPM",          "StateEncrypted",
    "PreferredDERP", "SSH_HostKeys", "os",         "SERVICES",    "location",       "Unknown",
};

static void write_hostile(struct hostile *h, struct json_writer *w)
{
    json_w_raw(w, str_c(values[below(h, ARRAY_LEN(values))]));
}

static void write_extra(struct hostile *h, struct json_writer *w)
{
    for (uint32_t n = below(h, 4); n > 0; n--) {
        json_w_key(w, names[below(h, ARRAY_LEN(names))]);
        write_hostile(h, w);
    }
}

/* The value, or something else in its place; also below. */
static void write_mutated(struct hostile *h, struct json_writer *w, const struct json *v, unsigned depth)
{
    enum json_type type = json_type_of(v);
    if (below(h, depth == 0 ? 40 : 12) == 0) {
        write_hostile(h, w);
    } else if (type == JSON_OBJECT) {
        json_w_object(w);
        JSON_EACH (m, v) {
            json_w_key_str(w, json_key_of(m));
            write_mutated(h, w, m, depth + 1);
        }
        write_extra(h, w);
        json_w_end_object(w);
    } else if (type == JSON_ARRAY) {
        json_w_array(w);
        JSON_EACH (m, v)
            write_mutated(h, w, m, depth + 1);
        if (below(h, 4) == 0)
            write_hostile(h, w);
        json_w_end_array(w);
    } else {
        json_w_tree(w, v);
    }
}

/* The members that decide whether the request counts are left as they are. */
static void write_request(struct hostile *h, unsigned node, struct buf *out)
{
    struct json_writer w;
    char text[KEY_TEXT_CAP];
    node_key key;
    const struct json *seed = h->seeds[below(h, (uint32_t)h->seed_n)];
    static const char *const parts[] = {"Hostinfo", "Endpoints", "EndpointTypes", "TKAHead", "ConnectionHandleForTest"};
    world_key(node, &key);
    node_key_format(&key, text);
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_u64(&w, "Version", 113 + below(h, 40));
    json_w_kv_cstr(&w, "NodeKey", text);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct json *v = json_get(seed, parts[i]);
        if (v == NULL)
            continue;
        json_w_key(&w, parts[i]);
        write_mutated(h, &w, v, 0);
    }
    json_w_end_object(&w);
    /* Bytes that are no longer JSON or UTF-8. */
    if (below(h, 8) == 0 && buf_len(out) > 0)
        buf_at(out)[below(h, (uint32_t)buf_len(out))] = (uint8_t)below(h, 256);
}

/* --- the maps that peers get --- */

static bool apply(struct hostile *h, unsigned node, struct str body)
{
    struct arena a = {0};
    struct map_request req;
    machine_key machine;
    node_key key;
    const struct node *n;
    struct node_report report;
    bool is_taken = tailcfg_map_request_parse(&a, body, &req, NULL) == RC_OK;
    world_machine(node, &machine);
    world_key(node, &key);
    if (is_taken) {
        world_report(&report, req.version, &req.hostinfo);
        report.disco = key_is_zero(req.disco.b) ? NULL : &req.disco;
        report.endpoints = req.endpoints;
        report.endpoints_n = req.endpoints_n;
        CHECK(state_node_report(h->st, &key, &machine, &report, &n) == RC_OK);
        world_report_fini(&report);
    }
    arena_fini(&a);
    return is_taken;
}

static void publish(struct hostile *h, struct buf *out)
{
    struct netmap_pieces pieces = {0};
    struct change *c = state_publish(h->st, WORLD_NOW_MS);
    if (c == NULL)
        return;
    netmap_delta(&h->ctx, c, 1, NETMAP_PLAIN, &pieces);
    world_lines(&pieces, false, out);
    netmap_pieces_fini(&pieces);
    change_unref(&c);
}

static void settle(struct hostile *h)
{
    state_settle(h->st, WORLD_NOW_MS);
    struct row_batch *b = state_take_batch(h->st);
    if (b == NULL)
        return;
    state_committed(h->st, b->seq);
    row_batch_destroy(&b);
}

static void start(struct hostile *h)
{
    char keys[3][AUTH_KEY_TEXT_CAP];
    const struct json *root;
    struct buf text = test_file_read(VECTORS_DIR, "captured_requests.json");
    CHECK(json_parse(&h->vectors, arena_str(&h->vectors, buf_str(&text)), NULL, &root, NULL) == RC_OK);
    buf_fini(&text);
    JSON_EACH (r, json_get(root, "requests")) {
        const struct json *body = json_get(r, "body");
        if (json_get(body, "Hostinfo") != NULL && h->seed_n < ARRAY_LEN(h->seeds))
            h->seeds[h->seed_n++] = body;
    }
    CHECK(h->seed_n > 0);
    h->st = world_state();
    world_people(h->st, keys);
    for (unsigned i = 0; i < WORLD_NODES; i++)
        CHECK(world_join(h->st, i, keys[i % 3]) != NULL);
    settle(h);
    struct change *c = state_publish(h->st, WORLD_NOW_MS);
    change_unref(&c);
}

int main(int argc, char **argv)
{
    struct hostile h = {.random = {.state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1}};
    unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 10) : CASES;
    struct buf body = {0}, out = {0};
    crypto_init();
    start(&h);
    for (unsigned long i = 0; i < cases; i++) {
        unsigned node = 1 + (unsigned)(i % (WORLD_NODES - 1)); /* node 0, with id 1, is the viewer */
        buf_clear(&body);
        write_request(&h, node, &body);
        h.taken += apply(&h, node, buf_str(&body));
        settle(&h);
        publish(&h, &out);
        if (i % FULL_MAP_EVERY == 0)
            world_map(&h.ctx, h.st, 1, &out);
        fwrite(buf_at(&out), 1, buf_len(&out), stdout);
        buf_clear(&out);
    }
    fprintf(stderr, "%lu requests, %u taken\n", cases, h.taken);
    CHECK(cases == 0 || h.taken > cases / 2);
    netmap_ctx_fini(&h.ctx);
    state_destroy(&h.st);
    arena_fini(&h.vectors);
    buf_fini(&body);
    buf_fini(&out);
    return 0;
}
