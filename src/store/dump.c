/* Dump and import: all rows of a tailnet as lines of JSON, for a person to read, to keep, or to move to another
 * database. */
#include "base/mem.h"
#include "base/vec.h"
#include "store/dump_internal.h"

struct dumping {
    bool has_secrets;
    store_piece_fn write;
    void *ctx;
    enum rc rc;
    struct buf line;
};

static void write_line(struct dumping *d)
{
    if (d->rc == RC_OK)
        d->rc = d->write(d->ctx, buf_str(&d->line));
    buf_clear(&d->line);
}

static enum rc dump_row(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    struct dumping *d = ctx;
    const struct row *row = object;
    (void)err;
    store_dump_write_row(e, row, d->has_secrets, &d->line);
    write_line(d);
    row_unref(e, &row);
    return RC_OK;
}

enum rc store_dump(struct store *s, uint64_t tailnet, bool with_secrets, store_piece_fn write, void *ctx,
                   struct err *err)
{
    struct dumping d = {.has_secrets = with_secrets, .write = write, .ctx = ctx};
    const struct row_sink sink = {dump_row, &d};
    store_dump_write_head(with_secrets, &d.line);
    write_line(&d);
    enum rc rc = s->ops->load(s, tailnet, &sink, err);
    buf_fini(&d.line);
    if (rc == RC_OK && d.rc != RC_OK)
        rc = err_set(err, d.rc, "the dump cannot be written");
    return rc;
}

/* --- import --- */

struct import {
    struct state *check; /* takes the rows in as a start would */
    struct row_batch *rows;
};

static enum rc import_row(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    struct import *im = ctx;
    struct row_op op = {e, object->id, row_copy(e, object)};
    VEC_PUSH(im->rows->ops, im->rows->n, im->rows->cap, op);
    return state_load(im->check, e, object, err);
}

static enum rc count_row(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    const struct row *row = object;
    (void)err;
    ++*(size_t *)ctx;
    row_unref(e, &row);
    return RC_OK;
}

static enum rc check_empty(struct store *s, uint64_t tailnet, struct err *err)
{
    size_t n = 0;
    const struct row_sink sink = {count_row, &n};
    TRY(s->ops->load(s, tailnet, &sink, err));
    if (n > 0)
        return err_set(err, RC_EXISTS, "the database has rows already: import into an empty one");
    return RC_OK;
}

/* In one transaction. */
static enum rc write_rows(struct store *s, uint64_t tailnet, struct row_batch *rows, struct err *err)
{
    const struct row_op **plan;
    size_t n = store_plan(&rows, 1, &plan);
    enum rc rc = s->ops->write(s, tailnet, plan, n);
    mem_free(plan);
    return rc == RC_OK ? RC_OK : err_set(err, rc, "%s", store_refusal_text(rc));
}

enum rc store_import(struct store *s, uint64_t tailnet, struct str dump, struct err *err)
{
    static const struct state_options options = {0};
    struct import im = {state_create(&options, tailnet_settings_create()), MEM_NEW(struct row_batch)};
    const struct row_sink sink = {import_row, &im};
    im.rows->tailnet = tailnet;
    enum rc rc = check_empty(s, tailnet, err);
    if (rc == RC_OK)
        rc = store_dump_read(dump, &sink, err);
    if (rc == RC_OK)
        rc = write_rows(s, tailnet, im.rows, err);
    row_batch_destroy(&im.rows);
    state_destroy(&im.check);
    return rc;
}
