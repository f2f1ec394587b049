#include "engine/random_tailnet.h"

enum { GROUPS = 3, TAGS = 4 };

uint32_t random_below(struct random_tailnet *f, uint32_t n)
{
    return test_random_below(&f->random, n);
}

static const char *const tag_names[TAGS] = {"tag:t0", "tag:t1", "tag:t2", "tag:t3"};
static const char *const route_names[] = {"10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "fd00:1::/64", "8.8.8.0/24"};

/* --- random policies --- */

static const char *const sources[] = {
    "u0@a.com",
    "u1@b.org",
    "u2",
    "u3@",
    "user:*@a.com",
    "group:g0",
    "group:g1",
    "group:g2",
    "autogroup:member",
    "autogroup:admin",
    "autogroup:owner",
    "tag:t0",
    "tag:t1",
    "tag:t2",
    "autogroup:tagged",
    "*",
    "autogroup:danger-all",
    "100.64.0.3",
    "100.64.0.4-100.64.0.9",
    "100.64.0.0/29",
    "fd7a:115c:a1e0::5",
    "host",
    "net",
    "ipset:s",
    "10.1.0.0/15",
    "fd00:1::/32",
    "8.8.8.8",
};
static const char *const destinations[] = {
    "u0@a.com",
    "user:*@b.org",
    "group:g0",
    "group:g1",
    "autogroup:member",
    "autogroup:admin",
    "tag:t0",
    "tag:t1",
    "tag:t3",
    "autogroup:tagged",
    "*",
    "100.64.0.3",
    "100.64.0.4-100.64.0.9",
    "fd7a:115c:a1e0::/124",
    "host",
    "net",
    "ipset:s",
    "10.1.2.0/23",
    "fd00:1::7",
    "8.8.0.0/16",
    "autogroup:internet",
};
static const char *const self_sources[] = {"u0@a.com", "user:*@a.com",     "group:g0",
                                           "group:g2", "autogroup:member", "autogroup:admin"};
static const char *const ports[] = {"*", "22", "80,443", "1000-2000", "1-65535"};
static const char *const protos[] = {"", "tcp", "udp", "icmp", "47"};

static void put_some(struct random_tailnet *f, const char *field, const char *const *list, size_t n)
{
    uint32_t count = random_below(f, 4) == 0 ? 1 + random_below(f, 4) : 1;
    buf_printf(&f->text, "\"%s\":[", field);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = list[random_below(f, (uint32_t)n)];
        /* A user without an @ would be a host. */
        buf_printf(&f->text, "%s\"%s\"", i > 0 ? "," : "", strcmp(name, "u2") == 0 ? "u2@" : name);
    }
    buf_append_c(&f->text, "]");
}

static void put_posture(struct random_tailnet *f)
{
    if (random_below(f, 5) == 0)
        buf_printf(&f->text, ",\"srcPosture\":[\"posture:p%u\"]", random_below(f, 2));
}

static void put_acl(struct random_tailnet *f)
{
    bool has_self = random_below(f, 4) == 0;
    const char *proto = PICK(f, protos);
    bool has_ports = proto[0] == '\0' || proto[0] == 't' || proto[0] == 'u';
    uint32_t count = 1 + random_below(f, 3);
    buf_printf(&f->text, "{\"action\":\"accept\",\"proto\":\"%s\",", proto);
    if (has_self)
        put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    else
        put_some(f, "src", sources, ARRAY_LEN(sources));
    buf_append_c(&f->text, ",\"dst\":[");
    for (uint32_t i = 0; i < count; i++) {
        const char *dst = has_self && i == 0 ? "autogroup:self" : PICK(f, destinations);
        buf_printf(&f->text, "%s\"%s:%s\"", i > 0 ? "," : "", dst, has_ports ? PICK(f, ports) : "*");
    }
    buf_append_c(&f->text, "]");
    put_posture(f);
    buf_append_c(&f->text, "}");
}

