#include "base/map.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

static uint64_t rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

uint64_t siphash13(const uint64_t seed[2], const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t v[4] = {seed[0] ^ 0x736f6d6570736575u, seed[1] ^ 0x646f72616e646f6du, seed[0] ^ 0x6c7967656e657261u,
                     seed[1] ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)len << 56;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void map_init(struct map *m, const uint8_t seed[16])
{
    *m = (struct map){0};
    if (seed != NULL)
        memcpy(m->seed, seed, sizeof(m->seed));
}

void map_fini(struct map *m)
{
    mem_free(m->slots);
    m->slots = NULL;
    m->cap = 0;
    m->n = 0;
}

static uint32_t hash_of(const struct map *m, const void *key, size_t key_len)
{
    return (uint32_t)siphash13(m->seed, key, key_len);
}

/* The slot that holds the key, or the free one where it would go. */
static struct map_slot *find(const struct map *m, uint32_t hash, const void *key, size_t key_len)
{
    size_t i = hash & (m->cap - 1);
    for (;; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *slot = &m->slots[i];
        if (slot->value == NULL)
            return slot;
        if (slot->hash == hash && slot->key_len == key_len && memcmp(slot->key, key, key_len) == 0)
            return slot;
    }
}

static void grow(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;
    m->cap = old_cap > 0 ? old_cap * 2 : 16;
    m->slots = mem_zalloc(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].value != NULL)
            *find(m, old[i].hash, old[i].key, old[i].key_len) = old[i];
    }
    mem_free(old);
}

void *map_get(const struct map *m, const void *key, size_t key_len)
{
    return m->n > 0 ? find(m, hash_of(m, key, key_len), key, key_len)->value : NULL;
}

void *map_put(struct map *m, const void *key, size_t key_len, void *value)
{
    assert(value != NULL);
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    uint32_t hash = hash_of(m, key, key_len);
    struct map_slot *slot = find(m, hash, key, key_len);
    void *old = slot->value;
    *slot = (struct map_slot){key, key_len, value, hash};
    if (old == NULL)
        m->n++;
    return old;
}

void *map_remove(struct map *m, const void *key, size_t key_len)
{
    if (m->n == 0)
        return NULL;
    struct map_slot *slot = find(m, hash_of(m, key, key_len), key, key_len);
    void *old = slot->value;
    if (old == NULL)
        return NULL;
    m->n--;
    /* Close the gap: move back every later entry of the run whose own slot is not behind the hole. */
    size_t mask = m->cap - 1;
    size_t hole = (size_t)(slot - m->slots);
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    return old;
}

void *map_next(const struct map *m, size_t *pos)
{
    while (*pos < m->cap) {
        void *value = m->slots[(*pos)++].value;
        if (value != NULL)
            return value;
    }
    return NULL;
}
