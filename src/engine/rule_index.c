#include "engine/rule_index.h"

#include "base/bits.h"
#include "base/mem.h"

static void add_part(struct rule_index *r, struct source_table *sources, enum rule_part_kind kind, uint32_t rule,
                     uint32_t list)
{
    uint32_t id = (uint32_t)r->part_n;
    struct source_list *l = &sources->list[list];
    VEC_PUSH(r->part, r->part_n, r->part_cap, ((struct rule_part){kind, rule, list}));
    VEC_PUSH(l->part, l->part_n, l->part_cap, id);
}

/* The destinations of the rule except autogroup:self, as the sources of its companion. */
static struct sel_list others(const struct policy_doc *doc, struct arena *arena, const struct rule *rule)
{
    struct sel_list list = {arena_zalloc(arena, rule->dst_n, sizeof(*list.v)), 0};
    for (size_t i = 0; i < rule->dst_n; i++) {
        if (doc->sel[rule->dst[i].sel].kind != SEL_SELF)
            list.v[list.n++] = rule->dst[i].sel;
    }
    return list;
}

static void add_rule(struct rule_index *r, const struct policy_doc *doc, struct source_table *sources, uint32_t index)
{
    const struct rule *rule = &doc->rule[index];
    struct sel_list dst = others(doc, sources->arena, rule);
    uint32_t list = source_table_intern(sources, &rule->src, rule->posture);
    r->rule_list[index] = list;
    if (dst.n < rule->dst_n && rule->via.n == 0) {
        r->self_rules.v[r->self_rules.n++] = index;
        sources->list[list].is_self = true;
    }
    if (dst.n == 0)
        return;
    add_part(r, sources, rule->via.n > 0 ? PART_VIA : PART_RULE, index, list);
    if ((rule->has_drive || rule->has_relay) && rule->via.n == 0)
        add_part(r, sources, PART_COMPANION, index, source_table_intern(sources, &dst, 0));
}

static void add_ssh_rules(struct rule_index *r, const struct policy_doc *doc, struct source_table *sources)
{
    r->ssh_list = arena_zalloc(sources->arena, doc->ssh_n, sizeof(*r->ssh_list));
    r->recorder_list = arena_zalloc(sources->arena, doc->ssh_n, sizeof(*r->recorder_list));
    for (uint32_t i = 0; i < doc->ssh_n; i++) {
        r->ssh_list[i] = source_table_intern(sources, &doc->ssh[i].src, doc->ssh[i].posture);
        r->recorder_list[i] = source_table_intern(sources, &doc->ssh[i].recorder, 0);
        sources->list[r->recorder_list[i]].is_recorder = true;
        for (size_t k = 0; k < doc->ssh[i].dst.n; k++)
            r->has_own = r->has_own || doc->sel[doc->ssh[i].dst.v[k]].kind == SEL_SELF;
    }
}

/* How many selectors are destinations of the part. */
static size_t part_dst_n(const struct policy_doc *doc, const struct rule_part *part)
{
    const struct rule *rule = &doc->rule[part->rule];
    return part->kind == PART_COMPANION ? rule->src.n : part->kind == PART_RULE ? rule->dst_n : 0;
}

static sel_id part_dst(const struct policy_doc *doc, const struct rule_part *part, size_t i)
{
    const struct rule *rule = &doc->rule[part->rule];
    return part->kind == PART_COMPANION ? rule->src.v[i] : rule->dst[i].sel;
}

/* Makes the lists of parts of each selector: counted first, then filled. */
static void index_destinations(struct rule_index *r, const struct policy_doc *doc, struct arena *arena)
{
    r->dst_parts = arena_zalloc(arena, doc->sel_n, sizeof(*r->dst_parts));
    r->via_parts.v = arena_zalloc(arena, r->part_n, sizeof(*r->via_parts.v));
    for (int fill = 0; fill < 2; fill++) {
        for (uint32_t id = 0; id < r->part_n; id++) {
            const struct rule_part *part = &r->part[id];
            for (size_t i = 0; i < part_dst_n(doc, part); i++) {
                struct index_list *of = &r->dst_parts[part_dst(doc, part, i)];
                if (fill)
                    of->v[of->n] = id;
                of->n++;
            }
            if (fill && part->kind == PART_VIA)
                r->via_parts.v[r->via_parts.n++] = id;
        }
        for (sel_id sel = 0; !fill && sel < doc->sel_n; sel++) {
            struct index_list *of = &r->dst_parts[sel];
            of->v = arena_zalloc(arena, of->n, sizeof(*of->v));
            of->n = 0;
        }
    }
}

void rule_index_init(struct rule_index *r, const struct policy_doc *doc, struct source_table *sources)
{
    *r = (struct rule_index){0};
    r->rule_list = arena_zalloc(sources->arena, doc->rule_n, sizeof(*r->rule_list));
    r->self_rules.v = arena_zalloc(sources->arena, doc->rule_n, sizeof(*r->self_rules.v));
    for (uint32_t i = 0; i < doc->rule_n; i++)
        add_rule(r, doc, sources, i);
    r->has_own = r->self_rules.n > 0;
    add_ssh_rules(r, doc, sources);
    source_table_finish(sources);
    r->words = bits_words(r->part_n);
    index_destinations(r, doc, sources->arena);
}

void rule_index_fini(struct rule_index *r)
{
    mem_free(r->part);
}
