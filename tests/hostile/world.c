#include "hostile/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void world_check(bool is_so, const char *what)
{
    if (is_so)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

struct state *world_state(void)
{
    struct state_options options = {.v4_prefix = {.family = 4, .ip = {100, 64}},
                                    .v4_bits = 10,
                                    .v6_prefix = {.family = 6, .ip = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}},
                                    .v6_bits = 48,
                                    .ephemeral_timeout_ms = 60000};
    struct tailnet_settings *settings = tailnet_settings_create();
    settings->derp_map_json = rcbuf_create("{}", 2);
    settings->dns_config_json = rcbuf_create("{}", 2);
    settings->self_caps_json = rcbuf_create("{}", 2);
    return state_create(&options, settings);
}

void world_key(unsigned i, node_key *out)
{
    *out = (node_key){.b = {1, (uint8_t)(i >> 8), (uint8_t)i, [31] = 7}};
}

void world_machine(unsigned i, machine_key *out)
{
    *out = (machine_key){.b = {2, (uint8_t)(i >> 8), (uint8_t)i, [31] = 7}};
}

void world_report(struct node_report *out, int64_t version, const struct hostinfo *h)
{
    *out = (struct node_report){.cap_version = version > 0 && version < INT32_MAX ? (uint32_t)version : 0,
                                .home_derp = h->preferred_derp,
                                .hostname = h->hostname,
                                .hostinfo = hostinfo_for_store(h, NULL),
                                .hostinfo_peers = hostinfo_for_peers(h),
                                .routes = prefix_list_create(h->routes, h->routes_n)};
}

void world_report_fini(struct node_report *r)
{
    rcbuf_unref(&r->hostinfo);
    rcbuf_unref(&r->hostinfo_peers);
    prefix_list_unref(&r->routes);
}

const struct node *world_join(struct state *st, unsigned i, const char *auth_key)
{
    struct register_result result;
    struct registration reg = {.auth_key = str_c(auth_key), .random = {(uint8_t)i, (uint8_t)(i >> 8), 9}};
    char name[32];
    snprintf(name, sizeof(name), "node-%u", i);
    world_key(i, &reg.key);
    world_machine(i, &reg.machine);
    reg.report.hostname = str_c(name);
    reg.report.cap_version = 142;
    reg.report.home_derp = 900;
    state_register(st, &reg, WORLD_NOW_MS, &result);
    return result.outcome == REGISTER_OK ? result.node : NULL;
}

void world_people(struct state *st, char keys[3][AUTH_KEY_TEXT_CAP])
{
    static const struct str tags[] = {{"tag:web", 7}};
    struct err err = {0};
    for (unsigned i = 0; i < 3; i++) {
        const struct user *user = state_user(st, 1);
        const struct auth_key *key;
        uint8_t random[AUTH_KEY_RANDOM_BYTES] = {(uint8_t)(i + 1)};
        struct user_spec spec = {.name = i == 0 ? STR("ann") : STR("bob"), .email = STR("x@example.com")};
        if (i < 2)
            CHECK(state_user_create(st, &spec, WORLD_NOW_MS, &user, &err) == RC_OK);
        struct auth_key_spec how = {.user = user->id, .is_reusable = true, .tags = tags, .tag_n = i == 2};
        CHECK(state_key_create(st, &how, random, WORLD_NOW_MS, &key, keys[i], &err) == RC_OK);
    }
}

void world_lines(const struct netmap_pieces *p, bool is_one, struct buf *out)
{
    struct buf all = {0};
    for (size_t i = 0; i < p->n; i++) {
        buf_append(&all, p->items[i]->data, p->items[i]->len);
        if (is_one && i + 1 < p->n)
            continue;
        buf_append(out, buf_at(&all) + 4, buf_len(&all) - 4);
        buf_append_byte(out, '\n');
        buf_clear(&all);
    }
    buf_fini(&all);
}

void world_map(struct netmap_ctx *ctx, const struct state *st, node_id id, struct buf *out)
{
    struct netmap_pieces pieces = {0};
    CHECK(netmap_full(ctx, state_snapshot(st), id, NETMAP_PLAIN, true, &pieces) == RC_OK);
    world_lines(&pieces, true, out);
    netmap_pieces_fini(&pieces);
}
