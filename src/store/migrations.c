/* The schema, as the steps that led to it. A step that has been released is never changed.
 *
 * The first steps are written by hand. Since version 7 tables and columns come from the descriptions of entities, each
 * with the version that brought it (`since`): a change is a `since` of the next version there, nothing here.
 *
 * Every row has the id of its tailnet, and ids, names and addresses are unique in that. What must be unique is a
 * constraint of the database. Times are Unix milliseconds. NULL means none, never or not known. */
#include <assert.h>
#include <stdio.h>

#include "base/compiler.h"
#include "store/sqlite_internal.h"

/* `hash` is SHA-256 of the key; the key itself is not stored. `nodes.user_id` and `nodes.auth_key` may refer to
 * deleted rows: a tagged node outlives the user who registered it, and any node the key that it registered with. */
static const char version_1[] = "PRAGMA application_id = 1182100595;"
                                "CREATE TABLE schema_version ("
                                "  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),"
                                "  version INTEGER NOT NULL"
                                ") STRICT;"
                                "INSERT INTO schema_version VALUES (1, 0);"
                                "CREATE TABLE tailnets ("
                                "  id INTEGER PRIMARY KEY,"
                                "  name TEXT NOT NULL UNIQUE"
                                ") STRICT;"
                                "INSERT INTO tailnets VALUES (1, 'default');"
                                "CREATE TABLE counters ("
                                "  tailnet INTEGER PRIMARY KEY REFERENCES tailnets (id),"
                                "  next_node INTEGER NOT NULL,"
                                "  next_user INTEGER NOT NULL,"
                                "  next_key INTEGER NOT NULL"
                                ") STRICT;"
                                "CREATE TABLE users ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL REFERENCES tailnets (id),"
                                "  name TEXT NOT NULL,"
                                "  display_name TEXT NOT NULL,"
                                "  email TEXT NOT NULL,"
                                "  picture_url TEXT NOT NULL,"
                                "  created_ms INTEGER NOT NULL,"
                                "  UNIQUE (tailnet, name)"
                                ") STRICT;"
                                "CREATE TABLE auth_keys ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL REFERENCES tailnets (id),"
                                "  user_id INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,"
                                "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
                                "  prefix TEXT NOT NULL,"
                                "  is_reusable INTEGER NOT NULL CHECK (is_reusable IN (0, 1)),"
                                "  is_ephemeral INTEGER NOT NULL CHECK (is_ephemeral IN (0, 1)),"
                                "  is_used INTEGER NOT NULL CHECK (is_used IN (0, 1)),"
                                "  created_ms INTEGER NOT NULL,"
                                "  expires_ms INTEGER,"
                                "  tags TEXT"
                                ") STRICT;"
                                "CREATE INDEX auth_keys_user ON auth_keys (user_id);"
                                "CREATE TABLE nodes ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL REFERENCES tailnets (id),"
                                "  stable_id TEXT NOT NULL,"
                                "  user_id INTEGER,"
                                "  machine_key BLOB NOT NULL CHECK (length(machine_key) = 32),"
                                "  node_key BLOB NOT NULL UNIQUE CHECK (length(node_key) = 32),"
                                "  disco_key BLOB CHECK (length(disco_key) = 32),"
                                "  nl_key BLOB CHECK (length(nl_key) = 32),"
                                "  ipv4 TEXT,"
                                "  ipv6 TEXT,"
                                "  name TEXT NOT NULL,"
                                "  hostname TEXT NOT NULL,"
                                "  is_renamed INTEGER NOT NULL CHECK (is_renamed IN (0, 1)),"
                                "  is_ephemeral INTEGER NOT NULL CHECK (is_ephemeral IN (0, 1)),"
                                "  is_expired INTEGER NOT NULL CHECK (is_expired IN (0, 1)),"
                                "  cap_version INTEGER NOT NULL,"
                                "  home_derp INTEGER,"
                                "  auth_key INTEGER,"
                                "  created_ms INTEGER NOT NULL,"
                                "  expires_ms INTEGER,"
                                "  last_seen_ms INTEGER,"
                                "  tags TEXT,"
                                "  hostinfo TEXT,"
                                "  hostinfo_peers TEXT,"
                                "  endpoints TEXT NOT NULL,"
                                "  UNIQUE (tailnet, name),"
                                "  UNIQUE (tailnet, ipv4),"
                                "  UNIQUE (tailnet, ipv6)"
                                ") STRICT;";

