/* The audiences of a change and their messages, kept in the change's slot: found without a lock, made under one. */
#include "netmap/netmap_internal.h"

#include <string.h>

#include "base/mem.h"

METRIC_COUNTER(encoded_shared, "fullscale_netmap_encoded_total", "what=\"delta_shared\"", "");
METRIC_COUNTER(shared_bytes, "fullscale_netmap_delta_shared_bytes_total", "",
               "Bytes of shared delta messages as encoded, each counted once.");
METRIC_COUNTER(audiences_made, "fullscale_netmap_audiences_total", "",
               "Audiences for which the items of a change were looked at.");

enum { BUCKETS = 64 };

/* All that is kept of one change. */
struct deliveries {
    struct change_audience *_Atomic audiences[BUCKETS];
    struct audience_message *_Atomic messages[BUCKETS];
    /* What every node gets; [1]: with the DERP map for clients that cannot pin certificates. */
    struct netmap_frames common[2];
};

static void deliveries_destroy(void *held)
{
    struct deliveries *d = held;
    for (size_t i = 0; i < BUCKETS; i++) {
        struct change_audience *a = atomic_load_explicit(&d->audiences[i], memory_order_acquire);
        while (a != NULL) {
            struct change_audience *next = a->next;
            mem_free(a);
            a = next;
        }
        struct audience_message *m = atomic_load_explicit(&d->messages[i], memory_order_acquire);
        while (m != NULL) {
            struct audience_message *next = m->next;
            netmap_frames_fini(&m->frames);
            mem_free(m);
            m = next;
        }
    }
    netmap_frames_fini(&d->common[0]);
    netmap_frames_fini(&d->common[1]);
    mem_free(d);
}

static struct deliveries *deliveries_of(const struct change *c)
{
    struct deliveries *found = cache_slot_get(&c->cache);
    return found != NULL ? found : cache_slot_offer(&c->cache, MEM_NEW(struct deliveries), deliveries_destroy);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * UINT64_C(0x9e3779b97f4a7c15) ^ h >> 29;
}

/* --- messages --- */

static size_t message_bucket(const struct message_item *v, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = mix(h, (uint64_t)v[i].index << 32 | v[i].code);
    return (size_t)(h >> 32) % BUCKETS;
}

/* Under the lock. */
static struct audience_message *get_message(struct deliveries *d, const struct message_item *v, size_t n)
{
    struct audience_message *_Atomic *bucket = &d->messages[message_bucket(v, n)];
    struct audience_message *first = atomic_load_explicit(bucket, memory_order_acquire);
    for (struct audience_message *m = first; m != NULL; m = m->next) {
        if (m->n == n && memcmp(m->v, v, n * sizeof(*v)) == 0)
            return m;
    }
    struct audience_message *made = mem_zalloc(1, sizeof(*made) + n * sizeof(*v));
    made->n = n;
    memcpy(made->v, v, n * sizeof(*v));
    made->next = first;
    atomic_store_explicit(bucket, made, memory_order_release);
    return made;
}

struct rcbuf *netmap_message_frame(struct netmap_ctx *ctx, struct change *c, struct audience_message *m,
                                   enum netmap_coding coding)
{
    struct rcbuf *held = netmap_frame_begin(&m->frames.of[coding]);
    if (held == NULL) {
        held = netmap_frame_end(&m->frames.of[coding], netmap_encode_items(ctx, c, c->items, m->v, m->n, coding));
        metric_inc(&encoded_shared);
        metric_add(&shared_bytes, (int64_t)held->len);
    }
    return rcbuf_ref(held);
}

/* --- audiences --- */

/* Under the lock. */
static struct change_audience *make_audience(struct change *c, struct deliveries *d, const struct watcher *v)
{
    size_t most = c->item_n / MESSAGE_ITEMS + 1;
    struct change_audience *a = mem_zalloc(1, sizeof(*a) + most * sizeof(a->messages[0]));
    a->before = v->before.key;
    a->after = v->after.key;
    metric_inc(&audiences_made);
    struct message_item items[MESSAGE_ITEMS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < c->item_n; i++) {
        uint32_t code = netmap_item_code(c, v, &c->items[i]);
        if (code != 0)
            items[n++] = (struct message_item){(uint32_t)i, code};
        bool is_last = i + 1 == c->item_n;
        bool is_cut = (i + 1) % MESSAGE_ITEMS == 0 && n >= MESSAGE_ITEMS_MIN;
        if (n > 0 && (is_last || is_cut)) {
            a->messages[a->n++] = get_message(d, items, n);
            n = 0;
        }
    }
    return a;
}