static void put_ip(struct random_tailnet *f)
{
    uint32_t count = 1 + random_below(f, 3);
    buf_append_c(&f->text, ",\"ip\":[");
    for (uint32_t i = 0; i < count; i++) {
        const char *proto = PICK(f, protos);
        bool has_ports = proto[0] == '\0' || proto[0] == 't' || proto[0] == 'u';
        buf_printf(&f->text, "%s\"%s%s%s\"", i > 0 ? "," : "", proto, proto[0] != '\0' ? ":" : "",
                   has_ports ? PICK(f, ports) : "*");
    }
    buf_append_c(&f->text, "]");
}

static void put_grant(struct random_tailnet *f)
{
    static const char *const apps[] = {"x.com/cap", "tailscale.com/cap/drive", "tailscale.com/cap/relay"};
    static const char *const self[] = {"autogroup:self"};
    bool has_self = random_below(f, 5) == 0, has_via = !has_self && random_below(f, 4) == 0,
         has_app = random_below(f, 2) == 0;
    buf_append_c(&f->text, "{");
    if (has_self)
        put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    else
        put_some(f, "src", sources, ARRAY_LEN(sources));
    buf_append_c(&f->text, ",");
    if (has_self)
        put_some(f, "dst", self, 1);
    else
        put_some(f, "dst", destinations, ARRAY_LEN(destinations) - has_app); /* no app with the internet */
    if (!has_app || random_below(f, 2) == 0)
        put_ip(f);
    if (has_app)
        buf_printf(&f->text, ",\"app\":{\"%s\":[{\"v\":%u}]}", PICK(f, apps), random_below(f, 3));
    if (has_via)
        buf_printf(&f->text, ",\"via\":[\"%s\"]", tag_names[random_below(f, TAGS)]);
    put_posture(f);
    buf_append_c(&f->text, "}");
}

static void put_ssh(struct random_tailnet *f)
{
    static const char *const dst[] = {"tag:t0", "tag:t1", "autogroup:self", "autogroup:tagged"};
    static const char *const users[] = {"root", "autogroup:nonroot", "deploy", "localpart:*@a.com"};
    buf_printf(&f->text, "{\"action\":\"%s\",", random_below(f, 2) == 0 ? "check" : "accept");
    put_some(f, "src", self_sources, ARRAY_LEN(self_sources));
    buf_append_c(&f->text, ",");
    put_some(f, "dst", dst, ARRAY_LEN(dst));
    buf_append_c(&f->text, ",");
    put_some(f, "users", users, ARRAY_LEN(users));
    if (random_below(f, 4) == 0)
        buf_append_c(&f->text, ",\"recorder\":[\"tag:t2\",\"100.64.0.7\"],\"enforceRecorder\":true");
    buf_append_c(&f->text, "}");
}

static void put_list(struct random_tailnet *f, const char *name, uint32_t most, void (*put)(struct random_tailnet *))
{
    uint32_t count = random_below(f, most + 1);
    buf_printf(&f->text, ",\n\"%s\":[", name);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            buf_append_c(&f->text, ",\n");
        put(f);
    }
    buf_append_c(&f->text, "]");
}

