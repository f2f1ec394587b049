#include "base/budget.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/fits.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

/* --- bytes --- */

void budget_init(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes)
{
    *b = (struct budget){.above = above, .own_bytes = own_bytes, .limit_bytes = limit_bytes};
}

/* How many of `used` bytes are charged to the budget above. */
static size_t charged(const struct budget *b, size_t used)
{
    return used > b->own_bytes ? used - b->own_bytes : 0;
}

bool budget_take(struct budget *b, size_t bytes)
{
    size_t used = atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
    do {
        if (!fits(used, bytes, b->limit_bytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used_bytes, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (b->above == NULL || budget_take(b->above, charged(b, used + bytes) - charged(b, used)))
        return true;
    atomic_fetch_sub_explicit(&b->used_bytes, bytes, memory_order_relaxed);
    return false;
}

void budget_force(struct budget *b, size_t bytes)
{
    size_t used = atomic_fetch_add_explicit(&b->used_bytes, bytes, memory_order_relaxed);
    if (b->above != NULL)
        budget_force(b->above, charged(b, used + bytes) - charged(b, used));
}

void budget_give(struct budget *b, size_t bytes)
{
    size_t used = atomic_fetch_sub_explicit(&b->used_bytes, bytes, memory_order_relaxed);
    assert(used >= bytes);
    if (b->above != NULL)
        budget_give(b->above, charged(b, used) - charged(b, used - bytes));
}

void budget_move(struct budget *b, struct budget *above, size_t own_bytes, size_t limit_bytes)
{
    size_t used = budget_used(b);
    if (b->above != NULL)
        budget_give(b->above, charged(b, used));
    b->above = above;
    b->own_bytes = own_bytes;
    b->limit_bytes = limit_bytes;
    if (above != NULL)
        budget_force(above, charged(b, used));
}

size_t budget_used(const struct budget *b)
{
    return atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
}

/* --- places --- */

/* A key of the map: which kind it is, then the address or the key. */
enum { HOLDER_IPV4 = 4, HOLDER_IPV6 = 6, HOLDER_KEY = 'k', KEY_MAX_BYTES = 32, NET_BYTES = 8 /* a /64 */ };

struct name {
    uint8_t bytes[1 + KEY_MAX_BYTES];
    size_t len;
};

/* An address or a key that holds at least one place. */
struct budget_holder {
    struct name name;
    unsigned places_n;
};

struct budget_places {
    struct budget_places_limits limits;
    pthread_mutex_t lock;
    struct map holders; /* locked, as is all below */
    unsigned strangers_n;
    unsigned known_n;
};

struct budget_places *budget_places_create(const struct budget_places_limits *limits, const uint8_t seed[16])
{
    struct budget_places *all = MEM_NEW(struct budget_places);
    all->limits = *limits;
    pthread_mutex_init(&all->lock, NULL);
    map_init(&all->holders, seed);
    return all;
}

void budget_places_destroy(struct budget_places **at)
{
    struct budget_places *all = *at;
    *at = NULL;
    if (all == NULL)
        return;
    struct budget_holder *h;
    for (size_t pos = 0; (h = map_next(&all->holders, &pos)) != NULL;)
        mem_free(h);
    map_fini(&all->holders);
    pthread_mutex_destroy(&all->lock);
    mem_free(all);
}

static bool name_of_address(const struct addr *from, struct name *out)
{
    if (from == NULL || from->family == 0)
        return false;
    bool is_v4 = from->family == 4;
    *out = (struct name){.len = 1 + (is_v4 ? 4 : NET_BYTES)};
    out->bytes[0] = is_v4 ? HOLDER_IPV4 : HOLDER_IPV6;
    memcpy(out->bytes + 1, from->ip, out->len - 1);
    return true;
}

static void name_of_key(const void *key, size_t len, struct name *out)
{
    assert(len <= KEY_MAX_BYTES);
    *out = (struct name){.len = 1 + len};
    out->bytes[0] = HOLDER_KEY;
    memcpy(out->bytes + 1, key, len);
}

static bool is_named(const struct budget_holder *h, const struct name *name)
{
    return h->name.len == name->len && memcmp(h->name.bytes, name->bytes, name->len) == 0;
}

/* Gives the holder of that name one more place; null when it has `most` already (0: no limit). */
static struct budget_holder *join(struct budget_places *all, const struct name *name, unsigned most)
{
    struct budget_holder *h = map_get(&all->holders, name->bytes, name->len);
    if (h == NULL) {
        h = MEM_NEW(struct budget_holder);
        h->name = *name;
        map_put(&all->holders, h->name.bytes, h->name.len, h);
    } else if (most > 0 && h->places_n >= most) {
        return NULL;
    }
    h->places_n++;
    return h;
}

static void part(struct budget_places *all, struct budget_holder *h)
{
    if (h == NULL || --h->places_n > 0)
        return;
    map_remove(&all->holders, h->name.bytes, h->name.len);
    mem_free(h);
}

static enum budget_answer take(struct budget_places *all, const struct addr *from, struct budget_holder **out)
{
    struct name name;
    if (name_of_address(from, &name)) {
        *out = join(all, &name, all->limits.per_address);
        if (*out == NULL)
            return BUDGET_ADDRESS_FULL;
    }
    if (all->strangers_n >= all->limits.strangers) {
        part(all, *out);
        return BUDGET_STRANGERS_FULL;
    }
    all->strangers_n++;
    return BUDGET_OK;
}

enum budget_answer budget_place_take(struct budget_places *all, const struct addr *from, struct budget_place *out)
{
    struct budget_holder *holder = NULL;
    *out = (struct budget_place){0};
    pthread_mutex_lock(&all->lock);
    enum budget_answer answer = take(all, from, &holder);
    pthread_mutex_unlock(&all->lock);
    if (answer == BUDGET_OK)
        *out = (struct budget_place){.places = all, .holder = holder};
    return answer;
}

enum budget_answer budget_place_readdress(struct budget_place *place, const struct addr *from)
{
    struct budget_places *all = place->places;
    struct name name;
    if (all == NULL || place->is_known || !name_of_address(from, &name))
        return BUDGET_OK;
    pthread_mutex_lock(&all->lock);
    struct budget_holder *holder = place->holder;
    if (holder == NULL || !is_named(holder, &name))
        holder = join(all, &name, all->limits.per_address);
    if (holder != NULL && holder != place->holder) {
        part(all, place->holder);
        place->holder = holder;
    }
    pthread_mutex_unlock(&all->lock);
    return holder != NULL ? BUDGET_OK : BUDGET_ADDRESS_FULL;
}

static enum budget_answer know(struct budget_places *all, struct budget_place *place, const struct name *name)
{
    if (all->known_n >= all->limits.known)
        return BUDGET_KNOWN_FULL;
    struct budget_holder *holder = join(all, name, all->limits.per_key);
    if (holder == NULL)
        return BUDGET_KEY_FULL;
    part(all, place->holder);
    place->holder = holder;
    place->is_known = true;
    all->strangers_n--;
    all->known_n++;
    return BUDGET_OK;
}

enum budget_answer budget_place_know(struct budget_place *place, const void *key, size_t key_len)
{
    struct budget_places *all = place->places;
    struct name name;
    if (all == NULL || place->is_known)
        return BUDGET_OK;
    name_of_key(key, key_len, &name);
    pthread_mutex_lock(&all->lock);
    enum budget_answer answer = know(all, place, &name);
    pthread_mutex_unlock(&all->lock);
    return answer;
}

void budget_place_leave(struct budget_place *place)
{
    struct budget_places *all = place->places;
    if (all == NULL)
        return;
    pthread_mutex_lock(&all->lock);
    part(all, place->holder);
    (*(place->is_known ? &all->known_n : &all->strangers_n))--;
    pthread_mutex_unlock(&all->lock);
    *place = (struct budget_place){0};
}

void budget_places_use(struct budget_places *all, struct budget_places_use *out)
{
    pthread_mutex_lock(&all->lock);
    *out = (struct budget_places_use){all->strangers_n, all->known_n, all->holders.n};
    pthread_mutex_unlock(&all->lock);
}
