/* SQL made of descriptions, for both databases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "store/sql_internal.h"
#include "state/state.h"

/* A thing with a column of each type, that came in version 8, and two columns that came in version 9. */
struct thing {
    ROW_HEAD;
    char name[8];
    bool is_good;
    uint16_t port;
    int64_t at_ms;
    uint8_t key[4];
    uint8_t seal[4];
    struct rcbuf *json, *blob;
    uint64_t owner;
};

static const struct column columns[] = {
    {COLUMN_OF("name", COLUMN_TEXT, struct thing, name), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("is_good", COLUMN_BOOL, struct thing, is_good)},
    {COLUMN_OF("port", COLUMN_INT, struct thing, port), .min = 1, .max = UINT16_MAX, .since = 9},
    {COLUMN_OF("at_ms", COLUMN_INT, struct thing, at_ms), .flags = COLUMN_NULL_IF_ZERO, .since = 9},
    {COLUMN_OF("key", COLUMN_BYTES, struct thing, key)},
    {COLUMN_OF("seal", COLUMN_BYTES, struct thing, seal), .flags = COLUMN_NULL_IF_ZERO},
    {COLUMN_OF("owner", COLUMN_INT, struct thing, owner), COLUMN_IS_ID, .refers_to = "users"},
};
static const struct entity things = {
    .name = "thing", .table = "things", .since = 8, .columns = columns, .column_n = ARRAY_LEN(columns)};

typedef void make_fn(const struct sql_dialect *d, const struct entity *e, struct buf *out);

static void assert_sql(make_fn *make, const struct sql_dialect *d, const char *want)
{
    struct buf sql = {0};
    make(d, &things, &sql);
    assert_string_equal(buf_cstr(&sql), want);
    buf_fini(&sql);
}

static void assert_schema(bool is_added, const struct sql_dialect *d, int version, const char *want)
{
    struct buf sql = {0};
    if (is_added)
        sql_add(d, &things, version, &sql);
    else
        sql_create(d, &things, version, &sql);
    assert_string_equal(buf_cstr(&sql), want);
    buf_fini(&sql);
}

static void test_rows_in_sqlite(void **state)
{
    (void)state;
    assert_sql(sql_put, &sql_sqlite,
               "INSERT INTO things (tailnet, id, name, is_good, port, at_ms, key, seal, owner) VALUES "
               "(?, ?, ?, ?, ?, ?, ?, ?, ?)");
    assert_sql(sql_delete, &sql_sqlite, "DELETE FROM things WHERE tailnet = ? AND id = ?");
    assert_sql(sql_select, &sql_sqlite,
               "SELECT id, name, is_good, port, at_ms, key, seal, owner FROM things WHERE tailnet = ? ORDER BY id");
}

static void test_rows_in_postgres(void **state)
{
    (void)state;
    assert_sql(sql_put, &sql_postgres,
               "INSERT INTO things (tailnet, id, name, is_good, port, at_ms, key, seal, owner) VALUES "
               "($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tailnet, id) DO UPDATE SET name = excluded.name, "
               "is_good = excluded.is_good, port = excluded.port, at_ms = excluded.at_ms, key = excluded.key, "
               "seal = excluded.seal, owner = excluded.owner");
    assert_sql(sql_delete, &sql_postgres, "DELETE FROM things WHERE tailnet = $1 AND id = $2");
    assert_sql(sql_select, &sql_postgres,
               "SELECT id, name, is_good, port, at_ms, key, seal, owner FROM things WHERE tailnet = $1 ORDER BY id");
    assert_sql(sql_set_aside, &sql_postgres,
               "INSERT INTO set_aside (tailnet, table_name, row_id, why, at_ms, statement) SELECT tailnet, 'things', "
               "CAST(id AS BIGINT), $3, $4, "
               "'INSERT INTO things (tailnet, id, name, is_good, port, at_ms, key, seal, owner) VALUES ('"
               " || quote_nullable(tailnet) || ', ' || quote_nullable(id) || ', ' || quote_nullable(name) || ', ' ||"
               " quote_nullable(is_good) || ', ' || quote_nullable(port) || ', ' || quote_nullable(at_ms) || ', ' ||"
               " quote_nullable(key) || ', ' || quote_nullable(seal) || ', ' || quote_nullable(owner) || ');'"
               " FROM things WHERE tailnet = $1 AND id = $2");
}

