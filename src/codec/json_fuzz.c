/* The reader on any bytes; what it accepts must come out of the writer the same, in both styles. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/json.h"
#include "codec/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_positions(const struct json *root, struct str text)
{
    int line, col;
    unsigned n = 0;
    JSON_EACH (it, root) {
        json_pos(it, text, &line, &col);
        if (line < 1 || col < 1 || ++n > 100)
            break;
    }
}

/* Writing, reading and writing again gives the same bytes. */
static void check_round_trip(const struct json *root, bool pretty)
{
    struct buf first = {0};
    struct buf second = {0};
    struct arena a = {0};
    struct json_writer w;
    const struct json *again;
    (pretty ? json_w_init_pretty : json_w_init)(&w, &first);
    json_w_tree(&w, root);
    if (json_parse(&a, buf_str(&first), &json_limits_trusted, &again, NULL) != RC_OK)
        abort();
    (pretty ? json_w_init_pretty : json_w_init)(&w, &second);
    json_w_tree(&w, again);
    if (!str_eq(buf_str(&first), buf_str(&second)))
        abort();
    arena_fini(&a);
    buf_fini(&first);
    buf_fini(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    const struct json *root;
    struct err err;
    struct str text = str_n(data, size);
    fuzz_bounds_mark();
    enum rc rc = json_parse(&a, text, NULL, &root, &err);
    /* 24 bytes a node and 3 a byte of text, in an arena and arrays that double. */
    fuzz_bounds_check(size, 64 << 10, 96);
    fuzz_bounds_check_steps(size, 20000, 80);
    if (rc == RC_OK) {
        check_positions(root, text);
        check_round_trip(root, false);
        check_round_trip(root, true);
    }
    arena_fini(&a);
    return 0;
}
