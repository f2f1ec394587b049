/* SQL made of the descriptions of entities. */
#include "store/sql_internal.h"

#include <limits.h>

/* Tables with rowids: WITHOUT ROWID a row of a node, which is more than a quarter of a page, goes to an overflow page,
 * and costs half as much again to write. */
const struct sql_dialect sql_sqlite = {
    .types = {[VALUE_INT] = "INTEGER", [VALUE_TEXT] = "TEXT", [VALUE_BYTES] = "BLOB"},
    .byte_length = "length",
    .quote = "quote",
    .table_end = " STRICT",
};

const struct sql_dialect sql_postgres = {
    .types = {[VALUE_INT] = "bigint", [VALUE_TEXT] = "text", [VALUE_BYTES] = "bytea"},
    .byte_length = "octet_length",
    .quote = "quote_nullable",
    .table_end = "",
    .is_numbered = true,
    .puts_update = true,
};

/* --- parts --- */

/* Walks the columns that the table had in a schema version; starts with *i = 0. Null at the end. */
static const struct column *next_column(const struct entity *e, int version, size_t *i)
{
    while (*i < e->column_n) {
        const struct column *c = &e->columns[(*i)++];
        if (entity_column_since(e, c) <= version)
            return c;
    }
    return NULL;
}

#define EACH_COLUMN(c, e, version)                                                                                     \
    const struct column *(c);                                                                                          \
    for (size_t c##_i = 0; ((c) = next_column(e, version, &c##_i)) != NULL;)

static void mark(const struct sql_dialect *d, unsigned number, struct buf *out)
{
    if (d->is_numbered)
        buf_printf(out, "$%u", number);
    else
        buf_append_c(out, "?");
}

/* "tailnet, id, name, ..." */
static void name_columns(const struct entity *e, int version, struct buf *out)
{
    buf_append_c(out, "tailnet, id");
    EACH_COLUMN(c, e, version)
    buf_printf(out, ", %s", c->name);
}

static void where_row(const struct sql_dialect *d, unsigned first, struct buf *out)
{
    buf_append_c(out, " WHERE tailnet = ");
    mark(d, first, out);
    buf_append_c(out, " AND id = ");
    mark(d, first + 1, out);
}

/* --- rows --- */

void sql_put(const struct sql_dialect *d, const struct entity *e, struct buf *out)
{
    buf_printf(out, "INSERT INTO %s (", e->table);
    name_columns(e, INT_MAX, out);
    buf_append_c(out, ") VALUES (");
    for (unsigned i = 1; i <= e->column_n + 2; i++) {
        buf_append_c(out, i > 1 ? ", " : "");
        mark(d, i, out);
    }
    buf_append_c(out, ")");
    if (!d->puts_update)
        return;
    buf_append_c(out, " ON CONFLICT (tailnet, id) DO UPDATE SET ");
    for (size_t i = 0; i < e->column_n; i++)
        buf_printf(out, "%s%s = excluded.%s", i > 0 ? ", " : "", e->columns[i].name, e->columns[i].name);
}

void sql_delete(const struct sql_dialect *d, const struct entity *e, struct buf *out)
{
    buf_printf(out, "DELETE FROM %s", e->table);
    where_row(d, 1, out);
}

void sql_select(const struct sql_dialect *d, const struct entity *e, struct buf *out)
{
    buf_append_c(out, "SELECT id");
    for (size_t i = 0; i < e->column_n; i++)
        buf_printf(out, ", %s", e->columns[i].name);
    buf_printf(out, " FROM %s WHERE tailnet = ", e->table);
    mark(d, 1, out);
    buf_append_c(out, " ORDER BY id");
}

/* The value of set_aside.statement: "INSERT INTO users (...) VALUES (1, 7, 'x');" */
static void restoring_statement(const struct sql_dialect *d, const struct entity *e, int version, struct buf *out)
{
    buf_printf(out, "'INSERT INTO %s (", e->table);
    name_columns(e, version, out);
    buf_printf(out, ") VALUES (' || %s(tailnet) || ', ' || %s(id)", d->quote, d->quote);
    EACH_COLUMN(c, e, version)
    buf_printf(out, " || ', ' || %s(%s)", d->quote, c->name);
    buf_append_c(out, " || ');'");
}

void sql_set_aside(const struct sql_dialect *d, const struct entity *e, struct buf *out)
{
    buf_printf(out,
               "INSERT INTO set_aside (tailnet, table_name, row_id, why, at_ms, statement) SELECT tailnet, '%s', "
               "CAST(id AS BIGINT), ",
               e->table);
    buf_append_c(out, d->is_numbered ? "$3, $4, " : "?3, ?4, ");
    restoring_statement(d, e, INT_MAX, out);
    buf_printf(out, " FROM %s WHERE tailnet = %s AND id = %s", e->table, d->is_numbered ? "$1" : "?1",
               d->is_numbered ? "$2" : "?2");
}

/* --- tables --- */

static void describe_column(const struct sql_dialect *d, const struct column *c, struct buf *out)
{
    buf_printf(out, "%s %s%s", c->name, d->types[column_kind(c)], column_is_nullable(c) ? "" : " NOT NULL");
    if (c->type == COLUMN_BOOL)
        buf_printf(out, " CHECK (%s IN (0, 1))", c->name);
    else if (c->type == COLUMN_BYTES)
        buf_printf(out, " CHECK (%s(%s) = %zu)", d->byte_length, c->name, c->cap);
    else if (c->type == COLUMN_INT && c->max != INT64_MAX && (c->min != 0 || c->max != 0))
        buf_printf(out, " CHECK (%s BETWEEN %lld AND %lld)", c->name, (long long)c->min, (long long)c->max);
}

void sql_create(const struct sql_dialect *d, const struct entity *e, int version, struct buf *out)
{
    buf_printf(out, "CREATE TABLE %s (tailnet %s NOT NULL REFERENCES tailnets (id), id %s NOT NULL", e->table,
               d->types[VALUE_INT], d->types[VALUE_INT]);
    EACH_COLUMN(described, e, version)
    {
        buf_append_c(out, ", ");
        describe_column(d, described, out);
    }
    buf_append_c(out, ", PRIMARY KEY (tailnet, id)");
    EACH_COLUMN(c, e, version)
    {
        if ((c->flags & COLUMN_UNIQUE) != 0)
            buf_printf(out, ", UNIQUE (tailnet, %s)", c->name);
        if (c->refers_to != NULL)
            buf_printf(out, ", FOREIGN KEY (tailnet, %s) REFERENCES %s (tailnet, id) DEFERRABLE INITIALLY DEFERRED",
                       c->name, c->refers_to);
    }
    buf_printf(out, ")%s;", d->table_end);
    EACH_COLUMN(key, e, version)
    {
        if (key->refers_to != NULL)
            buf_printf(out, "CREATE INDEX %s_%s ON %s (tailnet, %s);", e->table, key->name, e->table, key->name);
    }
}

/* What the rows that are there get. */
static void default_value(const struct column *c, struct buf *out)
{
    if (column_is_nullable(c))
        return;
    if (column_kind(c) == VALUE_INT)
        buf_printf(out, " DEFAULT %lld", (long long)c->min);
    else
        buf_append_c(out, " DEFAULT ''");
}

void sql_add(const struct sql_dialect *d, const struct entity *e, int version, struct buf *out)
{
    if (e->since == version)
        sql_create(d, e, version, out);
    for (size_t i = 0; i < e->column_n && e->since < version; i++) {
        const struct column *c = &e->columns[i];
        if (c->since != version)
            continue;
        buf_printf(out, "ALTER TABLE %s ADD COLUMN ", e->table);
        describe_column(d, c, out);
        default_value(c, out);
        buf_append_c(out, ";");
        if ((c->flags & COLUMN_UNIQUE) != 0)
            buf_printf(out, "CREATE UNIQUE INDEX %s_%s ON %s (tailnet, %s);", e->table, c->name, e->table, c->name);
    }
}

/* --- from an older table --- */

static void wrong_type(const char *column, const char *type, bool is_nullable, struct buf *out)
{
    if (is_nullable)
        buf_printf(out, "typeof(%s) NOT IN ('null', '%s')", column, type);
    else
        buf_printf(out, "typeof(%s) <> '%s'", column, type);
}

/* A condition that is never NULL: the table cannot take the row. */
static void cannot_be_taken(const struct entity *e, const char *from, int version, struct buf *out)
{
    static const char *const types[] = {[VALUE_INT] = "integer", [VALUE_TEXT] = "text", [VALUE_BYTES] = "blob"};
    buf_append_c(out, "(typeof(id) <> 'integer' OR tailnet IS NULL OR tailnet NOT IN (SELECT id FROM tailnets)");
    EACH_COLUMN(c, e, version)
    {
        buf_append_c(out, " OR ");
        wrong_type(c->name, types[column_kind(c)], column_is_nullable(c), out);
        if (c->refers_to != NULL)
            buf_printf(out,
                       " OR (%s IS NOT NULL AND NOT EXISTS (SELECT 1 FROM %s AS r"
                       " WHERE r.tailnet = %s.tailnet AND r.id = %s.%s))",
                       c->name, c->refers_to, from, from, c->name);
    }
    buf_append_c(out, ")");
}

void sql_copy(const struct entity *e, const char *from, int version, struct buf *out)
{
    buf_printf(out, "INSERT INTO %s (", e->table);
    name_columns(e, version, out);
    buf_append_c(out, ") SELECT ");
    name_columns(e, version, out);
    buf_printf(out, " FROM %s WHERE NOT ", from);
    cannot_be_taken(e, from, version, out);
    buf_printf(out,
               ";INSERT INTO set_aside (tailnet, table_name, row_id, why, at_ms, statement)"
               " SELECT ifnull(CAST(tailnet AS INTEGER), 0), '%s', ifnull(CAST(id AS INTEGER), 0),"
               " 'a value is missing, of another type, or of a row that is not there',"
               " CAST(strftime('%%s', 'now') AS INTEGER) * 1000, ",
               e->table);
    restoring_statement(&sql_sqlite, e, version, out);
    buf_printf(out, " FROM %s WHERE ", from);
    cannot_be_taken(e, from, version, out);
    buf_append_c(out, ";");
}
