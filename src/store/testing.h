/* For the tests of this module: a small tailnet that changes at random, what a store holds, and its
 * acknowledgements. */
#ifndef STORE_TESTING_H
#define STORE_TESTING_H

#include "store/store_internal.h"
#include "support/test_random.h"

/* --- files: testing_files.c --- */

enum { TEST_SCRATCH_CAP = 64 };

/* Makes a directory for one test, in memory if possible. */
void test_scratch_make(char dir[TEST_SCRATCH_CAP]);
/* Removes it with the database in it, which must be all that it holds. */
void test_scratch_remove(const char *dir);
/* Where the database of such a directory is; valid until the next call. */
const char *test_scratch_path(const char *dir);
/* Removes a database with its log and its lock. */
void test_scratch_remove_files(const char *path);
/* For cmocka: `*state` is such a directory. */
int test_scratch_set_up(void **state);
int test_scratch_tear_down(void **state);
/* Opens a database; the test fails when that is refused. */
struct store *test_store_open(const char *path, int64_t wal_autocheckpoint_pages);
/* Writes a batch on the caller's thread, past the store's. Consumes the batch. */
enum rc test_store_write(struct store *s, struct row_batch *b);
/* An empty batch. */
struct row_batch *test_batch_create(uint64_t seq);
/* Adds a row; the reference is taken over. */
void test_batch_put(struct row_batch *b, const struct entity *entity, const struct row *object);
/* Adds the deletion of a row. */
void test_batch_delete(struct row_batch *b, const struct entity *entity, uint64_t id);
/* Adds the counter of an entity. */
void test_batch_count(struct row_batch *b, const struct entity *of, uint64_t next);
/* From now on nothing is logged. */
void test_quiet_logs(void);

/* --- the database as other programs see it: testing_sql.c --- */

/* Runs statements; the test fails when one of them does. */
void test_sql_exec(const char *path, const char *sql);
/* The one integer that a query gives. */
int64_t test_sql_int(const char *path, const char *sql);
/* The one text that a query gives. */
void test_sql_text(const char *path, const char *sql, char *out, size_t out_cap);

/* --- a tailnet: testing_world.c --- */

enum { TEST_WORLD_SLOTS = 24 };

struct test_world {
    struct test_random random;
    uint64_t seq;   /* of the last batch; also the counter of keys, so that a store's last batch can be read */
    uint64_t fresh; /* makes unique names */
    uint64_t next_user, next_relay, next_node;
    const struct user *users[TEST_WORLD_SLOTS];
    const struct auth_key *keys[TEST_WORLD_SLOTS];
    const struct relay_host *relays[TEST_WORLD_SLOTS];
    const struct policy_text *texts[TEST_WORLD_SLOTS];
    const struct node *nodes[TEST_WORLD_SLOTS];
};

/* An empty tailnet, whose life `seed` determines. */
void test_world_init(struct test_world *w, uint64_t seed);
/* Drops its rows. */
void test_world_fini(struct test_world *w);
/* The next batch of the tailnet's life; the caller owns it. */
struct row_batch *test_world_step(struct test_world *w);
/* Continues the life of the tailnet up to batch `seq`; these batches go to no store. */
void test_world_advance(struct test_world *w, uint64_t seq);
/* The next `steps` batches of its life are written to the database at `path`. */
void test_world_fill(struct test_world *w, const char *path, unsigned steps);
/* Puts a row into the slot and into the batch; the reference is taken over. */
void test_world_put_user(struct test_world *w, struct row_batch *b, const struct user *u, size_t slot);
void test_world_put_key(struct test_world *w, struct row_batch *b, const struct auth_key *k, size_t slot);
void test_world_put_node(struct test_world *w, struct row_batch *b, const struct node *n, size_t slot);
/* A random event in the slot: a row is created, changed or deleted. */
void test_world_user(struct test_world *w, struct row_batch *b, size_t slot);
void test_world_key(struct test_world *w, struct row_batch *b, size_t slot);
void test_world_policy_text(struct test_world *w, struct row_batch *b, size_t slot);
void test_world_node(struct test_world *w, struct row_batch *b, size_t slot);

/* --- comparing: testing_compare.c --- */

/* All but presence and caches, which no store keeps. */
bool test_same_node(const struct node *a, const struct node *b);
/* The store holds exactly these rows. Not while its thread runs. */
void test_store_holds(struct store *s, const struct test_world *w);
/* The same of any tailnet; that above is of tailnet 1. */
void test_store_holds_of(struct store *s, uint64_t tailnet, const struct test_world *w);
/* The last batch that a store has, when a test_world fills it. */
uint64_t test_store_seq(struct store *s);
/* Drops every row. */
extern const struct row_sink test_no_sink;

/* --- acknowledgements: testing_acks.c --- */

struct test_acks {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t n; /* calls */
    uint64_t last_seq;
    uint64_t failed_n;
    enum rc last_rc;
    bool out_of_order;
    bool is_held; /* the store's thread waits in its callback while this is set */
};

/* Nothing has been acknowledged yet. */
void test_acks_init(struct test_acks *a);
/* A store_done_fn; `ctx` is the test_acks. */
void test_acks_take(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc);
/* Holds the store's thread in its callback, or lets it go on. */
void test_acks_hold(struct test_acks *a, bool hold);
/* Waits until batch `seq` is acknowledged or refused; returns which. */
enum rc test_acks_wait(struct test_acks *a, uint64_t seq);

#endif
