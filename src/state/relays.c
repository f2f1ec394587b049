/* Relays that run elsewhere: enrolled by an admin, up as long as they announce themselves. */
#include <stdio.h>

#include "base/mem.h"
#include "base/vec.h"
#include "crypto/crypto.h"
#include "state/state_internal.h"

enum {
    RELAYS_MAX = 1000,
    FIRST_REGION = 901,  /* many hand-written maps have 900. src: docs/protocol/derp-stun.md 6: 900-999 are for users */
    BACK_MS = 60 * 1000, /* how long a relay that was up when the server stopped has to announce itself again */
};

const struct relay_host *state_relay_by_name(const struct state *st, struct str name)
{
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;) {
        if (str_eq_c(name, r->name))
            return r;
    }
    return NULL;
}

const struct relay_host *state_relay_by_key(const struct state *st, struct str text)
{
    uint8_t hash[KEY_HASH_BYTES];
    const struct relay_host *r;
    sha256(text.p, text.len, hash);
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;) {
        if (secret_equal(hash, r->hash, sizeof(hash)))
            return r;
    }
    return NULL;
}

bool state_take_relays_changed(struct state *st)
{
    /* A relay that is being deleted stays in the map until that is on disk. */
    if (!st->relays_changed || undo_has_deletion(st, &entity_relay_host))
        return false;
    st->relays_changed = false;
    return true;
}

/* --- rows --- */

static void append(struct state *st, const struct relay_host *r, int64_t until_ms)
{
    struct relay_record e = {.host = r, .until_ms = until_ms};
    VEC_PUSH(st->relays, st->relay_n, st->relay_cap, e);
}

static void replace(struct state *st, struct relay_record *e, const struct relay_host *next)
{
    state_relay_host_unref(&e->host);
    e->host = next;
    e->is_stale_on_disk = true;
    st->relays_unsettled = true;
}

size_t state_relays_flush(struct state *st)
{
    size_t n = 0;
    for (size_t i = 0; i < st->relay_n; i++) {
        if (!st->relays[i].is_stale_on_disk)
            continue;
        row_put_lazy(st, &entity_relay_host, st->relays[i].host->id);
        n++;
    }
    return n;
}

static enum rc check_row(const struct state *st, const struct relay_host *r, struct err *err)
{
    TRY(state_load_check_id(r->id, err));
    if (st->relay_n == RELAYS_MAX)
        return err_set(err, RC_INVALID, "there can be %d relays", RELAYS_MAX);
    if (state_relay_record(st, r->id) != NULL || state_relay_by_name(st, str_c(r->name)) != NULL)
        return err_set(err, RC_INVALID, "another row has the same id or name");
    if (!node_name_is_label(str_c(r->name)))
        return err_set(err, RC_INVALID, "column name is no DNS label");
    return RC_OK;
}

static bool is_pin(struct str name)
{
    static const struct str kind = {"sha256-raw:", 11};
    uint8_t hash[32];
    return !str_starts(name, kind) ||
           hex_decode(str_n(name.p + kind.len, name.len - kind.len), hash, sizeof(hash)) == RC_OK;
}

/* A report that would break the DERP map is dropped: the relay will announce itself again. */
static void fit_report(struct relay_host *r, struct err *err)
{
    struct relay_report *p = &r->report;
    bool is_odd = !is_pin(str_c(p->cert_name)) || (r->is_up && (p->host_name[0] == '\0' || p->derp_port == 0));
    for (const char *c = p->host_name; *c != '\0'; c++)
        is_odd = is_odd || *c <= ' ' || *c > '~' || *c == '"' || *c == '/';
    if (!is_odd)
        return;
    *p = (struct relay_report){0};
    r->is_up = false;
    err_set(err, RC_INVALID, "how it is reached makes no sense: down until it announces itself");
}