void random_policy(struct random_tailnet *f)
{
    buf_clear(&f->text);
    buf_append_c(&f->text, "{\"groups\":{");
    for (uint32_t g = 0; g < GROUPS; g++) {
        buf_printf(&f->text, "%s\"group:g%u\":[", g > 0 ? "," : "", g);
        for (uint32_t u = random_below(f, 3), n = 0; u < USERS; u += 1 + random_below(f, 3), n++)
            buf_printf(&f->text, "%s\"u%u@%s\"", n > 0 ? "," : "", u, u % 2 == 0 ? "a.com" : "b.org");
        buf_append_c(&f->text, "]");
    }
    buf_append_c(&f->text,
                 "},\"tagOwners\":{\"tag:t0\":[],\"tag:t1\":[],\"tag:t2\":[],\"tag:t3\":[]},"
                 "\"hosts\":{\"host\":\"100.64.0.6\",\"net\":\"10.1.0.0/16\"},"
                 "\"ipsets\":{\"ipset:s\":[\"add 100.64.0.2-100.64.0.12\",\"remove 100.64.0.5\",\"add 10.2.0.0/15\","
                 "\"add fd7a:115c:a1e0::8\"]},"
                 "\"postures\":{\"posture:p0\":[\"custom:x > 3\"],\"posture:p1\":[\"custom:x IN [1, 2, 5]\"]},"
                 "\"nodeAttrs\":[{\"target\":[\"tag:t0\",\"u1@b.org\",\"100.64.0.4\"],\"attr\":[\"a\"]},"
                 "{\"target\":[\"*\"],\"attr\":[\"b\"]}]");
    put_list(f, "grants", 5, put_grant);
    put_list(f, "acls", 5, put_acl);
    put_list(f, "ssh", 3, put_ssh);
    buf_append_c(&f->text, "}");
}

/* --- random nodes --- */

static void random_users(struct random_tailnet *f)
{
    static const struct str names[] = {STR("u0"), STR("u1"), STR("u2"), STR("u3"), STR("u4"), STR("u5")};
    static const struct str emails[] = {STR("u0@a.com"), STR("u1@b.org"), STR("u2@a.com"),
                                        STR("u3@b.org"), STR("u4@a.com"), STR("u5@b.org")};
    for (uint32_t i = 0; i < USERS; i++) {
        f->user[i] = (struct engine_user){i + 1, names[i], emails[i], STR_EMPTY, POLICY_MEMBER};
        f->user[i].role = i == 0 ? POLICY_OWNER : i == 1 ? POLICY_ADMIN : POLICY_MEMBER;
    }
}

static void add_route(struct engine_facts *n, struct engine_route *to, const char *text, bool is_primary)
{
    struct str ip, bits;
    uint64_t v = 0;
    str_cut(str_c(text), '/', &ip, &bits);
    assert_int_equal(str_to_u64(bits, &v), RC_OK);
    assert_int_equal(addr_parse_ip(ip, &to->addr), RC_OK);
    to->bits = (uint8_t)v;
    to->is_primary = is_primary;
    n->route_n++;
}

static bool is_held(const struct random_tailnet *f, uint32_t except, const struct engine_route *route)
{
    for (uint32_t i = 0; i < IDS; i++) {
        for (size_t k = 0; i != except && f->node[i].id != 0 && k < f->node[i].route_n; k++) {
            const struct engine_route *r = &f->route[i][k];
            if (addr_eq(&r->addr, &route->addr) && r->bits == route->bits && r->is_primary)
                return true;
        }
    }
    return false;
}

static void make_routes(struct random_tailnet *f, uint32_t slot, struct engine_facts *n)
{
    n->routes = f->route[slot];
    if (random_below(f, 3) == 0)
        add_route(n, &f->route[slot][0], PICK(f, route_names), false);
    if (n->route_n > 0)
        f->route[slot][0].is_primary = !is_held(f, slot, &f->route[slot][0]);
    if (random_below(f, 5) == 0)
        add_route(n, &f->route[slot][n->route_n], "0.0.0.0/0", false);
    if (random_below(f, 5) == 0)
        add_route(n, &f->route[slot][n->route_n], "::/0", false);
}

