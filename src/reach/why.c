/* Why something is allowed, or not. */
#include "reach/reach_internal.h"

static size_t match_score(const struct reach_reason *r)
{
    return (r->is_allowed ? 8u : 0u) + 4u * r->has_source + 2u * r->has_destination + r->has_port;
}

/* What the rule says of the pair of addresses that it matches best. Pairs of different families are left out: no
 * packet has both. */
static struct reach_reason judge(const struct engine *e, const struct rule *rule, const struct probes *src,
                                 const struct probes *dst, int proto, int port)
{
    struct reach_reason best = {.line = e->doc->has_rules ? doc_line(e->doc, rule->offset) : 0,
                                .section = !e->doc->has_rules ? ""
                                           : rule->is_acl     ? "acls"
                                                              : "grants",
                                .index = rule->index};
    for (size_t i = 0; i < src->n; i++) {
        for (size_t k = 0; k < dst->n; k++) {
            if (src->v[i].at.family != dst->v[k].at.family)
                continue;
            struct rule_match match = reach_match_rule(e, rule, &src->v[i], &dst->v[k], proto, port, NULL);
            struct reach_reason now = best;
            now.has_source = match.source;
            now.has_destination = match.destination;
            now.has_port = match.port;
            now.is_allowed = match.source && match.destination && match.port;
            if (match_score(&now) > match_score(&best))
                best = now;
        }
    }
    return best;
}

enum rc reach_why(struct engine *e, struct str src, struct str dst, int proto, int port, struct reach_reason *out,
                  size_t cap, size_t *n_out)
{
    struct probes from = {0}, to = {0};
    struct reach_reason closest = {0};
    bool is_allowed = false;
    *n_out = 0;
    if (!reach_probes_find(e, src, NULL, &from) ||
        !reach_probes_find(e, dst, from.v[0].node != NULL ? from.v[0].node->owner : NULL, &to)) {
        reach_probes_fini(&from);
        reach_probes_fini(&to);
        return RC_NOT_FOUND;
    }
    reach_probes_reduce(e, &from, NULL, 0);
    reach_probes_reduce(e, &to, NULL, 0);
    for (size_t i = 0; i < e->doc->rule_n; i++) {
        struct reach_reason r = judge(e, &e->doc->rule[i], &from, &to, proto, port);
        if (r.is_allowed && *n_out < cap)
            out[(*n_out)++] = r;
        if (i == 0 || match_score(&r) > match_score(&closest))
            closest = r;
    }
    /* The filters decide; the rules only explain the answer. But an address that no node has or serves is in no
     * filter: then the rules decide. */
    for (size_t i = 0; i < to.n && !is_allowed; i++) {
        enum sent sent = reach_sent(e, &from, &to.v[i], proto, port);
        is_allowed = sent == SENT_ALLOWED || (sent == SENT_NOTHING && *n_out > 0);
    }
    if (!is_allowed || *n_out == 0) {
        closest.is_allowed = is_allowed;
        *n_out = cap > 0 && e->doc->rule_n > 0;
        if (*n_out > 0)
            out[0] = closest;
    }
    reach_probes_fini(&from);
    reach_probes_fini(&to);
    return RC_OK;
}
