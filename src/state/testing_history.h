/* For the tests of undoing: random events, of which the same words make the same event in two states, and a disk. */
#ifndef STATE_TESTING_HISTORY_H
#define STATE_TESTING_HISTORY_H

#include "base/buf.h"
#include "state/state_internal.h"
#include "support/test_random.h"

enum { TEST_MACHINES = 6, TEST_MACHINE_KEYS = 3, TEST_KEY_TEXTS = 12, TEST_DISK_ROWS = 4000 };

struct test_disk {
    struct row_op rows[TEST_DISK_ROWS]; /* references */
    size_t n;
};

struct test_twin {
    struct state *st;
    struct row_batch *waiting[32]; /* taken, in order */
    size_t waiting_n;
};

struct test_story {
    struct test_random random;
    int64_t now_ms;
    struct test_twin a, b;   /* `a` is refused now and then */
    struct test_disk *disk;  /* of `a` */
    struct test_disk *found; /* what a crash might leave of it: with refused batches */
    char keys[TEST_KEY_TEXTS][AUTH_KEY_TEXT_CAP];
    size_t key_n;
    unsigned refused;
};

struct test_event {
    uint32_t kind, x, y, z;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    bool is_new_text;
};

enum { TEST_DURABLE_KINDS = 16, TEST_PRESENCE_KINDS = 6 };

/* Writes a batch as a store does. */
void test_disk_write(struct test_disk *d, const struct row_batch *b);
/* For qsort: rows in the order in which they are loaded. */
int test_disk_compare(const void *a, const void *b);
void test_disk_fini(struct test_disk *d);

/* A state for stories. */
struct state *test_story_state(void);
/* The next random number below `n`. */
uint32_t test_story_pick(struct test_story *s, uint32_t n);
/* One of the nodes, chosen by `x`; null: there is none. */
const struct node *test_story_node(const struct state *st, uint32_t x);
/* Draws an event of one of the first `kinds` kinds. */
struct test_event test_event_make(struct test_story *s, uint32_t kinds);
/* Does an event that waits for the disk; it may be refused. */
void test_event_durable(struct test_story *s, struct state *st, struct test_event *e);
/* The node reports another host name and another route. */
void test_event_report(struct state *st, const struct test_event *e, const struct node *of);
/* Does something that nodes do without waiting for the disk, to the node that corresponds to `of`. */
void test_event_presence(const struct test_story *s, struct state *st, const struct test_event *e,
                         const struct node *of);

/* How many histories a test lives through, and the seed of the first: HISTORY_COUNT, HISTORY_SEED. */
uint64_t test_history_count(void);
uint64_t test_history_seed(void);
/* The history of this seed begins; 0: all have ended well. */
void test_history_begins(uint64_t seed);
/* For cmocka: says which history has failed. */
int test_history_tear_down(void **state);

/* --- testing_print.c --- */
/* Writes all rows, what finds them, the policy and the counters. With `with_seen` also when nodes were last seen. */
void test_print_state(struct buf *out, struct state *st, bool with_seen);
/* Writes the nodes and users of the current snapshot. */
void test_print_snapshot(struct buf *out, const struct state *st, bool with_seen);
/* Fails with the first line that differs. Frees both. */
void test_assert_same(struct buf *a, struct buf *b);

#endif