enum rc state_load_relay(struct state *st, struct relay_host *r, struct err *err)
{
    TRY(check_row(st, r, err));
    if (st->relay_n > 0 && r->id < st->relays[st->relay_n - 1].host->id)
        return err_set(err, RC_INVALID, "it is out of order");
    fit_report(r, err);
    state_load_fit_time(&r->created_ms);
    state_load_fit_time(&r->last_seen_ms);
    append(st, r, 0);
    return RC_OK;
}

void state_relays_load_done(struct state *st, int64_t now_ms)
{
    for (size_t i = 0; i < st->relay_n; i++) {
        if (!st->relays[i].host->is_up)
            continue;
        st->relays[i].until_ms = state_steady_ms(st, now_ms) + BACK_MS;
        state_due_at(st, st->relays[i].until_ms);
        st->relays_changed = true;
    }
}

void state_relays_fini(struct state *st)
{
    for (size_t i = 0; i < st->relay_n; i++)
        state_relay_host_unref(&st->relays[i].host);
    mem_free(st->relays);
    mem_free(st->deleted_relays);
}

/* --- enrolment --- */

static const struct relay_host *first_of_region(const struct state *st, uint16_t region_id)
{
    const struct relay_host *r;
    for (size_t pos = 0; (r = state_relay_next(st, &pos)) != NULL;) {
        if (r->region_id == region_id)
            return r;
    }
    return NULL;
}

static uint16_t free_region(const struct state *st)
{
    uint16_t id = FIRST_REGION;
    while (id == st->options.own_region || first_of_region(st, id) != NULL)
        id++;
    return id;
}

static enum rc check_spec(const struct state *st, const struct relay_spec *spec, struct err *err)
{
    if (!node_name_is_label(spec->name))
        return err_set(err, RC_INVALID,
                       "'%.*s' is no name for a relay: use 1 to 63 lower-case letters, digits and dashes, no dash at "
                       "either end",
                       STR_ARG(spec->name));
    if (state_relay_by_name(st, spec->name) != NULL)
        return err_set(err, RC_EXISTS, "there is a relay named '%.*s' already (list them: relays list)",
                       STR_ARG(spec->name));
    if (spec->region_code.len >= NAME_CAP || spec->region_name.len >= USER_NAME_CAP)
        return err_set(err, RC_INVALID, "the region's code (%d bytes) or name (%d) is too long", NAME_CAP - 1,
                       USER_NAME_CAP - 1);
    if (st->relay_n >= RELAYS_MAX)
        return err_set(err, RC_LIMIT, "there are %d relays already; delete one first", RELAYS_MAX);
    return RC_OK;
}

static void choose_text(char *out, size_t cap, struct str asked, const char *of_region, const char *name)
{
    if (asked.len > 0)
        snprintf(out, cap, "%.*s", STR_ARG(asked));
    else
        snprintf(out, cap, "%s", of_region != NULL ? of_region : name);
}

enum rc state_relay_create(struct state *st, const struct relay_spec *spec, const uint8_t random[AUTH_KEY_RANDOM_BYTES],
                           int64_t now_ms, const struct relay_host **out, char text[AUTH_KEY_TEXT_CAP], struct err *err)
{
    TRY(check_spec(st, spec, err));
    struct relay_host *r = state_relay_host_create();
    r->id = row_next_id(st, &entity_relay_host);
    snprintf(r->name, sizeof(r->name), "%.*s", STR_ARG(spec->name));
    r->region_id = spec->region_id != 0 ? spec->region_id : free_region(st);
    const struct relay_host *other = first_of_region(st, r->region_id);
    choose_text(r->region_code, sizeof(r->region_code), spec->region_code, other ? other->region_code : NULL, r->name);
    choose_text(r->region_name, sizeof(r->region_name), spec->region_name, other ? other->region_name : NULL, r->name);
    r->created_ms = now_ms;
    auth_key_text_make("fskey-relay", random, r->prefix, text, r->hash);
    append(st, r, 0);
    state_put(st, &entity_relay_host, NULL, &r->row);
    event_note(st, EVENT_RELAY_ENROLLED, &entity_relay_host, NULL, r);
    *out = r;
    return RC_OK;
}

