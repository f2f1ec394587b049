/* Random packets: the filters, the rules and reach_why say the same. */
#include "engine/random_tailnet.h"
#include "reach/reach_internal.h"
#include "support/filter_set.h"

enum { ROUNDS = 500, EVENTS = 24, PACKETS = 40 };

/* The node's address of a family. */
static struct range node_range(const struct engine_facts *n, int family)
{
    return range_of_addr(family == 4 ? &n->v4 : &n->v6);
}

static bool filter_allows(struct filter_set *set, unsigned proto, const struct range *from, const struct range *to,
                          unsigned port)
{
    const struct filter_allowed *a;
    size_t pos = 0;
    while ((a = map_next(&set->by_what, &pos)) != NULL) {
        unsigned p, first, last;
        int family;
        unsigned long long words[4];
        bool fits = false;
        if (sscanf(a->what.p, "ip %u * %u-%u", &p, &first, &last) == 3)
            fits = true;
        else if (sscanf(a->what.p, "ip %u %d %llx.%llx-%llx.%llx %u-%u", &p, &family, &words[0], &words[1], &words[2],
                        &words[3], &first, &last) == 8)
            fits = family == to->family && ((ip_number)words[0] << 64 | words[1]) <= to->lo &&
                   to->lo <= ((ip_number)words[2] << 64 | words[3]);
        fits = fits && (p == proto || (p == 0 && (proto == 1 || proto == 6 || proto == 17 || proto == 58)));
        for (size_t i = 0; fits && first <= port && port <= last && i < a->n; i++) {
            if (a->v[i].family == from->family && a->v[i].lo <= from->lo && from->lo <= a->v[i].hi)
                return true;
        }
    }
    return false;
}

/* The answer of reach_why. */
static bool why_allows(struct random_tailnet *f, const struct engine_facts *from, const struct engine_facts *to,
                       int family, int proto, int port)
{
    char src[ADDR_TEXT_CAP], dst[ADDR_TEXT_CAP];
    struct reach_reason reason = {0};
    size_t n;
    addr_format(family == 4 ? &from->v4 : &from->v6, false, src);
    addr_format(family == 4 ? &to->v4 : &to->v6, false, dst);
    assert_int_equal(reach_why(f->p, str_c(src), str_c(dst), proto, port, &reason, 1, &n), RC_OK);
    return n > 0 && reason.is_allowed;
}

static bool same_packet(struct random_tailnet *f, const struct engine_facts *from, const struct engine_facts *to)
{
    static const unsigned some_ports[] = {0, 22, 80, 443, 1500, 65535}, some_protos[] = {6, 17, 1, 47, 58, 99};
    unsigned port = PICK(f, some_ports), proto = PICK(f, some_protos);
    int family = random_below(f, 2) == 0 ? 4 : 6;
    struct probe src = {node_range(from, family), engine_node_find(&f->p->nodes, from->id)};
    struct probe dst = {node_range(to, family), engine_node_find(&f->p->nodes, to->id)};
    struct buf text = {0};
    struct arena a = {0};
    struct filter_set set;
    const struct json *json;
    bool want = false;
    if (src.at.family == 0 || dst.at.family == 0)
        return true;
    for (size_t i = 0; i < f->doc->rule_n; i++) {
        struct rule_match match = reach_match_rule(f->p, &f->doc->rule[i], &src, &dst, (int)proto, (int)port, NULL);
        want = want || (f->doc->rule[i].via.n == 0 && match.source && match.destination && match.port);
    }
    engine_filter(f->p, to->id, &text);
    assert_int_equal(json_parse(&a, buf_str(&text), NULL, &json, NULL), RC_OK);
    filter_set_init(&set);
    filter_set_add_json(&set, json);
    bool got = filter_allows(&set, proto, &src.at, &dst.at, port);
    assert_int_equal(why_allows(f, from, to, family, (int)proto, (int)port), got);
    if (got != want)
        fprintf(stderr, "%u -> %u proto %u port %u: filter %d, rules %d\n", (unsigned)from->id, (unsigned)to->id, proto,
                port, got, want);
    filter_set_fini(&set);
    buf_fini(&text);
    arena_fini(&a);
    return got == want;
}

static void test_filters_rules_and_reasons_agree(void **state)
{
    struct random_tailnet *f = *state;
    for (int round = 0; round < ROUNDS; round++) {
        bool same = true;
        random_begin(f);
        for (uint32_t i = 0; i < EVENTS; i++)
            random_event(f);
        for (uint32_t i = 0; same && i < PACKETS; i++) {
            const struct engine_facts *from = random_some_node(f), *to = random_some_node(f);
            same = from == NULL || to == NULL || same_packet(f, from, to);
        }
        if (!same)
            random_print(f);
        assert_true(same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_filters_rules_and_reasons_agree, random_setup, random_teardown),
    };
    return cmocka_run_group_tests_name("reach packets", tests, NULL, NULL);
}
