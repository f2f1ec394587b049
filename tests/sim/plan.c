#include "sim/plan.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void plan_tag_name(unsigned tag, char out[16])
{
    if (tag == PLAN_TAG_MONITOR)
        snprintf(out, 16, "tag:monitor");
    else if (tag == PLAN_TAG_PUBLIC)
        snprintf(out, 16, "tag:public");
    else
        snprintf(out, 16, "tag:t%u", tag);
}

void plan_user_name(unsigned user, char out[32])
{
    snprintf(out, 32, "u%u", user);
}

void plan_user_email(unsigned user, char out[32])
{
    snprintf(out, 32, "u%u@example.net", user);
}

struct prefix plan_net(unsigned index)
{
    struct prefix p = {.ip = {.family = 4, .ip = {10, (uint8_t)index}}, .bits = 16};
    if (index >= PLAN_NETS && index < 2 * PLAN_NETS)
        p = (struct prefix){.ip = {.family = 6, .ip = {0xfd, 0, 0, (uint8_t)index}}, .bits = 32};
    return p;
}

/* --- making --- */

struct plan_draft {
    struct plan *p;
    struct test_random *random;
};

static unsigned below(struct plan_draft *d, unsigned n)
{
    return test_random_below(d->random, n);
}

static struct pick pick(enum pick_kind kind, unsigned index)
{
    return (struct pick){.kind = kind, .index = index};
}

static struct pick pick_net(unsigned index)
{
    return (struct pick){.kind = PICK_ADDRS, .prefix = plan_net(index)};
}

/* Some sixteen addresses of the tailnet, or one. */
static struct pick pick_nodes(struct plan_draft *d)
{
    struct pick p = {.kind = PICK_ADDRS};
    p.prefix.bits = below(d, 2) == 0 ? 28 : 32;
    p.prefix.ip = (struct addr){.family = 4, .ip = {100, 64, (uint8_t)below(d, 8), (uint8_t)(below(d, 16) * 16)}};
    return p;
}

static struct plan_rule *add_rule(struct plan_draft *d, struct pick src, struct pick dst)
{
    assert(d->p->rule_n < PLAN_RULES_MAX);
    struct plan_rule *r = &d->p->rules[d->p->rule_n++];
    *r = (struct plan_rule){.src = {src}, .dst = {dst}, .src_n = 1, .dst_n = 1, .via = -1};
    static const struct plan_ports some[] = {{0, 0, 65535}, {0, 22, 22}, {6, 80, 80}, {6, 1000, 2000}, {17, 53, 53}};
    r->ports[r->port_n++] = some[below(d, 5)];
    if (below(d, 3) == 0)
        r->ports[r->port_n++] = (struct plan_ports){6, 443, 443};
    return r;
}

/* Each team reaches its own servers. */
static void add_teams(struct plan_draft *d, unsigned step, unsigned factor, unsigned shift)
{
    for (unsigned g = 0; g < PLAN_GROUPS; g += step) {
        struct plan_rule *r = add_rule(d, pick(PICK_GROUP, g), pick(PICK_TAG, (g * factor + shift) % PLAN_TAGS));
        if (below(d, 8) == 0)
            r->has_app = true;
        if (below(d, 8) == 0)
            r->has_posture = true;
        if (below(d, 4) == 0)
            r->src[r->src_n++] = pick(PICK_EMAIL, below(d, (unsigned)d->p->users));
    }
    for (unsigned i = 0; step == 1 && i < 8; i++)
        add_rule(d, pick(PICK_TAG, below(d, PLAN_TAGS)), pick(PICK_TAG, below(d, PLAN_TAGS)));
    for (unsigned i = 0; i < 10; i++)
        add_rule(d, pick(PICK_USER, below(d, (unsigned)d->p->users)), pick(PICK_TAG, below(d, PLAN_TAGS)));
}

static void add_nets(struct plan_draft *d)
{
    for (unsigned i = 0; i < PLAN_NETS; i++) {
        struct plan_rule *r = add_rule(d, pick(PICK_GROUP, below(d, PLAN_GROUPS)), pick_net(i));
        if (below(d, 2) == 0)
            r->dst[r->dst_n++] = pick_net(i + PLAN_NETS);
    }
    for (unsigned i = 0; i < 4; i++)
        add_rule(d, pick_net(below(d, PLAN_NETS)), pick(PICK_TAG, below(d, PLAN_TAGS)));
    for (unsigned i = 0; i < 8; i++)
        add_rule(d, pick(PICK_TAG, i * 5), pick_net(i));
    for (unsigned i = 0; i < 3; i++)
        add_rule(d, pick(PICK_GROUP, below(d, PLAN_GROUPS)), pick(PICK_INTERNET, 0));
}

