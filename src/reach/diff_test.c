/* Pairs of random policies: their difference turns one into the other, and is empty between a policy and itself. */
#include "engine/random_tailnet.h"
#include "reach/reach_internal.h"
#include "support/filter_set.h"

enum { DIFF_ROUNDS = 40, DIFF_PACKETS = 400 };

/* The node's address of a family. */
static struct range node_range(const struct engine_facts *n, int family)
{
    return range_of_addr(family == 4 ? &n->v4 : &n->v6);
}

struct reach_row {
    bool is_gained;
    struct filter_span *src, *dst; /* heap */
    size_t src_n, dst_n;
    unsigned proto, first, last;
};

struct reach_rows {
    struct reach_row *v; /* heap */
    size_t n, cap;
};

static struct filter_span *spans_of(struct str list, size_t *n_out)
{
    struct filter_span *v = NULL;
    size_t cap = 0;
    *n_out = 0;
    while (list.len > 0) {
        struct str one, rest;
        str_cut(list, ',', &one, &rest);
        VEC_PUSH(v, *n_out, cap, filter_span_of(one));
        list = str_trim(rest);
    }
    return v;
}

static void take_reach(void *ctx, const struct reach_difference *reach)
{
    struct reach_rows *rows = ctx;
    struct reach_row row = {.is_gained = reach->is_gained, .proto = reach->proto};
    row.first = reach->first_port;
    row.last = reach->last_port;
    row.src = spans_of(reach->source, &row.src_n);
    row.dst = spans_of(reach->destination, &row.dst_n);
    assert_true(row.src_n > 0 && row.dst_n > 0 && row.first <= row.last && row.proto > 0);
    VEC_PUSH(rows->v, rows->n, rows->cap, row);
}

static bool spans_hold(const struct filter_span *v, size_t n, const struct range *at)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].family == at->family && v[i].lo <= at->lo && at->lo <= v[i].hi)
            return true;
    }
    return false;
}

static bool rows_hold(const struct reach_rows *rows, bool is_gained, const struct probe *src, const struct probe *dst,
                      unsigned proto, unsigned port)
{
    for (size_t i = 0; i < rows->n; i++) {
        const struct reach_row *r = &rows->v[i];
        if (r->is_gained == is_gained && r->proto == proto && r->first <= port && port <= r->last &&
            spans_hold(r->src, r->src_n, &src->at) && spans_hold(r->dst, r->dst_n, &dst->at))
            return true;
    }
    return false;
}

static bool reaches(const struct engine *p, const struct probe *src, const struct probe *dst, unsigned proto,
                    unsigned port)
{
    for (size_t i = 0; i < p->doc->rule_n; i++) {
        struct rule_match match = reach_match_rule(p, &p->doc->rule[i], src, dst, (int)proto, (int)port, NULL);
        if (match.source && match.destination && match.port)
            return true;
    }
    return false;
}

/* A node's address, or one that no node has. */
static struct probe random_probe(struct random_tailnet *f, const struct engine *p, int family)
{
    static const char *const fours[] = {"10.1.2.3",    "10.2.0.1",     "8.8.8.8", "8.9.0.0",
                                        "192.168.0.1", "100.64.0.200", "0.0.0.0", "255.255.255.255"};
    static const char *const sixes[] = {"fd00:1::7",   "fd00:1::8",
                                        "2001:db8::1", "fd7a:115c:a1e0::ffff",
                                        "::",          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"};
    const struct engine_facts *n = random_below(f, 3) != 0 ? random_some_node(f) : NULL;
    struct addr a = test_addr(family == 4 ? PICK(f, fours) : PICK(f, sixes));
    if (n != NULL && node_range(n, family).family != 0)
        return (struct probe){node_range(n, family), engine_node_find(&p->nodes, n->id)};
    return (struct probe){range_of_addr(&a), NULL};
}

static void check_diff_packet(struct random_tailnet *f, const struct engine *before, const struct engine *after,
                              const struct reach_rows *rows)
{
    static const unsigned some_ports[] = {0, 1, 22, 80, 81, 443, 1000, 2000, 2001, 65535},
                          some_protos[] = {6, 17, 1, 47, 58, 99};
    unsigned port = PICK(f, some_ports), proto = PICK(f, some_protos);
    int family = random_below(f, 2) == 0 ? 4 : 6;
    struct probe src = random_probe(f, before, family), dst = random_probe(f, before, family);
    struct probe src_after = {src.at, src.node != NULL ? engine_node_find(&after->nodes, src.node->id) : NULL};
    struct probe dst_after = {dst.at, dst.node != NULL ? engine_node_find(&after->nodes, dst.node->id) : NULL};
    bool was = reaches(before, &src, &dst, proto, port);
    bool is = reaches(after, &src_after, &dst_after, proto, port);
    assert_int_equal(rows_hold(rows, true, &src, &dst, proto, port), is && !was);
    assert_int_equal(rows_hold(rows, false, &src, &dst, proto, port), was && !is);
}

/* Nodes with equal fingerprints have equal access, others do not. */
static void check_fingerprints(const struct random_tailnet *f, struct engine *before, struct engine *after)
{
    NODE_EACH(n, f)
    {
        struct buf a = {0}, b = {0};
        random_append_access(before, n->id, &a);
        random_append_access(after, n->id, &b);
        if (engine_fingerprint(before, n->id) == engine_fingerprint(after, n->id))
            assert_true(str_eq(buf_str(&a), buf_str(&b)));
        else
            assert_false(str_eq(buf_str(&a), buf_str(&b)));
        buf_fini(&a);
        buf_fini(&b);
    }
}

/* An engine with another policy and the same nodes. */
static struct engine *other_policy(struct random_tailnet *f)
{
    random_policy(f);
    struct policy_doc *doc = test_parse(buf_cstr(&f->text));
    struct engine *other = engine_create(doc, f->user, USERS, NULL);
    policy_doc_unref(&doc);
    NODE_EACH(n, f)
    engine_put_node(other, n);
    return other;
}

static void rows_fini(struct reach_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        mem_free(rows->v[i].src);
        mem_free(rows->v[i].dst);
    }
    mem_free(rows->v);
}

static void test_diff_turns_one_into_the_other(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < DIFF_ROUNDS; round++) {
        struct reach_rows rows = {0};
        random_begin(f);
        struct engine *other = other_policy(f);
        check_fingerprints(f, f->p, other);
        reach_diff(f->p, other, take_reach, &rows);
        for (uint32_t i = 0; i < DIFF_PACKETS; i++)
            check_diff_packet(f, f->p, other, &rows);
        /* A policy does not differ from itself. */
        size_t n = rows.n;
        reach_diff(other, other, take_reach, &rows);
        assert_int_equal(rows.n, n);
        rows_fini(&rows);
        engine_destroy(&other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_diff_turns_one_into_the_other, random_setup, random_teardown),
    };
    return cmocka_run_group_tests_name("reach diff", tests, NULL, NULL);
}