static size_t audience_bucket(const struct watcher *v)
{
    const struct viewer_key *before = &v->before.key, *after = &v->after.key;
    uint64_t h = mix(before->class_index, before->owner);
    return (size_t)(mix(mix(h, after->class_index), after->owner) >> 32) % BUCKETS;
}

static struct change_audience *find_audience(struct change_audience *a, const struct watcher *v)
{
    while (a != NULL && !(viewer_keys_equal(a->before, v->before.key) && viewer_keys_equal(a->after, v->after.key)))
        a = a->next;
    return a;
}

const struct change_audience *netmap_audience(struct change *c, const struct watcher *v)
{
    struct deliveries *d = deliveries_of(c);
    struct change_audience *_Atomic *bucket = &d->audiences[audience_bucket(v)];
    struct change_audience *a = find_audience(atomic_load_explicit(bucket, memory_order_acquire), v);
    if (a != NULL)
        return a;
    netmap_fill_lock();
    struct change_audience *first = atomic_load_explicit(bucket, memory_order_acquire);
    a = find_audience(first, v);
    if (a == NULL) {
        a = make_audience(c, d, v);
        a->next = first;
        atomic_store_explicit(bucket, a, memory_order_release);
    }
    netmap_fill_unlock();
    return a;
}

/* --- what every node gets --- */

/* Profiles that are new or differ; both tables are sorted. */
static void write_changed_profiles(struct json_writer *w, const struct change *c)
{
    const struct user_table *old = c->before->users, *new = c->after->users;
    bool open = false;
    for (size_t i = 0, k = 0; i < new->n; i++) {
        while (k < old->n && old->users[k]->id < new->users[i]->id)
            k++;
        if (k < old->n && old->users[k] == new->users[i])
            continue;
        if (!open) {
            json_w_key(w, "UserProfiles");
            json_w_array(w);
            open = true;
        }
        netmap_write_profile(w, new->users[i]);
    }
    if (open)
        json_w_end_array(w);
}

/* Under a policy profiles go with the nodes that are seen. */
static bool has_common_profiles(const struct change *c)
{
    return access_is_open(c->after->access) && (c->users_changed || c->policy_changed);
}

static void write_common_profiles(struct json_writer *w, const struct change *c)
{
    if (access_is_open(c->before->access)) {
        write_changed_profiles(w, c);
        return;
    }
    json_w_key(w, "UserProfiles");
    netmap_write_profiles(w, c->after->users, NULL);
}

/* The message has length 0 when there is nothing to send. */
static struct rcbuf *encode_common(struct netmap_ctx *ctx, const struct change *c, bool is_unpinned,
                                   enum netmap_coding coding)
{
    struct json_writer w;
    netmap_object_begin(ctx, &w);
    if (has_common_profiles(c))
        write_common_profiles(&w, c);
    if (c->settings_changed)
        netmap_write_new_settings(&w, c, is_unpinned);
    bool is_empty = buf_len(&ctx->json) <= 1; /* the opening brace */
    return is_empty ? rcbuf_create(NULL, 0) : netmap_object_end(ctx, &w, coding);
}

struct rcbuf *netmap_common_frame(struct netmap_ctx *ctx, struct change *c, bool is_unpinned, enum netmap_coding coding)
{
    if (!c->settings_changed && !has_common_profiles(c))
        return NULL;
    struct rcbuf *_Atomic *frame = &deliveries_of(c)->common[is_unpinned].of[coding];
    struct rcbuf *held = netmap_frame_begin(frame);
    if (held == NULL) {
        held = netmap_frame_end(frame, encode_common(ctx, c, is_unpinned, coding));
        metric_inc(&encoded_shared);
        metric_add(&shared_bytes, (int64_t)held->len);
    }
    return held->len > 0 ? rcbuf_ref(held) : NULL;
}