static void add_via(struct plan_draft *d)
{
    for (unsigned i = 0; i < 10; i++) {
        unsigned net = below(d, PLAN_NETS);
        struct plan_rule *r = add_rule(d, pick(PICK_GROUP, below(d, PLAN_GROUPS)), pick_net(net));
        r->via = (int)(below(d, 2) == 0 ? net % 4 : below(d, 4));
    }
    add_rule(d, pick(PICK_GROUP, below(d, PLAN_GROUPS)), pick(PICK_INTERNET, 0))->via = 0;
}

static void add_everybody(struct plan_draft *d)
{
    add_rule(d, pick(PICK_TAG, PLAN_TAG_MONITOR), pick(PICK_STAR, 0));
    add_rule(d, pick(PICK_STAR, 0), pick(PICK_TAG, PLAN_TAG_PUBLIC));
    add_rule(d, pick(PICK_ADMIN, 0), pick(PICK_TAG, 1));
}

static void add_addresses(struct plan_draft *d)
{
    for (unsigned i = 0; i < 6; i++)
        add_rule(d, pick_nodes(d), pick(PICK_TAG, below(d, PLAN_TAGS)));
    for (unsigned i = 0; i < 6; i++)
        add_rule(d, pick(PICK_GROUP, below(d, PLAN_GROUPS)), pick_nodes(d));
}

static void add_self(struct plan_draft *d, struct pick who)
{
    struct plan_rule *r = add_rule(d, who, pick(PICK_SELF, 0));
    r->has_app = below(d, 3) == 0;
}

static void add_ssh(struct plan_draft *d)
{
    struct plan *p = d->p;
    while (p->ssh_n < 6) {
        struct plan_ssh *s = &p->ssh[p->ssh_n++];
        *s = (struct plan_ssh){.src_n = 1, .dst_n = 1, .is_check = below(d, 3) == 0, .has_root = below(d, 2) == 0};
        s->has_nonroot = below(d, 2) == 0;
        s->has_deploy = !s->has_root && !s->has_nonroot;
        s->src[0] = below(d, 2) == 0 ? pick(PICK_GROUP, below(d, PLAN_GROUPS))
                                     : pick(PICK_USER, below(d, (unsigned)p->users));
        s->dst[0] = pick(PICK_TAG, below(d, PLAN_TAGS));
        if (below(d, 2) == 0)
            s->dst[s->dst_n++] = pick(PICK_TAG, below(d, PLAN_TAGS));
        if (p->ssh_n == 2) {
            s->src[0] = pick(PICK_MEMBER, 0);
            s->dst[0] = pick(PICK_SELF, 0);
            s->dst_n = 1;
        }
    }
}

static void add_attr(struct plan_draft *d, struct pick target, const char *name)
{
    struct plan_attr *a = &d->p->attrs[d->p->attr_n++];
    *a = (struct plan_attr){.target = target};
    snprintf(a->name, sizeof(a->name), "%s", name);
}

/* Grants are compiled before ACLs: they stand first. */
static void choose_acls(struct plan_draft *d)
{
    struct plan *p = d->p;
    static struct plan_rule acls[PLAN_RULES_MAX];
    size_t grant_n = 0, acl_n = 0;
    for (size_t i = 0; i < p->rule_n; i++) {
        struct plan_rule *r = &p->rules[i];
        r->is_acl = !r->has_app && r->via < 0 && r->port_n == 1 && below(d, 3) == 0;
        if (r->is_acl)
            acls[acl_n++] = *r;
        else
            p->rules[grant_n++] = *r;
    }
    memcpy(&p->rules[grant_n], acls, acl_n * sizeof(acls[0]));
}

static void make_groups(struct plan_draft *d)
{
    for (unsigned g = 0; g < PLAN_GROUPS; g++) {
        unsigned per = (unsigned)(d->p->users / PLAN_GROUPS);
        per = per == 0 ? 1 : per;
        for (unsigned i = 0; i < PLAN_GROUP_USERS; i++)
            d->p->groups[g][i] = i + 1 < PLAN_GROUP_USERS ? (g * per + i % per) % (unsigned)d->p->users
                                                          : below(d, (unsigned)d->p->users);
    }
}

