/* The rows of tailnets on disk: a small set of operations with two backends, SQLite and memory.
 *
 * A store has a thread of its own. store_commit hands it a batch; all batches of a tailnet that wait at that moment go
 * into one transaction (group commit), and `done` is called on the store's thread when they are on disk, or have
 * failed. The batches of a tailnet are committed in the order given. Loading happens before the thread starts, on the
 * caller's thread.
 *
 * When a batch cannot be written (the disk is full or broken, another program holds a lock), it and all after it of its
 * tailnet are refused, because they build on it, until a batch that is a repair (state_take_repair) has been written:
 * its sender has undone the others. Presence (is_lazy) never makes other batches fail: what cannot be written with it
 * is tried without it. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/rc.h"
#include "state/state.h"

struct store;

/* Called on the store's thread, once for each batch, those of a tailnet in order. RC_OK: it is on disk; RC_FULL (the
 * disk), RC_IN_USE (a lock), RC_DENIED (read-only, permissions), RC_STORE: it is refused. A commit whose outcome is
 * unknown is looked up in the database, which is opened anew for that. If even that fails, the batch is refused, and
 * may be found on disk after all until the repair is written: whole, or not at all. */
typedef void (*store_done_fn)(void *ctx, uint64_t tailnet, uint64_t seq, enum rc rc);

struct store_options {
    const char *sqlite_path;          /* the file; its directory is made when absent (0700) */
    int64_t wal_autocheckpoint_pages; /* 0 or less: the log is copied into the database only at the end */
};

/* Opens a database and migrates it (numbered migrations, each in a transaction). WAL, synchronous=FULL. Other
 * programs may read the file meanwhile. On a full disk a database of our schema is opened all the same, for reading:
 * store_fault says so until a repair is written. Blocks. RC_UNSUPPORTED (a newer schema than ours: nothing is
 * touched), RC_STORE (damage, disk), RC_INVALID (another program's database), RC_DENIED, RC_FULL, RC_IN_USE (another
 * server has it: a lock on "PATH.lock"), with the reason in `err`. The caller closes the store. */
MUST_CHECK enum rc store_open_sqlite(const struct store_options *options, struct store **out, struct err *err);
/* Whether store_open_sqlite would open the file: RC_OK; RC_NOT_FOUND when there is none; else the reason for which
 * it would refuse. Changes nothing on disk, takes no lock. Blocks. */
MUST_CHECK enum rc store_check_sqlite(const char *path, struct err *err);
/* A store that keeps rows in memory, for tests. It does not check that rows agree. Never fails; the caller closes
 * the store. */
MUST_CHECK enum rc store_open_memory(struct store **out);
/* From the next write on a store in memory refuses with `why`, as a disk may; RC_OK ends that. Any thread. */
void store_memory_fail(struct store *s, enum rc why);
/* The same for what is written of one tailnet. */
void store_memory_fail_tailnet(struct store *s, uint64_t tailnet, enum rc why);
/* From the next write on a store in memory blocks, as a slow disk does, until the thread that held it releases it. */
void store_memory_hold(struct store *s);
void store_memory_release(struct store *s);

/* Loads all rows of a tailnet (its id, from 1) into an empty state, and ends with state_load_done. Before store_start.
 * Blocks. Rows that cannot be used (values that nothing here writes, contradictions) are logged, each with table, id
 * and reason, and set aside: they move to the table set_aside, and the server works with the others. RC as
 * store_open_sqlite. */
MUST_CHECK enum rc store_load(struct store *s, uint64_t tailnet, struct state *st, int64_t now_ms, struct err *err);
/* Whether rows of the tailnet that was loaded last were set aside, and the highest id of them. */
struct store_aside {
    bool is_there;
    int64_t id;
};
/* The policy text with the highest id among those set aside, now or at an earlier start: it may be the one that was
 * meant to be active. After store_load. */
struct store_aside store_policy_text_aside(const struct store *s);
/* Takes a piece of a dump. Other than RC_OK ends it. */
typedef enum rc (*store_piece_fn)(void *ctx, struct str piece);
/* Writes all rows of a tailnet as lines of JSON, the first of which says what they are; without the hashes of keys,
 * unless `with_secrets`. Before store_start. Blocks. What `write` returns, else as store_load: rows that cannot be used
 * are set aside, and not in the dump. */
MUST_CHECK enum rc store_dump(struct store *s, uint64_t tailnet, bool with_secrets, store_piece_fn write, void *ctx,
                              struct err *err);
/* Writes the rows of a dump into a tailnet that has none: all of them, or none if one cannot be used, whose line and
 * column `err` has. Before store_start. Blocks. RC_EXISTS: there are rows; RC_INVALID, RC_TRUNCATED, RC_TOO_LARGE,
 * RC_TOO_DEEP: it is no dump, or has rows that cannot be used; RC_UNSUPPORTED: it is of a newer program; else as
 * store_done_fn. */
MUST_CHECK enum rc store_import(struct store *s, uint64_t tailnet, struct str dump, struct err *err);
/* Starts the thread, which calls `done` with `ctx`. After store_load. */
void store_start(struct store *s, store_done_fn done, void *ctx);
/* Hands over a batch. Any thread, after store_start; does not block on the disk. */
void store_commit(struct store *s, struct row_batch *batch);
/* Whether no other server writes to the same database: what this one has in memory is always its newest contents. */
bool store_is_sole(const struct store *s);
/* A sentence for a person whose request was refused for this reason; static. */
const char *store_refusal_text(enum rc why);
/* RC_OK, or why nothing can be written now. Any thread; does not block. */
enum rc store_fault(struct store *s);
/* For /health: what store_fault says, else the outcome of a query that reads the file. Any thread; blocks. */
MUST_CHECK enum rc store_ping(struct store *s);
/* Commits what waits, ends the thread, closes, and nulls the pointer; null is fine. Blocks. */
void store_close(struct store **s);

#endif