/* Relays that run elsewhere. `hash` is SHA-256 of the relay's key; the columns after `is_up` are its last report. */
static const char version_2[] = "ALTER TABLE counters ADD COLUMN next_relay INTEGER NOT NULL DEFAULT 1;"
                                "CREATE TABLE relays ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL REFERENCES tailnets (id),"
                                "  name TEXT NOT NULL,"
                                "  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),"
                                "  prefix TEXT NOT NULL,"
                                "  region_id INTEGER NOT NULL,"
                                "  region_code TEXT NOT NULL,"
                                "  region_name TEXT NOT NULL,"
                                "  created_ms INTEGER NOT NULL,"
                                "  last_seen_ms INTEGER,"
                                "  is_up INTEGER NOT NULL CHECK (is_up IN (0, 1)),"
                                "  host_name TEXT NOT NULL,"
                                "  cert_name TEXT NOT NULL,"
                                "  ipv4 TEXT,"
                                "  ipv6 TEXT,"
                                "  derp_port INTEGER NOT NULL,"
                                "  stun_port INTEGER,"
                                "  UNIQUE (tailnet, name)"
                                ") STRICT;";

/* Roles (numbers of enum user_role: 1 is the owner) and routes ("10.0.0.0/8 fd00::/8"). What nodes advertised before
 * is taken from their Hostinfo; what does not look like prefixes there is left out, until the node reports it again. */
static const char version_3[] =
    "ALTER TABLE users ADD COLUMN role INTEGER NOT NULL DEFAULT 0 CHECK (role BETWEEN 0 AND 6);"
    "UPDATE users SET role = 1 WHERE id IN (SELECT min(id) FROM users GROUP BY tailnet);"
    "ALTER TABLE nodes ADD COLUMN advertised TEXT;"
    "ALTER TABLE nodes ADD COLUMN approved TEXT;"
    "UPDATE nodes SET advertised = (SELECT group_concat(value, ' ') FROM"
    "  (SELECT value FROM json_each(nodes.hostinfo, '$.RoutableIPs') WHERE type = 'text'"
    "   AND value GLOB '[0-9a-f:]*/[0-9]*' AND NOT value GLOB '*[^0-9a-f:./]*' LIMIT 1024))"
    " WHERE json_valid(hostinfo);";

/* Versions of the policy, byte for byte as they were set; the one with the highest id is active. */
static const char version_4[] = "CREATE TABLE policy_texts ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL REFERENCES tailnets (id),"
                                "  created_ms INTEGER NOT NULL,"
                                "  author TEXT NOT NULL,"
                                "  note TEXT NOT NULL,"
                                "  text BLOB NOT NULL"
                                ") STRICT;";

/* Rows that could not be used, each as the statement that puts it back, for when its fault has been corrected. */
static const char version_5[] = "CREATE TABLE set_aside ("
                                "  id INTEGER PRIMARY KEY,"
                                "  tailnet INTEGER NOT NULL,"
                                "  table_name TEXT NOT NULL,"
                                "  row_id INTEGER NOT NULL,"
                                "  why TEXT NOT NULL,"
                                "  at_ms INTEGER NOT NULL,"
                                "  statement TEXT NOT NULL"
                                ") STRICT;";

/* How many nodes may join with a key, how many have joined, and from where they may ("10.0.0.0/8 fd00::/8"; NULL:
 * anywhere). */
static const char version_6[] =
    "ALTER TABLE auth_keys ADD COLUMN max_nodes INTEGER NOT NULL DEFAULT 0 CHECK (max_nodes >= 0);"
    "ALTER TABLE auth_keys ADD COLUMN joined_n INTEGER NOT NULL DEFAULT 0 CHECK (joined_n >= 0);"
    "ALTER TABLE auth_keys ADD COLUMN sources TEXT;"
    /* Counted in one pass: nodes have no index by key. */
    "UPDATE auth_keys SET joined_n = c.n"
    "  FROM (SELECT auth_key, count(*) AS n FROM nodes WHERE auth_key IS NOT NULL GROUP BY auth_key) AS c"
    "  WHERE c.auth_key = auth_keys.id;";