void plan_make(struct plan *p, unsigned kind, size_t users, struct test_random *random)
{
    /* The first and the second differ in one rule. */
    struct test_random own = {.state = 77};
    struct plan_draft d = {p, kind < 2 ? &own : random};
    *p = (struct plan){.users = users};
    make_groups(&d);
    /* Under the last, many see no other node. */
    if (kind != 6)
        add_everybody(&d);
    add_teams(&d, kind == 6 ? 4 : 1, kind == 3 ? 3 : 1, kind == 2 ? 7 : 0);
    add_nets(&d);
    add_ssh(&d);
    add_attr(&d, pick(PICK_TAG, 3), "x:3");
    if (kind != 4)
        add_self(&d, kind == 5 ? pick(PICK_GROUP, 3) : pick(PICK_MEMBER, 0));
    if (kind == 1)
        add_rule(&d, pick(PICK_TAG, 5), pick(PICK_TAG, 6));
    if (kind >= 2)
        add_addresses(&d);
    if (kind >= 3)
        add_via(&d);
    if (kind == 3 || kind == 5)
        add_attr(&d, pick(PICK_TAG, below(&d, PLAN_TAGS)), "disable-ipv4");
    if (kind == 5)
        add_attr(&d, pick(PICK_GROUP, below(&d, PLAN_GROUPS)), "x:5");
    if (kind == 6)
        add_attr(&d, pick_nodes(&d), "disable-ipv4");
    p->hides_all_ipv4 = kind == 4;
    choose_acls(&d);
}

/* --- writing --- */

static void write_pick(const struct pick *s, struct buf *out)
{
    char text[PREFIX_TEXT_CAP];
    switch (s->kind) {
    case PICK_USER: buf_printf(out, "u%u@", s->index); break;
    case PICK_EMAIL: buf_printf(out, "u%u@example.net", s->index); break;
    case PICK_GROUP: buf_printf(out, "group:g%u", s->index); break;
    case PICK_MEMBER: buf_append_c(out, "autogroup:member"); break;
    case PICK_TAGGED: buf_append_c(out, "autogroup:tagged"); break;
    case PICK_ADMIN: buf_append_c(out, "autogroup:admin"); break;
    case PICK_STAR: buf_append_c(out, "*"); break;
    case PICK_DANGER: buf_append_c(out, "autogroup:danger-all"); break;
    case PICK_SELF: buf_append_c(out, "autogroup:self"); break;
    case PICK_INTERNET: buf_append_c(out, "autogroup:internet"); break;
    case PICK_TAG:
        plan_tag_name(s->index, text);
        buf_append_c(out, text);
        break;
    case PICK_ADDRS:
        prefix_format(&s->prefix, text);
        buf_append_c(out, text);
        break;
    }
}

static void write_list(const char *name, const struct pick *v, size_t n, const char *ports, struct buf *out)
{
    buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        buf_append_c(out, i > 0 ? ",\"" : "\"");
        write_pick(&v[i], out);
        buf_printf(out, "%s\"", ports);
    }
    buf_append_byte(out, ']');
}

static const char *proto_name(unsigned proto)
{
    return proto == 6 ? "tcp" : proto == 17 ? "udp" : "";
}

static void write_ports(const struct plan_ports *p, struct buf *out)
{
    if (p->first == 0 && p->last == 65535)
        buf_append_byte(out, '*');
    else if (p->first == p->last)
        buf_printf(out, "%u", p->first);
    else
        buf_printf(out, "%u-%u", p->first, p->last);
}

static void write_grant(const struct plan_rule *r, struct buf *out)
{
    char tag[16];
    buf_append_byte(out, '{');
    write_list("src", r->src, r->src_n, "", out);
    buf_append_byte(out, ',');
    write_list("dst", r->dst, r->dst_n, "", out);
    buf_append_c(out, ",\"ip\":[");
    for (size_t i = 0; i < r->port_n; i++) {
        const char *proto = proto_name(r->ports[i].proto);
        buf_printf(out, "%s\"%s%s", i > 0 ? "," : "", proto, proto[0] != '\0' ? ":" : "");
        write_ports(&r->ports[i], out);
        buf_append_byte(out, '"');
    }
    buf_append_byte(out, ']');
    if (r->has_app)
        buf_append_c(out, ",\"app\":{\"x.example/cap\":[{\"n\":1}]}");
    if (r->has_posture)
        buf_append_c(out, ",\"srcPosture\":[\"posture:one\"]");
    if (r->via >= 0) {
        plan_tag_name((unsigned)r->via, tag);
        buf_printf(out, ",\"via\":[\"%s\"]", tag);
    }
    buf_append_byte(out, '}');
}

