/* Rows as parameters and results of SQLite's statements. */
#include "base/buf.h"
#include "store/sqlite_internal.h"

static int bind_value(sqlite3_stmt *stmt, int i, const struct column_value *v)
{
    /* What the object has stays there until the statement is reset. */
    void (*keep)(void *) = v->is_scratch ? SQLITE_TRANSIENT : SQLITE_STATIC;
    switch (v->kind) {
    case VALUE_INT: return sqlite3_bind_int64(stmt, i, v->number);
    case VALUE_TEXT: return sqlite3_bind_text64(stmt, i, v->bytes.p, v->bytes.len, keep, SQLITE_UTF8);
    case VALUE_BYTES: return sqlite3_bind_blob64(stmt, i, v->bytes.p, v->bytes.len, keep);
    case VALUE_NULL: break;
    }
    return sqlite3_bind_null(stmt, i);
}

bool sqlite_bind_name(sqlite3_stmt *stmt, uint64_t tailnet, uint64_t id)
{
    return sqlite3_bind_int64(stmt, 1, (int64_t)tailnet) == SQLITE_OK &&
           sqlite3_bind_int64(stmt, 2, (int64_t)id) == SQLITE_OK;
}

bool sqlite_bind_row(sqlite3_stmt *stmt, const struct entity *e, uint64_t tailnet, const struct row *object,
                     struct buf *scratch)
{
    if (!sqlite_bind_name(stmt, tailnet, object->id))
        return false;
    for (size_t i = 0; i < e->column_n; i++) {
        struct column_value v;
        column_write(&e->columns[i], object, scratch, &v);
        if (bind_value(stmt, (int)i + 3, &v) != SQLITE_OK)
            return false;
    }
    return true;
}

/* False: a value of a type that no column has. */
static bool result(sqlite3_stmt *stmt, int i, struct column_value *out)
{
    *out = (struct column_value){0};
    switch (sqlite3_column_type(stmt, i)) {
    case SQLITE_NULL: return true;
    case SQLITE_INTEGER: out->kind = VALUE_INT; break;
    case SQLITE_TEXT: out->kind = VALUE_TEXT; break;
    case SQLITE_BLOB: out->kind = VALUE_BYTES; break;
    default: return false;
    }
    if (out->kind == VALUE_INT) {
        out->number = sqlite3_column_int64(stmt, i);
        return true;
    }
    /* The pointer before the length, as SQLite demands: it might convert the value in between otherwise. */
    const void *p = sqlite3_column_blob(stmt, i);
    out->bytes = p != NULL ? str_n(p, (size_t)sqlite3_column_bytes(stmt, i)) : STR_EMPTY;
    return true;
}

static bool read_column(sqlite3_stmt *stmt, int i, const struct column *c, struct row **object)
{
    struct column_value v;
    return result(stmt, i, &v) && column_read(c, object, &v) == RC_OK;
}

struct row *sqlite_read_row(sqlite3_stmt *stmt, const struct entity *e, const char **bad_out)
{
    struct row *object = entity_create(e);
    *bad_out = read_column(stmt, 0, &column_id, &object) ? NULL : column_id.name;
    for (size_t i = 0; i < e->column_n && *bad_out == NULL; i++) {
        if (!read_column(stmt, (int)i + 1, &e->columns[i], &object))
            *bad_out = e->columns[i].name;
    }
    const struct row *dropped = object;
    if (*bad_out == NULL)
        return object;
    row_unref(e, &dropped);
    return NULL;
}