void random_node(struct random_tailnet *f, uint32_t slot)
{
    static const char *const fours[] = {"100.64.0", "100.64.0", "100.64.0", "100.115.92", "172.20.0"};
    static const char *const sixes[] = {"fd7a:115c:a1e0", "fd7a:115c:a1e0", "fd00:9"};
    char text[48];
    struct engine_facts n = {.id = slot + 1, .user = 1 + random_below(f, USERS), .is_online = random_below(f, 4) != 0};
    n.created_ms = random_below(f, 5);
    n.tags = f->tag[slot];
    for (uint32_t i = 0; i < 2 && random_below(f, 3) == 0; i++)
        f->tag[slot][n.tag_n++] = str_c(tag_names[(slot + i) % TAGS]);
    snprintf(text, sizeof(text), "%s.%u", PICK(f, fours), slot + 1);
    if (random_below(f, 8) != 0)
        n.v4 = test_addr(text);
    snprintf(text, sizeof(text), "%s::%x", PICK(f, sixes), slot + 1);
    if (random_below(f, 8) != 0 || n.v4.family == 0)
        n.v6 = test_addr(text);
    f->attr[slot][0] = (struct policy_attr){STR("custom:x"), POLICY_ATTR_NUMBER, STR_EMPTY, (double)random_below(f, 7),
                                            false};
    n.attrs = f->attr[slot];
    n.attr_n = random_below(f, 3) != 0;
    f->node[slot].id = 0;
    make_routes(f, slot, &n);
    f->node[slot] = n;
    engine_put_node(f->p, &n);
}

void random_event(struct random_tailnet *f)
{
    uint32_t slot = random_below(f, IDS);
    if (f->node[slot].id != 0 && random_below(f, 3) == 0) {
        engine_remove_node(f->p, f->node[slot].id);
        f->node[slot].id = 0;
    } else {
        random_node(f, slot);
    }
}

const struct engine_facts *random_some_node(struct random_tailnet *f)
{
    for (uint32_t i = 0; i < 100; i++) {
        const struct engine_facts *n = &f->node[random_below(f, IDS)];
        if (n->id != 0)
            return n;
    }
    return NULL;
}

void random_append_access(struct engine *p, uint64_t id, struct buf *out)
{
    engine_filter(p, id, out);
    engine_ssh(p, id, "https://s", out);
    engine_self_caps(p, id, out);
}

void random_print(struct random_tailnet *f)
{
    fprintf(stderr, "%s\n", buf_cstr(&f->text));
    NODE_EACH(n, f)
    {
        fprintf(stderr, "node %u user %u online %d created %d tags", (unsigned)n->id, (unsigned)n->user, n->is_online,
                (int)n->created_ms);
        for (size_t i = 0; i < n->tag_n; i++)
            fprintf(stderr, " %s", n->tags[i].p);
        fprintf(stderr, " v%s%s x %d", n->v4.family != 0 ? "4" : "", n->v6.family != 0 ? "6" : "",
                n->attr_n > 0 ? (int)n->attrs[0].number : -1);
        for (size_t i = 0; i < n->route_n; i++) {
            char text[RANGE_TEXT_CAP];
            struct range r = range_of_prefix(&n->routes[i].addr, n->routes[i].bits);
            range_format_prefix(&r, text);
            fprintf(stderr, " %s%s", text, n->routes[i].is_primary ? "*" : "");
        }
        fprintf(stderr, "\n");
    }
}

void random_begin(struct random_tailnet *f)
{
    engine_destroy(&f->p);
    policy_doc_unref(&f->doc);
    random_policy(f);
    f->doc = test_parse(buf_cstr(&f->text));
    f->p = engine_create(f->doc, f->user, USERS, NULL);
    memset(f->node, 0, sizeof(f->node));
    for (uint32_t i = 0; i < IDS / 2; i++)
        random_node(f, random_below(f, IDS));
}

int random_setup(void **state)
{
    struct random_tailnet *f = MEM_NEW(struct random_tailnet);
    f->random.state = 20240607;
    random_users(f);
    *state = f;
    return 0;
}

int random_teardown(void **state)
{
    struct random_tailnet *f = *state;
    engine_destroy(&f->p);
    policy_doc_unref(&f->doc);
    buf_fini(&f->text);
    mem_free(f);
    return 0;
}