static void write_acl(const struct plan_rule *r, struct buf *out)
{
    struct buf ports = {0};
    buf_append_byte(&ports, ':');
    write_ports(&r->ports[0], &ports);
    buf_printf(out, "{\"action\":\"accept\",\"proto\":\"%s\",", proto_name(r->ports[0].proto));
    write_list("src", r->src, r->src_n, "", out);
    buf_append_byte(out, ',');
    write_list("dst", r->dst, r->dst_n, buf_cstr(&ports), out);
    if (r->has_posture)
        buf_append_c(out, ",\"srcPosture\":[\"posture:one\"]");
    buf_append_byte(out, '}');
    buf_fini(&ports);
}

static void write_rules(const struct plan *p, bool acls, struct buf *out)
{
    bool is_first = true;
    buf_printf(out, ",\n\"%s\":[", acls ? "acls" : "grants");
    for (size_t i = 0; i < p->rule_n; i++) {
        if (p->rules[i].is_acl != acls)
            continue;
        buf_append_c(out, is_first ? "\n" : ",\n");
        is_first = false;
        if (acls)
            write_acl(&p->rules[i], out);
        else
            write_grant(&p->rules[i], out);
    }
    buf_append_c(out, "]");
}

static void write_ssh(const struct plan *p, struct buf *out)
{
    buf_append_c(out, ",\n\"ssh\":[");
    for (size_t i = 0; i < p->ssh_n; i++) {
        const struct plan_ssh *s = &p->ssh[i];
        buf_printf(out, "%s{\"action\":\"%s\",", i > 0 ? "," : "", s->is_check ? "check" : "accept");
        write_list("src", s->src, s->src_n, "", out);
        buf_append_byte(out, ',');
        write_list("dst", s->dst, s->dst_n, "", out);
        buf_printf(out, ",\"users\":[%s%s%s%s]}", s->has_root ? "\"root\"" : "",
                   s->has_root && s->has_nonroot ? "," : "", s->has_nonroot ? "\"autogroup:nonroot\"" : "",
                   s->has_deploy ? "\"deploy\"" : "");
    }
    buf_append_c(out, "]");
}

static void write_names(const struct plan *p, struct buf *out)
{
    char tag[16];
    buf_append_c(out, "{\"groups\":{");
    for (unsigned g = 0; g < PLAN_GROUPS; g++) {
        buf_printf(out, "%s\"group:g%u\":[", g > 0 ? "," : "", g);
        for (unsigned i = 0; i < PLAN_GROUP_USERS; i++)
            buf_printf(out, "%s\"u%u@\"", i > 0 ? "," : "", p->groups[g][i]);
        buf_append_c(out, "]");
    }
    buf_append_c(out, "},\n\"tagOwners\":{");
    for (unsigned t = 0; t < PLAN_TAGS_N; t++) {
        plan_tag_name(t, tag);
        buf_printf(out, "%s\"%s\":[]", t > 0 ? "," : "", tag);
    }
    buf_append_c(out, "},\n\"autoApprovers\":{\"routes\":{\"10.0.0.0/13\":[\"tag:t1\"]},\"exitNode\":[\"tag:t2\"]},"
                      "\n\"postures\":{\"posture:one\":[\"node:osVersion == '1'\"]}");
}

void plan_write(const struct plan *p, struct buf *out)
{
    write_names(p, out);
    write_rules(p, false, out);
    write_rules(p, true, out);
    write_ssh(p, out);
    buf_append_c(out, ",\n\"nodeAttrs\":[");
    for (size_t i = 0; i < p->attr_n; i++) {
        buf_append_c(out, i > 0 ? ",{" : "{");
        write_list("target", &p->attrs[i].target, 1, "", out);
        buf_printf(out, ",\"attr\":[\"%s\"]}", p->attrs[i].name);
    }
    buf_printf(out, "],\n\"disableIPv4\":%s}", p->hides_all_ipv4 ? "true" : "false");
}
