/* What nodes know of each other: counted as they learn it, checked record by record, and compared with the truth. */
#include "base/bits.h"
#include "base/mem.h"
#include "bench/fleet.h"

enum { EXAMPLES_MAX = 8 };

void fleet_sim_changed(struct sim *s)
{
    struct fleet *f = s->fleet;
    const struct view_class *class = &f->classes[s->class].view;
    bool is_complete = s->has_first_map && view_is_complete(&s->view, class);
    if (s->has_first_map && !s->knows_all_endpoints && s->view.endpoints_n == class->expected) {
        s->knows_all_endpoints = true;
        f->last_endpoints_us = f->now_us;
    }
    if (is_complete == s->is_complete)
        return;
    s->is_complete = is_complete;
    if (!is_complete) {
        f->complete--;
        return;
    }
    f->complete++;
    f->last_complete_us = f->now_us;
    hist_add(&f->stats.converge, f->now_us - f->converge_since_us);
}

static void count_fault(struct fleet *f, const char *what)
{
    f->stats.wrong_records++;
    errors_add(&f->errors, "a record of a node: %s", what);
}

static bool has_sent(const struct sim *s, uint32_t endpoints)
{
    for (unsigned i = 0; i < s->sent_n; i++) {
        if (s->sent[i] == endpoints)
            return true;
    }
    return false;
}

static bool is_among(uint32_t wanted, const uint32_t *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (list[i] == wanted)
            return true;
    }
    return false;
}

static const char *addresses_fault(const struct sim *s, const struct scan_record *r)
{
    if (r->address_n == 0)
        return "no addresses";
    for (unsigned i = 0; i < r->address_n; i++) {
        if (s->id != 0 && !is_among(r->addresses[i], s->addresses, SCAN_ADDRESSES_MAX))
            return "an address that is not its own";
        if (r->allowed_n < SCAN_ALLOWED_MAX && !is_among(r->addresses[i], r->allowed, r->allowed_n))
            return "an address that is not in AllowedIPs";
    }
    return NULL;
}

/* What is wrong with the members of a whole record that never change or must be there; null: nothing. */
static const char *record_fault(const struct sim *s, const struct scan_record *r)
{
    static uint32_t linux_digest;
    if (linux_digest == 0)
        linux_digest = scan_digest(STR("linux"));
    struct str key = str_n(r->key, r->key_n);
    if (!str_eq_c(key, s->key_text) && !str_eq_c(key, s->old_key_text))
        return "another node key";
    if (r->machine != 0 && r->machine != s->machine_digest) /* peers are shown without one */
        return "another machine key";
    if (r->disco != 0 && r->disco != s->disco_digest)
        return "another disco key";
    if (!r->has_name || !r->has_stable_id)
        return "no Name or StableID";
    if (!r->has_user)
        return "no User";
    if (r->is_refused)
        return "the machine is not authorised";
    if (!r->has_hostinfo || r->hostinfo_os != linux_digest)
        return "Hostinfo without its OS";
    return addresses_fault(s, r);
}

/* Is called once for each record, however many nodes it is sent to. */
void fleet_check_record(void *ctx, const struct scan_record *r, int index, bool is_patch)
{
    struct fleet *f = ctx;
    if (index < 0 || (unsigned)index >= f->n)
        return;
    const struct sim *s = &f->sims[index];
    if (r->endpoint_n > 0 && !has_sent(s, r->endpoints))
        count_fault(f, "endpoints that it never reported");
    const char *what = f->is_deep && !is_patch ? record_fault(s, r) : NULL;
    if (what != NULL)
        count_fault(f, what);
}

struct examples {
    struct fleet *fleet;
    struct errors *out;
};

static void add_example(void *ctx, unsigned viewer, unsigned peer, const char *what)
{
    struct examples *e = ctx;
    char a[64], b[64];
    if (e->out == NULL || e->out->n >= EXAMPLES_MAX)
        return;
    sim_host_name(&e->fleet->sims[viewer], a);
    sim_host_name(&e->fleet->sims[peer], b);
    errors_add(e->out, "%s %s %s", a, what, b);
}

void fleet_verify(struct fleet *f, struct view_report *r, struct errors *examples)
{
    struct examples e = {f, examples};
    struct view_facts *stated = f->keeps_facts ? mem_zalloc(f->n, sizeof(*stated)) : NULL;
    *r = (struct view_report){0};
    for (unsigned i = 0; stated != NULL && i < f->n; i++)
        sim_describe(&f->sims[i], &stated[i]);
    for (unsigned i = 0; i < f->n; i++) {
        const struct sim *s = &f->sims[i];
        struct view_truth truth = {&f->classes[s->class].view, f->n, stated, add_example, &e};
        if (!s->is_paused)
            view_check(&s->view, &truth, r);
    }
    mem_free(stated);
}

uint64_t fleet_visible_pairs(const struct fleet *f)
{
    uint64_t pairs = 0;
    for (unsigned i = 0; i < f->class_n; i++)
        pairs += (uint64_t)f->classes[i].size * f->classes[i].view.expected;
    return pairs;
}

unsigned fleet_receivers(const struct fleet *f, const struct sim *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < f->class_n; i++) {
        if (bit_get(f->classes[i].view.visible, s->index))
            n += f->classes[i].size - (i == s->class);
    }
    return n;
}