/* A table has the columns of its version; what came later is added. */
static void test_schema_in_both(void **state)
{
    (void)state;
    assert_schema(false, &sql_sqlite, 8,
                  "CREATE TABLE things (tailnet INTEGER NOT NULL REFERENCES tailnets (id), id INTEGER NOT NULL, "
                  "name TEXT NOT NULL, is_good INTEGER NOT NULL CHECK (is_good IN (0, 1)), "
                  "key BLOB NOT NULL CHECK (length(key) = 4), seal BLOB CHECK (length(seal) = 4), "
                  "owner INTEGER NOT NULL, PRIMARY KEY (tailnet, id), UNIQUE (tailnet, name), "
                  "FOREIGN KEY (tailnet, owner) REFERENCES users (tailnet, id) DEFERRABLE INITIALLY DEFERRED) STRICT;"
                  "CREATE INDEX things_owner ON things (tailnet, owner);");
    assert_schema(false, &sql_postgres, 8,
                  "CREATE TABLE things (tailnet bigint NOT NULL REFERENCES tailnets (id), id bigint NOT NULL, "
                  "name text NOT NULL, is_good bigint NOT NULL CHECK (is_good IN (0, 1)), "
                  "key bytea NOT NULL CHECK (octet_length(key) = 4), seal bytea CHECK (octet_length(seal) = 4), "
                  "owner bigint NOT NULL, PRIMARY KEY (tailnet, id), UNIQUE (tailnet, name), "
                  "FOREIGN KEY (tailnet, owner) REFERENCES users (tailnet, id) DEFERRABLE INITIALLY DEFERRED);"
                  "CREATE INDEX things_owner ON things (tailnet, owner);");
    assert_schema(true, &sql_sqlite, 7, "");
    assert_schema(true, &sql_sqlite, 9,
                  "ALTER TABLE things ADD COLUMN port INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535) DEFAULT 1;"
                  "ALTER TABLE things ADD COLUMN at_ms INTEGER;");
    assert_schema(true, &sql_postgres, 9,
                  "ALTER TABLE things ADD COLUMN port bigint NOT NULL CHECK (port BETWEEN 1 AND 65535) DEFAULT 1;"
                  "ALTER TABLE things ADD COLUMN at_ms bigint;");
}

/* What the generator relies on, of all descriptions. */
static void test_descriptions_agree(void **state)
{
    (void)state;
    const struct entity *e, *other;
    for (size_t i = 0; (e = state_entity(i)) != NULL; i++) {
        assert_true(e->number > 0 && e->number < ENTITIES_MAX && e->since > 0 && e->id_max > 0);
        for (size_t k = 0; k < i; k++) {
            other = state_entity(k);
            assert_true(other->number != e->number && strcmp(other->table, e->table) != 0 &&
                        strcmp(other->name, e->name) != 0);
        }
        for (size_t k = 0; k < e->column_n; k++) {
            const struct column *c = &e->columns[k];
            bool has_hooks = c->write != NULL && c->read != NULL;
            bool is_late = entity_column_since(e, c) > 7 && c->since > e->since;
            assert_true(has_hooks == (c->type == COLUMN_HOOK));
            assert_true(c->type != COLUMN_IP || c->max == 4 || c->max == 6);
            assert_true(c->type != COLUMN_BLOB || c->max > 0);
            /* ALTER TABLE cannot add these. */
            assert_false(is_late && (c->refers_to != NULL || (c->type == COLUMN_BYTES && !column_is_nullable(c))));
            for (size_t m = 0; m < k; m++)
                assert_string_not_equal(c->name, e->columns[m].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_in_sqlite),
        cmocka_unit_test(test_rows_in_postgres),
        cmocka_unit_test(test_schema_in_both),
        cmocka_unit_test(test_descriptions_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
