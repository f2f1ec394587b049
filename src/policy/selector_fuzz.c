/* Selectors, ranges, ports and protocols; the first byte chooses. A range that is written must read back as the same
 * range. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "policy/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct range *a, const struct range *b)
{
    return a->family == b->family && a->lo == b->lo && a->hi == b->hi;
}

/* Addresses in ::ffff:0:0/96 are read as IPv4. */
static bool is_mapped(const struct range *r)
{
    return r->family == 6 && (r->lo >> 32 == 0xffff || r->hi >> 32 == 0xffff);
}

static void check_range(struct str text)
{
    char out[RANGE_TEXT_CAP];
    struct range r, again, prefix;
    if (!range_parse(text, &r) || is_mapped(&r))
        return;
    size_t n = range_format(&r, out);
    if (n >= sizeof(out) || !range_parse(str_n(out, n), &again) || !same(&r, &again))
        abort();
    n = range_format_pair(&r, out);
    if (n >= sizeof(out) || !range_parse(str_n(out, n), &again) || !same(&r, &again))
        abort();
    /* Its prefixes must cover it without gaps. */
    struct range rest = r;
    ip_number next = r.lo;
    while (range_take_prefix(&rest, &prefix)) {
        unsigned bits;
        if (prefix.lo != next || prefix.hi > r.hi || !range_prefix_bits(&prefix, &bits))
            abort();
        next = prefix.hi + 1;
    }
    if (next != r.hi + 1)
        abort();
}

static void check_ports(struct str text)
{
    struct arena a = {0};
    struct port_list ports = {0};
    const char *fault = policy_ports_parse(&a, text, &ports);
    for (size_t i = 0; fault == NULL && i < ports.n; i++) {
        if (ports.v[i].first > ports.v[i].last)
            abort();
    }
    if (fault == NULL && ports.n == 0)
        abort();
    arena_fini(&a);
}

static void check_selector(struct str text)
{
    static struct policy_doc *doc;
    struct policy_errors errors = {0};
    struct selector s;
    if (doc == NULL &&
        policy_parse(STR("{\"groups\":{\"group:g\":[]},\"hosts\":{\"h\":\"10.0.0.0/8\"},\"tagOwners\":{\"tag:t\":[]},"
                         "\"ipsets\":{\"ipset:s\":[\"10.0.0.1\"]}}"),
                     NULL, &doc, &errors) != RC_OK)
        abort();
    struct range_set ranges = {0};
    if (doc_classify(doc, text, &s) == SEL_FINE)
        doc_ranges(doc, &s, &ranges);
    if (ranges.n > 0 && s.kind != SEL_ADDRS && s.kind != SEL_INTERNET)
        abort();
    range_set_fini(&ranges);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t proto;
    if (size == 0)
        return 0;
    struct str text = str_n(data + 1, size - 1);
    fuzz_bounds_mark();
    switch (data[0] % 4) {
    case 0: check_range(text); break;
    case 1: check_ports(text); break;
    case 2: check_selector(text); break;
    default:
        if (policy_proto_parse(text, &proto) && text.len == 0 && proto != 0)
            abort();
        break;
    }
    fuzz_bounds_check(size, 64 << 10, 40);
    fuzz_bounds_check_steps(size, 40000, 32);
    return 0;
}
