/* SQL made of the descriptions of entities (state/entity.h); only for this folder. What differs between databases is in
 * the dialect. Column names are the order of parameters and results: the tailnet, the id, then the description's. */
#ifndef STORE_SQL_INTERNAL_H
#define STORE_SQL_INTERNAL_H

#include "base/buf.h"
#include "state/entity.h"

struct sql_dialect {
    const char *types[VALUE_BYTES + 1]; /* by kind of the values */
    const char *byte_length;            /* the function that counts the bytes of a value */
    const char *quote;                  /* the function that makes a literal of a value */
    const char *table_end;              /* after the closing parenthesis of a table */
    bool is_numbered;                   /* parameters are $1, $2...; else ? */
    bool puts_update;                   /* a row that is there is updated; else it has been deleted before */
};
extern const struct sql_dialect sql_sqlite, sql_postgres;

/* Writes a row. Parameters: tailnet, id, columns. */
void sql_put(const struct sql_dialect *d, const struct entity *e, struct buf *out);
/* Parameters: tailnet, id. */
void sql_delete(const struct sql_dialect *d, const struct entity *e, struct buf *out);
/* Reads all rows of a tailnet, ascending by id. Parameter: tailnet. Results: id, columns. */
void sql_select(const struct sql_dialect *d, const struct entity *e, struct buf *out);
/* Keeps a row of the table in the table set_aside, as the statement that puts it back; it is deleted with sql_delete
 * afterwards. Parameters: tailnet, id, why, when (Unix ms). */
void sql_set_aside(const struct sql_dialect *d, const struct entity *e, struct buf *out);
/* Makes the table as it was in a schema version. Several statements, each with a semicolon. */
void sql_create(const struct sql_dialect *d, const struct entity *e, int version, struct buf *out);
/* What has come in a schema version: tables, and columns of tables that were there. Several statements. */
void sql_add(const struct sql_dialect *d, const struct entity *e, int version, struct buf *out);
/* Copies the rows from `from`, which has the columns of a schema version, into the table. Those that the table cannot
 * take (a value of another type or missing, a row that is referred to and not there) are kept in set_aside.
 * SQLite only: it is there that such rows may be. */
void sql_copy(const struct entity *e, const char *from, int version, struct buf *out);

#endif