_Static_assert(SQLITE_APPLICATION_ID == 1182100595, "migration 1 writes this number");

static const char *const by_hand[] = {version_1, version_2, version_3, version_4, version_5, version_6};
enum { DESCRIBED = ARRAY_LEN(by_hand) + 1 };

/* --- version 7: the tables of the descriptions, whose keys have the tailnet, in place of those written by hand --- */

/* The counters of a tailnet, which were columns of one row, become a row each. */
static void copy_counter(const struct entity *of, const char *column, struct buf *out)
{
    buf_printf(out,
               "INSERT INTO counters (tailnet, id, next) SELECT tailnet, %u, %s FROM counters_old"
               " WHERE typeof(%s) = 'integer' AND tailnet IN (SELECT id FROM tailnets);",
               of->number, column, column);
}

static void copy_counters(struct buf *out)
{
    buf_append_c(out, "ALTER TABLE counters RENAME TO counters_old;");
    sql_create(&sql_sqlite, &entity_counter, DESCRIBED, out);
    copy_counter(&entity_node, "next_node", out);
    copy_counter(&entity_user, "next_user", out);
    copy_counter(&entity_auth_key, "next_key", out);
    copy_counter(&entity_relay_host, "next_relay", out);
    buf_append_c(out, "DROP TABLE counters_old;");
}

/* Values that no check allows were set aside when they were loaded, and will be. */
static void describe_all(struct buf *out)
{
    const struct entity *e;
    size_t n = 0;
    buf_append_c(out, "PRAGMA ignore_check_constraints = ON;DROP INDEX auth_keys_user;");
    for (; (e = state_entity(n)) != NULL; n++) {
        if (e->since >= DESCRIBED)
            continue;
        char old[64];
        snprintf(old, sizeof(old), "%s_old", e->table);
        buf_printf(out, "ALTER TABLE %s RENAME TO %s;", e->table, old);
        sql_create(&sql_sqlite, e, DESCRIBED, out);
        sql_copy(e, old, DESCRIBED - 1, out);
    }
    /* Those that refer to others come after them, and go before. */
    while (n-- > 0) {
        if ((e = state_entity(n))->since < DESCRIBED)
            buf_printf(out, "DROP TABLE %s_old;", e->table);
    }
    copy_counters(out);
    buf_append_c(out, "PRAGMA ignore_check_constraints = OFF;");
}

/* --- all versions --- */

int sqlite_version(void)
{
    return state_schema_version() > DESCRIBED ? state_schema_version() : DESCRIBED;
}

void sqlite_migration(int from, struct buf *out)
{
    const struct entity *e;
    if (from < (int)ARRAY_LEN(by_hand))
        buf_append_c(out, by_hand[from]);
    if (from + 1 == DESCRIBED)
        describe_all(out);
    for (size_t i = 0; from + 1 > DESCRIBED && (e = state_entity(i)) != NULL; i++)
        sql_add(&sql_sqlite, e, from + 1, out);
}

enum rc sqlite_migrate_step(sqlite3 *db, const char *path, int from, const char *sql, struct err *err)
{
    char doing[64], set_version[96];
    sqlite3_snprintf(sizeof(doing), doing, "bring the schema from version %d to %d", from, from + 1);
    sqlite3_snprintf(sizeof(set_version), set_version, "UPDATE schema_version SET version = %d", from + 1);
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, set_version, NULL, NULL, NULL) == SQLITE_OK &&
        sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return RC_OK;
    enum rc rc = sqlite_error(db, path, doing, err);
    if (sqlite3_get_autocommit(db) == 0)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

enum rc sqlite_migrate(sqlite3 *db, const char *path, int from, struct err *err)
{
    for (int version = from; version < sqlite_version(); version++) {
        struct buf sql = {0};
        sqlite_migration(version, &sql);
        enum rc rc = sqlite_migrate_step(db, path, version, buf_cstr(&sql), err);
        buf_fini(&sql);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}
