#include "hostile/faults.h"

#include <sqlite3.h>

#include "base/mem.h"
#include "hostile/world.h"

void fault_disk_arm(const struct fault *f)
{
    faulty_arm(FAULT_NONE, f->n, f->n);
    faulty_choose(f->ops, f->answer);
    faulty_set_kind(f->is_for_ever ? FAULT_FOR_EVER : FAULT_ONCE);
}

atomic_bool fault_struck;

void fault_disk_end(void)
{
    fault_struck |= faulty_struck();
    faulty_set_kind(FAULT_NONE);
}

/* Everything but the disk: the points are counted here. */
static struct {
    unsigned long at;
    atomic_ulong seen;
    atomic_bool is_armed, is_for_ever;
} points;

bool fault_point(void)
{
    unsigned long n = points.is_armed ? ++points.seen : 0;
    return n > 0 && (points.is_for_ever ? n >= points.at : n == points.at);
}

void fault_points_arm(const struct fault *f)
{
    points.at = f->n;
    points.seen = 0;
    points.is_for_ever = f->is_for_ever;
    points.is_armed = true;
}

void fault_points_end(void)
{
    fault_struck |= points.is_armed && points.seen >= points.at;
    points.is_armed = false;
}

/* --- statements --- */

static bool statement_fails; /* the statement that runs; on the connection's thread */

static int on_statement(unsigned what, void *ctx, void *stmt, void *sql)
{
    (void)what;
    (void)ctx;
    (void)stmt;
    (void)sql;
    statement_fails = fault_point();
    return 0;
}

static int on_progress(void *ctx)
{
    (void)ctx;
    return statement_fails;
}

static int watch_statements(sqlite3 *db, char **error, const void *api)
{
    (void)error;
    (void)api;
    sqlite3_trace_v2(db, SQLITE_TRACE_STMT, on_statement, NULL);
    sqlite3_progress_handler(db, 1, on_progress, NULL);
    return SQLITE_OK;
}

static int on_commit(void *ctx)
{
    (void)ctx;
    return fault_point();
}

static int watch_commits(sqlite3 *db, char **error, const void *api)
{
    (void)error;
    (void)api;
    sqlite3_commit_hook(db, on_commit, NULL);
    return SQLITE_OK;
}

static int on_action(void *ctx, int action, const char *a, const char *b, const char *c, const char *d)
{
    (void)ctx;
    (void)action;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return fault_point() ? SQLITE_DENY : SQLITE_OK;
}

static int watch_actions(sqlite3 *db, char **error, const void *api)
{
    (void)error;
    (void)api;
    sqlite3_set_authorizer(db, on_action, NULL);
    return SQLITE_OK;
}

void fault_install_statements(void)
{
    sqlite3_auto_extension((void (*)(void))watch_statements);
}

void fault_install_commits(void)
{
    sqlite3_auto_extension((void (*)(void))watch_commits);
}

void fault_install_actions(void)
{
    sqlite3_auto_extension((void (*)(void))watch_actions);
}

/* --- memory --- */

static sqlite3_mem_methods sqlite_memory;

static void *memory_malloc(int n)
{
    return fault_point() ? NULL : sqlite_memory.xMalloc(n);
}

static void *memory_realloc(void *p, int n)
{
    return fault_point() ? NULL : sqlite_memory.xRealloc(p, n);
}

/* Without SQLite's reserve for small allocations, so that each is a point. */
void fault_install_memory(void)
{
    sqlite3_mem_methods failing;
    sqlite3_shutdown();
    CHECK(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory) == SQLITE_OK);
    failing = sqlite_memory;
    failing.xMalloc = memory_malloc;
    failing.xRealloc = memory_realloc;
    CHECK(sqlite3_config(SQLITE_CONFIG_MALLOC, &failing) == SQLITE_OK);
    CHECK(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK);
    CHECK(sqlite3_initialize() == SQLITE_OK);
}

void fault_our_memory_arm(const struct fault *f)
{
    mem_test_fail_at(f->n);
}

void fault_our_memory_end(void)
{
    mem_test_fail_at(0);
}
