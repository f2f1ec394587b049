/* A dump: refused, or its rows are written as a dump that reads as the same rows again. */
#include <stdint.h>
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "store/dump_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rc write_again(void *ctx, const struct entity *e, struct row *object, struct err *err)
{
    const struct row *row = object;
    (void)err;
    store_dump_write_row(e, row, true, ctx);
    row_unref(e, &row);
    return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first = {0}, second = {0};
    const struct row_sink to_first = {write_again, &first}, to_second = {write_again, &second};
    struct err err;
    fuzz_bounds_mark();
    store_dump_write_head(true, &first);
    store_dump_write_head(true, &second);
    enum rc rc = store_dump_read(str_n(data, size), &to_first, &err);
    if (rc == RC_OK && store_dump_read(buf_str(&first), &to_second, &err) != RC_OK)
        abort();
    if (rc == RC_OK && !str_eq(buf_str(&first), buf_str(&second)))
        abort();
    if (rc != RC_OK && (err.text[0] == '\0' || (size > 0 && err.line == 0)))
        abort();
    buf_fini(&first);
    buf_fini(&second);
    fuzz_bounds_check(size, 100000, 64);
    fuzz_bounds_check_steps(size, 40000, 120);
    return 0;
}
