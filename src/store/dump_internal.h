/* Dumps: rows as lines of JSON, made of the descriptions of entities; only for this folder.
 *
 * The first line names the format, the version of the schema, and whether there are secrets. Each further line is a
 * row, in the order in which rows are loaded: {"entity":"user","id":1,"name":"ann",...}. NULL is left out. Bytes are
 * hexadecimal; text that is no UTF-8 is {"hex":"..."}. */
#ifndef STORE_DUMP_INTERNAL_H
#define STORE_DUMP_INTERNAL_H

#include "base/buf.h"
#include "store/store_internal.h"

/* Appends the first line. */
void store_dump_write_head(bool has_secrets, struct buf *out);
/* Appends the line of a row. */
void store_dump_write_row(const struct entity *e, const struct row *object, bool has_secrets, struct buf *out);
/* Reads a whole dump and hands its rows over, until one is refused. RC_INVALID, RC_TOO_LARGE, RC_TOO_DEEP,
 * RC_TRUNCATED; RC_UNSUPPORTED: of a newer program. `err` says where (line and column, from 1) and why. */
MUST_CHECK enum rc store_dump_read(struct str text, const struct row_sink *sink, struct err *err);

#endif
