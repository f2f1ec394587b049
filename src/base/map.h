/* Hash map from byte strings to pointers: open addressing, SipHash-1-3 with a secret seed, so that keys chosen by a
 * peer cannot make it slow. Keys are borrowed: they must live (usually inside the value) as long as the entry. Not
 * thread-safe. Values are not owned. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    const void *key;
    size_t key_len;
    void *value; /* null: the slot is free */
    uint32_t hash;
};

struct map {
    struct map_slot *slots; /* owned */
    size_t cap;             /* power of two, or 0 */
    size_t n;
    uint64_t seed[2];
};

/* `seed`: 16 secret bytes; null gives a fixed seed, only for keys that no peer chooses. */
void map_init(struct map *m, const uint8_t seed[16]);
/* Frees the table; keys and values stay the caller's. */
void map_fini(struct map *m);
/* The value, or null. */
void *map_get(const struct map *m, const void *key, size_t key_len);
/* Adds or replaces a value, which must not be null; returns the one that was there before, or null. */
void *map_put(struct map *m, const void *key, size_t key_len, void *value);
/* Removes a key; returns the value that was there, or null. */
void *map_remove(struct map *m, const void *key, size_t key_len);
/* Walks all entries: start with *pos = 0; null at the end. The map must not change meanwhile. */
void *map_next(const struct map *m, size_t *pos);

/* SipHash-1-3 of `len` bytes. src: https://www.aumasson.jp/siphash/siphash.pdf */
uint64_t siphash13(const uint64_t seed[2], const void *data, size_t len);

#endif