static void remove_record(struct state *st, struct relay_record *e)
{
    state_relay_host_unref(&e->host);
    size_t after = (size_t)(st->relays + st->relay_n - (e + 1));
    memmove(e, e + 1, after * sizeof(*e));
    st->relay_n--;
}

static void drop_record(struct state *st, struct relay_record *e)
{
    st->relays_changed = st->relays_changed || e->host->is_up;
    remove_record(st, e);
}

static void insert_record(struct state *st, const struct relay_record *e)
{
    size_t at = 0;
    VEC_ROOM(st->relays, st->relay_n, st->relay_cap, 1);
    while (at < st->relay_n && st->relays[at].host->id < e->host->id)
        at++;
    memmove(st->relays + at + 1, st->relays + at, (st->relay_n - at) * sizeof(*e));
    st->relays[at] = *e;
    st->relay_n++;
}

enum rc state_relay_delete(struct state *st, uint64_t id, struct err *err)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e == NULL)
        return err_set(err, RC_NOT_FOUND, "there is no relay with id %llu (list them: relays list)",
                       (unsigned long long)id);
    if (!undo_has_deletion(st, &entity_relay_host))
        st->deleted_relay_n = 0;
    struct deleted_relay deleted = {id, e->numbers};
    VEC_PUSH(st->deleted_relays, st->deleted_relay_n, st->deleted_relay_cap, deleted);
    state_put(st, &entity_relay_host, &e->host->row, NULL);
    event_note(st, EVENT_RELAY_DELETED, &entity_relay_host, e->host, NULL);
    drop_record(st, e);
    return RC_OK;
}

static struct relay_numbers numbers_of_deleted(const struct state *st, uint64_t id)
{
    for (size_t i = st->deleted_relay_n; i-- > 0;) {
        if (st->deleted_relays[i].id == id)
            return st->deleted_relays[i].numbers;
    }
    return (struct relay_numbers){0};
}

void state_relay_restore(struct state *st, uint64_t id, const struct relay_host *before, int64_t now_ms)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e != NULL)
        drop_record(st, e);
    if (before == NULL)
        return;
    struct relay_record back = {
        .host = state_relay_host_ref(before), .numbers = numbers_of_deleted(st, id), .is_stale_on_disk = true};
    if (before->is_up) {
        /* Announcements that came while the record was missing have been refused, so it gets time for another. */
        back.until_ms = state_steady_ms(st, now_ms) + BACK_MS;
        state_due_at(st, back.until_ms);
        st->relays_changed = true;
    }
    insert_record(st, &back);
}

/* --- coming and going --- */

static bool same_report(const struct relay_report *a, const struct relay_report *b)
{
    return strcmp(a->host_name, b->host_name) == 0 && strcmp(a->cert_name, b->cert_name) == 0 &&
           addr_eq(&a->ipv4, &b->ipv4) && addr_eq(&a->ipv6, &b->ipv6) && a->derp_port == b->derp_port &&
           a->stun_port == b->stun_port;
}

enum rc state_relay_accept_number(struct state *st, uint64_t id, uint64_t started_ms, uint64_t number)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e == NULL)
        return RC_NOT_FOUND;
    if (e->host->is_up && started_ms < e->numbers.started_ms)
        return RC_EXISTS;
    if (started_ms == e->numbers.started_ms && number < e->numbers.number)
        return RC_LIMIT;
    e->numbers.started_ms = started_ms;
    e->numbers.number = number;
    return RC_OK;
}

