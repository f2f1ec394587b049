/* Random policies, and what they need to tell nodes apart. */
#include "netmap/world_internal.h"

#include <stdio.h>
#include <string.h>

static void load_router(struct world *w, unsigned i)
{
    static const char *const routes[][3] = {{"10.1.0.0/16", "10.2.0.0/16", NULL},
                                            {"10.1.0.0/16", NULL, NULL},
                                            {"0.0.0.0/0", "::/0", "10.3.0.0/24"},
                                            {"10.2.0.0/16", "0.0.0.0/0", "::/0"},
                                            {"10.1.0.0/16", "8.8.8.0/24", NULL}};
    struct machine *m = &w->machines[i];
    struct node *n = node_create(0);
    struct prefix v[3];
    size_t route_n = 0;
    world_random_bytes(w, &m->key, sizeof(m->key));
    m->id = n->id = i + 1;
    snprintf(n->stable_id, sizeof(n->stable_id), "nrouter%u", i);
    snprintf(n->name, sizeof(n->name), "router%u", i);
    n->user = 1;
    n->machine = m->machine;
    n->key = m->key;
    n->v4 = (struct addr){.family = 4, .ip = {100, 64, 200, (uint8_t)(i + 1)}};
    n->v6 = (struct addr){.family = 6, .ip = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = (uint8_t)(200 + i)}};
    n->created_ms = w->now_ms - 1000 * (int64_t)world_below(w, 3);
    if (i % 2 == 0)
        n->tags = rcbuf_create("[\"tag:a\"]", 9);
    for (; route_n < 3 && routes[i % 5][route_n] != NULL; route_n++)
        assert_int_equal(prefix_parse(str_c(routes[i % 5][route_n]), &v[route_n], NULL), RC_OK);
    n->advertised = prefix_list_create(v, route_n);
    n->approved = prefix_list_create(v, route_n);
    /* The first router of each prefix. */
    size_t primary_n = 0;
    for (size_t k = 0; k < route_n; k++) {
        bool first = v[k].bits != 0 && (i == 0 || i == 2 || (i == 4 && v[k].bits == 24));
        if (first)
            v[primary_n++] = v[k];
    }
    n->primary = prefix_list_create(v, primary_n);
    assert_int_equal(state_load(w->st, &entity_node, &n->row, NULL), RC_OK);
}

void world_add_policies(struct world *w)
{
    static const char *const names[] = {"bert", "carl", "dora"};
    const struct str tags[] = {STR("tag:a"), STR("tag:b")};
    const struct user *u;
    w->has_policies = true;
    for (unsigned i = 0; i < 3; i++) {
        struct user_spec spec = {.name = str_c(names[i])};
        assert_int_equal(state_user_create(w->st, &spec, w->now_ms, &u, NULL), RC_OK);
        world_make_key(w, u->id, NULL, 0, world_below(w, 4) == 0, w->others[i]);
    }
    world_make_key(w, 1, tags, 1, false, w->tagged[0]);
    world_make_key(w, 2, tags + 1, 1, false, w->tagged[1]);
    world_make_key(w, 1, tags, 2, false, w->tagged[2]);
    for (unsigned i = 0; i < 8; i++)
        load_router(w, i);
    state_load_done(w->st, w->now_ms);
}

static const char *pick(struct world *w, const char *const *list, size_t n)
{
    return list[world_below(w, (uint32_t)n)];
}
#define PICK(w, list) pick(w, list, ARRAY_LEN(list))

