/* The section ipsets. src: docs/protocol/policy.md 2.4 */
#include <string.h>

#include "policy/reader_internal.h"

enum { IPSET_CHAIN_MAX = 64, IPSET_WORK_RATIO = 5, IPSET_WORK_RATIO_STORED = 50 };

static bool open_ipset(struct reader *r, struct ipset *set, unsigned depth);

/* Splits "add TARGET". False when there is no verb. */
static bool split_verb(struct str op, bool *is_remove_out, struct str *target_out)
{
    struct str verb, rest;
    *is_remove_out = false;
    *target_out = op;
    if (!str_cut(op, ' ', &verb, &rest) || (!str_eq(verb, STR("add")) && !str_eq(verb, STR("remove"))))
        return false;
    *is_remove_out = str_eq(verb, STR("remove"));
    *target_out = str_trim(rest);
    return true;
}

/* Whether `n` more ranges may be processed. ipsets of ipsets, and additions that alternate with removals, would take
 * far more time and memory than the text has bytes. */
static bool charge_ranges(struct reader *r, const struct json *at, size_t n)
{
    const size_t ratio = r->opts->is_stored ? IPSET_WORK_RATIO_STORED : IPSET_WORK_RATIO;
    const size_t most = ratio * r->limits->selectors;
    if (r->ipset_ranges > most)
        return false;
    r->ipset_ranges += n;
    if (r->ipset_ranges > most)
        reader_fail(
            r, at,
            "ipsets: more than %zu ranges, counting a set's again wherever another takes them and at each change "
            "between 'add' and 'remove': use fewer of either",
            most);
    return r->ipset_ranges <= most;
}

/* Consecutive operations of one kind, which are done at once: each alone would process all ranges so far. */
struct ipset_run {
    struct range_set so_far; /* canonical */
    struct range_set what;
    bool is_remove;
};

static void end_run(struct reader *r, struct ipset *set, const struct json *at, struct ipset_run *run)
{
    struct range_set *so_far = &run->so_far;
    if (!charge_ranges(r, at, so_far->n + run->what.n))
        so_far->n = run->what.n = 0;
    range_set_join(&run->what);
    if (run->is_remove)
        range_set_subtract(so_far, &run->what);
    for (size_t i = 0; !run->is_remove && i < run->what.n; i++)
        range_set_add(so_far, run->what.v[i]);
    if (!run->is_remove)
        range_set_join(so_far);
    if (so_far->n > r->limits->hosts) {
        reader_fail(r, at, "ipsets[%s]: more than %zu ranges", reader_quote(r, set->name), r->limits->hosts);
        so_far->n = 0;
    }
    run->what.n = 0;
}

/* Adds the ranges of the operation's target to the run, which may be not canonical afterwards. */
static void apply_op(struct reader *r, struct ipset *set, const struct read_item *op, unsigned depth,
                     struct ipset_run *run)
{
    bool is_remove, has_internet = false;
    struct str target;
    split_verb(op->text, &is_remove, &target);
    if (is_remove != run->is_remove || run->what.n > r->limits->hosts)
        end_run(r, set, op->at, run);
    run->is_remove = is_remove;
    if (!charge_ranges(r, op->at, 1))
        return;

    struct range range;
    struct str host = str_starts(target, STR("host:")) ? str_n(target.p + 5, target.len - 5) : STR_EMPTY;
    struct ipset *other = map_get(&r->doc->ipset_by_name, target.p, target.len);
    if (range_parse(target, &range) || (host.len > 0 && doc_host_range(r->doc, host, &range))) {
        range_set_add(&run->what, range);
    } else if (str_eq(target, STR("autogroup:internet"))) {
        has_internet = true;
        for (size_t i = 0; i < range_internet_n; i++)
            range_set_add(&run->what, range_internet[i]);
    } else if (other != NULL && other->state == IPSET_OPEN) {
        reader_fail(r, op->at, "ipsets: %s contains itself", reader_quote(r, target));
    } else if (other != NULL && open_ipset(r, other, depth + 1)) {
        has_internet = other->has_internet;
        for (size_t i = 0; i < other->n; i++)
            range_set_add(&run->what, other->v[i]);
    } else if (other == NULL) {
        reader_fail(r, op->at, "ipsets: %s is not an address, host, ipset or autogroup:internet",
                    reader_quote(r, target));
    }
    set->has_internet = is_remove ? set->has_internet && !has_internet : set->has_internet || has_internet;
}

static void check_verbs(struct reader *r, const struct read_items *ops)
{
    size_t with_verb = 0, removes = 0;
    for (size_t i = 0; i < ops->n; i++) {
        bool is_remove;
        struct str target;
        with_verb += split_verb(ops->v[i].text, &is_remove, &target);
        removes += is_remove;
    }
    if (removes > 0 && with_verb < ops->n)
        reader_fail(r, ops->v[0].at, "ipsets: a list with 'remove' needs 'add' or 'remove' before every target");
}

static bool open_ipset(struct reader *r, struct ipset *set, unsigned depth)
{
    if (set->state == IPSET_DONE)
        return true;
    if (depth > IPSET_CHAIN_MAX) {
        reader_fail(r, set->ops, "ipsets[%s]: more than %d ipsets in one another", reader_quote(r, set->name),
                    IPSET_CHAIN_MAX);
        return false;
    }
    struct read_items ops = reader_strings(r, set->ops, "an ipset");
    struct ipset_run run = {0};
    set->state = IPSET_OPEN;
    check_verbs(r, &ops);
    for (size_t i = 0; i < ops.n; i++)
        apply_op(r, set, &ops.v[i], depth, &run);
    if (ops.n > 0)
        end_run(r, set, ops.v[ops.n - 1].at, &run);
    set->n = run.so_far.n;
    set->v = arena_zalloc(&r->doc->arena, set->n, sizeof(*set->v));
    if (set->n > 0)
        memcpy(set->v, run.so_far.v, set->n * sizeof(*set->v));
    set->state = IPSET_DONE;
    range_set_fini(&run.so_far);
    range_set_fini(&run.what);
    return true;
}

void reader_ipsets(struct reader *r)
{
    const struct json *section = r->section[SECTION_IPSETS];
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "ipsets") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->hosts, "ipsets"))
        return;
    struct ipset *sets = arena_zalloc(&r->doc->arena, json_len(section), sizeof(*sets));
    size_t n = 0;
    JSON_EACH (it, section) {
        sets[n] = (struct ipset){.name = json_key_of(it), .ops = it};
        if (!str_starts(sets[n].name, STR("ipset:")) || sets[n].name.len == 6)
            reader_fail(r, it, "ipsets[%s]: names must begin with 'ipset:'", reader_quote(r, sets[n].name));
        map_put(&r->doc->ipset_by_name, sets[n].name.p, sets[n].name.len, &sets[n]);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        open_ipset(r, &sets[i], 0);
}