enum rc state_relay_announce(struct state *st, uint64_t id, const struct relay_report *report, int64_t until_ms,
                             int64_t now_ms, uint64_t *serial_out)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e == NULL)
        return RC_NOT_FOUND;
    *serial_out = ++e->numbers.serial;
    e->until_ms = state_steady_ms(st, until_ms);
    state_due_at(st, e->until_ms);
    if (e->host->is_up && same_report(&e->host->report, report))
        return RC_OK;
    struct relay_host *r = state_relay_host_edit(e->host);
    r->is_up = true;
    r->last_seen_ms = now_ms;
    r->report = *report;
    if (!e->host->is_up)
        event_note_at_once(st, EVENT_RELAY_UP, &entity_relay_host, e->host, r);
    replace(st, e, r);
    st->relays_changed = true;
    return RC_OK;
}

static void go_down(struct state *st, struct relay_record *e, int64_t now_ms)
{
    struct relay_host *r = state_relay_host_edit(e->host);
    r->is_up = false;
    r->last_seen_ms = now_ms;
    event_note_at_once(st, EVENT_RELAY_DOWN, &entity_relay_host, e->host, r);
    replace(st, e, r);
    st->relays_changed = true;
}

void state_relay_leave(struct state *st, uint64_t id, uint64_t serial, int64_t at_ms, int64_t now_ms)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e == NULL || !e->host->is_up || e->numbers.serial != serial || e->until_ms <= state_steady_ms(st, at_ms))
        return;
    e->until_ms = state_steady_ms(st, at_ms);
    if (at_ms <= now_ms)
        go_down(st, e, now_ms);
    else
        state_due_at(st, e->until_ms);
}

void state_relays_tick(struct state *st, int64_t now_ms)
{
    for (size_t i = 0; i < st->relay_n; i++) {
        struct relay_record *e = &st->relays[i];
        if (!e->host->is_up)
            continue;
        if (e->until_ms <= state_steady_ms(st, now_ms))
            go_down(st, e, now_ms);
        else
            state_due_at(st, e->until_ms);
    }
}

/* --- rows of other servers --- */

void state_relay_follow_leave(struct state *st, uint64_t id, struct relay_list *left)
{
    struct relay_record *e = state_relay_record(st, id);
    if (e == NULL)
        return;
    struct relay_record kept = *e;
    state_relay_host_ref(kept.host);
    VEC_PUSH(left->v, left->n, left->cap, kept);
    remove_record(st, e);
}

static const struct relay_record *find_left(const struct relay_list *left, uint64_t id)
{
    for (size_t i = 0; i < left->n; i++) {
        if (left->v[i].host->id == id)
            return &left->v[i];
    }
    return NULL;
}

enum rc state_relay_follow_enter(struct state *st, const struct relay_host *row, const struct relay_list *left,
                                 int64_t now_ms, struct err *err)
{
    TRY(check_row(st, row, err));
    const struct relay_record *before = find_left(left, row->id);
    struct relay_record e = before != NULL ? *before : (struct relay_record){0};
    struct relay_host *r = state_relay_host_edit(row);
    if (e.is_stale_on_disk) {
        r->is_up = e.host->is_up;
        r->last_seen_ms = e.host->last_seen_ms;
        r->report = e.host->report;
    }
    struct err odd;
    fit_report(r, &odd);
    state_load_fit_time(&r->created_ms);
    state_load_fit_time(&r->last_seen_ms);
    e.host = r;
    int64_t back_ms = state_steady_ms(st, now_ms) + BACK_MS;
    if (r->is_up && e.until_ms < back_ms && !e.is_stale_on_disk)
        e.until_ms = back_ms; /* it announces itself elsewhere */
    if (r->is_up)
        state_due_at(st, e.until_ms);
    insert_record(st, &e);
    st->relays_changed |= before == NULL && r->is_up;
    return RC_OK;
}

void state_relay_follow_done(struct state *st, struct relay_list *left)
{
    for (size_t i = 0; i < left->n; i++) {
        const struct relay_host *before = left->v[i].host, *now = state_relay(st, before->id);
        bool is_up = now != NULL && now->is_up;
        st->relays_changed |= before->is_up != is_up || (is_up && !same_report(&before->report, &now->report));
        state_relay_host_unref(&before);
    }
    mem_free(left->v);
}