static void add_rule(struct world *w, struct buf *b)
{
    static const char *const src[] = {"tag:a",
                                      "tag:b",
                                      "anna@",
                                      "bert@",
                                      "group:g",
                                      "group:h",
                                      "autogroup:member",
                                      "autogroup:tagged",
                                      "*",
                                      "100.64.0.0/29",
                                      "net",
                                      "10.1.0.0/16",
                                      "autogroup:danger-all"};
    static const char *const dst[] = {"tag:a",
                                      "tag:b",
                                      "anna@",
                                      "carl@",
                                      "group:g",
                                      "autogroup:member",
                                      "*",
                                      "net",
                                      "10.1.0.0/16",
                                      "10.2.3.0/24",
                                      "autogroup:internet",
                                      "100.64.0.4"};
    static const char *const people[] = {"anna@", "group:g", "autogroup:member", "dora@"};
    static const char *const posture[] = {"", "", "", ",\"srcPosture\":[\"posture:p\"]"};
    switch (world_below(w, 8)) {
    case 0: buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]},", PICK(w, people)); break;
    case 1:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"ip\":[\"tcp:80\"],\"via\":[\"tag:%s\"]},", PICK(w, src),
                   world_below(w, 2) == 0 ? "10.1.0.0/16" : "autogroup:internet", world_below(w, 2) == 0 ? "a" : "b");
        break;
    case 2:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"app\":{\"x.example/cap\":[{\"n\":1}]}},", PICK(w, people),
                   world_below(w, 2) == 0 ? "tag:a" : "carl@");
        break;
    default:
        buf_printf(b, "{\"src\":[\"%s\"],\"dst\":[\"%s\"],\"ip\":[\"%s\"]%s},", PICK(w, src), PICK(w, dst),
                   world_below(w, 2) == 0 ? "*" : "22", PICK(w, posture));
    }
}

static void random_policy(struct world *w, struct buf *b)
{
    static const char *const targets[] = {"tag:a", "anna@", "autogroup:member", "*", "100.64.0.0/30"};
    buf_append_c(b, "{\"groups\":{\"group:g\":[\"anna@\",\"bert@\"],\"group:h\":[\"dora@\"]},"
                    "\"tagOwners\":{\"tag:a\":[\"anna@\"],\"tag:b\":[]},\"hosts\":{\"net\":\"10.0.0.0/8\"},"
                    "\"postures\":{\"posture:p\":[\"node:osVersion == '1'\"]},\"grants\":[");
    for (uint32_t n = world_below(w, 6); n > 0; n--)
        add_rule(w, b);
    buf_append_c(b, "],\"nodeAttrs\":[");
    if (world_below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"x:%u\"]},", PICK(w, targets), world_below(w, 3));
    if (world_below(w, 4) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"disable-ipv4\"]},", PICK(w, targets));
    if (world_below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"nextdns:p%u\"]},", PICK(w, targets), world_below(w, 3));
    if (world_below(w, 3) == 0)
        buf_printf(b, "{\"target\":[\"%s\"],\"attr\":[\"nextdns:no-device-info\"]},", PICK(w, targets));
    buf_printf(b, "],\"disableIPv4\":%s,\"ssh\":[", world_below(w, 6) == 0 ? "true" : "false");
    if (world_below(w, 2) == 0)
        buf_printf(b, "{\"action\":\"%s\",\"src\":[\"%s\"],\"dst\":[\"tag:a\"],\"users\":[\"root\"]},",
                   world_below(w, 2) == 0 ? "accept" : "check", world_below(w, 2) == 0 ? "anna@" : "autogroup:member");
    buf_append_c(b, "]}");
}

void world_event_policy(struct world *w)
{
    struct buf text = {0};
    struct policy_errors errors = {0};
    struct policy_doc *doc = NULL;
    if (world_below(w, 6) == 0) {
        state_set_policy(w->st, NULL);
        return;
    }
    random_policy(w, &text);
    if (policy_parse(buf_str(&text), NULL, &doc, &errors) != RC_OK)
        fail_msg("%s in %s", errors.v[0].text, buf_cstr(&text));
    policy_errors_fini(&errors);
    state_set_policy(w->st, doc);
    w->policies++;
    buf_fini(&text);
}

void world_event_dns(struct world *w)
{
    static const char *const addrs[] = {NULL, "https://dns.nextdns.io/abc", "https://dns.nextdns.io/abc?x=1"};
    world_set_dns(w, PICK(w, addrs));
}

void world_event_user(struct world *w)
{
    static const char *const names[] = {"anna", "bert", "carl", "dora", "emil", "fips", "gerd", "hugo"};
    const struct user *u;
    enum rc rc = state_user_rename(w->st, 1 + world_below(w, 4), str_c(PICK(w, names)), &u, NULL);
    assert_true(rc == RC_OK || rc == RC_EXISTS);
}
