/* Where a tailnet survives: a small set of operations behind one function table, filled by sqlite.c and memory.c.
 *
 * A store has a thread of its own. store_commit hands it a batch; all batches that wait at that moment go into one
 * transaction (group commit), and `done` is called on the store's thread when they are on disk (or failed). Batches are
 * committed in the order given. Loading happens before the thread starts, on the caller's.
 *
 * When a batch cannot be written (the disk is full or broken, another program holds a lock), it and all after it are refused,
 * for they are built on it, until a batch that is a repair (state_take_repair) has been written: whoever sends that has undone
 * the others. Presence (is_lazy) never makes others fail: what cannot be written with it is tried without it. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/rc.h"
#include "state/state.h"

struct store;

/* Called on the store's thread, once for each batch, in order. RC_FULL (the disk), RC_IN_USE (a lock), RC_DENIED (read-only,
 * permissions), RC_STORE. A commit whose outcome is not known is looked up in the database, opened anew. If even that fails,
 * the batch is refused, and may yet be found on disk until the repair is written: whole, or not at all. */
typedef void (*store_done_fn)(void *ctx, uint64_t seq, enum rc rc);

struct store_options {
    const char *sqlite_path;          /* the file; its directory is made when absent (0700) */
    int64_t wal_autocheckpoint_pages; /* 0 or less: the log is copied into the database only at the end */
};

/* Opens and migrates (numbered sqlite_migrations, each in a transaction; a newer schema than ours is RC_UNSUPPORTED and
 * nothing is touched). WAL, synchronous=FULL. RC_STORE (damage, disk), RC_INVALID (another program's database),
 * RC_DENIED, RC_FULL, RC_IN_USE (another server has it: a lock on "PATH.lock") with the reason in `err`. Others may read the
 * file meanwhile. On a full disk a database of this schema is opened all the same, for reading: store_fault says so until a
 * repair gets through. Blocks. */
MUST_CHECK enum rc store_open_sqlite(const struct store_options *options, struct store **out, struct err *err);
/* Would the file be opened? RC_OK; RC_NOT_FOUND when there is none; else as store_open_sqlite would refuse it. Changes nothing
 * on disk, takes no lock. Blocks. */
MUST_CHECK enum rc store_check_sqlite(const char *path, struct err *err);
/* Keeps rows in memory: for tests, and as the shadow of the other. It does not check that rows agree. */
MUST_CHECK enum rc store_open_memory(struct store **out);
/* From the next write on the store in memory refuses with `why`, as a disk may; RC_OK: no more. Any thread. */
void store_memory_fail(struct store *s, enum rc why);
/* From the next write on the store in memory takes its time, as a slow disk does, until it is released by the same thread. */
void store_memory_hold(struct store *s);
void store_memory_release(struct store *s);

/* Reads everything into an empty state, and ends with state_load_done. Before store_start. Blocks.
 * Rows that cannot be used (values that nothing here writes, contradictions) are logged, each with table, id and reason, and set aside:
 * they move to the table set_aside, and everybody else's are served. */
MUST_CHECK enum rc store_load(struct store *s, struct state *st, int64_t now_ms, struct err *err);
/* The policy text with the highest id among those set aside, now or at an earlier start: what was meant to be at work may be that.
 * After store_load. */
struct store_aside {
    bool is_there;
    int64_t id;
};
struct store_aside store_policy_text_aside(const struct store *s);
/* Starts the thread. */
void store_start(struct store *s, store_done_fn done, void *ctx);
/* Any thread, after store_start; takes the batch over. Does not block on the disk. */
void store_commit(struct store *s, struct row_batch *batch);
/* A sentence for people who are told that what they asked for was refused; static. */
const char *store_refusal_text(enum rc why);
/* RC_OK, or why nothing can be written now. Any thread. */
enum rc store_fault(struct store *s);
/* store_fault, else a query that touches the file, for /health. Any thread; blocks. */
MUST_CHECK enum rc store_ping(struct store *s);
/* Commits what waits, ends the thread, closes. Null is fine. */
void store_close(struct store **s);

#endif
