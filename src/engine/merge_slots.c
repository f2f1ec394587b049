#include "engine/merge_slots.h"

#include <string.h>

#include "base/mem.h"
#include "engine/sources.h"
#include "engine/tables.h"

uint32_t merge_order(const struct policy_doc *doc, const struct rule *rule, uint32_t phase)
{
    return (uint32_t)(rule - doc->rule) * PHASES + phase + 1;
}

struct merge_slot *merge_slot_find(const struct merge_table *t, const uint64_t hash[2], uint32_t proto)
{
    size_t mask = t->cap - 1;
    for (size_t i = (hash[0] ^ proto) & mask;; i = (i + 1) & mask) {
        struct merge_slot *at = &t->slot[i];
        if (at->order == 0 || (at->hash[0] == hash[0] && at->hash[1] == hash[1] && at->proto == proto))
            return at;
    }
}

bool merge_has_before_self(const struct policy_doc *doc, const struct rule *rule)
{
    return !rule->is_acl || doc->sel[rule->dst[0].sel].kind != SEL_SELF;
}

/* Fills the slots of one part. Parts come in the order of their rules, so that the first one counts. */
static void fill_part(struct engine *e, const struct rule_part *part)
{
    const struct rule *rule = &e->doc->rule[part->rule];
    struct source_list *l = &e->sources.list[part->list];
    uint64_t hash[2];
    if (part->kind != PART_RULE || rule->ip_n == 0 || sources_is_empty(e, l))
        return;
    sources_hash(e, l, hash);
    uint32_t phase = merge_has_before_self(e->doc, rule) ? PHASE_BEFORE_SELF : PHASE_AFTER_SELF;
    for (uint32_t i = 0; i < rule->ip_n; i++) {
        uint32_t proto = rule->ip[i].proto;
        struct merge_slot *at = merge_slot_find(&e->merges, hash, proto);
        if (at->order == 0)
            *at = (struct merge_slot){{hash[0], hash[1]}, proto, merge_order(e->doc, rule, phase + i)};
    }
}

void merge_slots_fill(struct engine *e)
{
    size_t most = 0, cap = 16;
    if (e->merges.version == e->clock)
        return;
    for (size_t i = 0; i < e->rules.part_n; i++)
        most += e->doc->rule[e->rules.part[i].rule].ip_n;
    while (cap < most * 2)
        cap *= 2;
    if (cap != e->merges.cap)
        e->merges.slot = mem_realloc_array(e->merges.slot, cap, sizeof(*e->merges.slot));
    e->merges.cap = cap;
    memset(e->merges.slot, 0, cap * sizeof(*e->merges.slot));
    for (size_t i = 0; i < e->rules.part_n; i++)
        fill_part(e, &e->rules.part[i]);
    e->merges.version = e->clock;
}
