/* Blanking keeps the length and every line end, and what is JSON already it leaves alone. */
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/hujson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_blanked(struct str text, struct str clean)
{
    if (clean.len != text.len)
        abort();
    for (size_t i = 0; i < text.len; i++) {
        if (clean.p[i] != text.p[i] && (clean.p[i] != ' ' || text.p[i] == '\n'))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    const struct json *root;
    struct err err;
    struct str text = str_n(data, size);
    struct str clean;
    fuzz_bounds_mark();
    bool is_json = json_parse(&a, text, NULL, &root, NULL) == RC_OK;
    if (hujson_blank(&a, text, &clean, &err) == RC_OK) {
        check_blanked(text, clean);
        if (is_json && !str_eq(clean, text))
            abort();
    }
    bool is_hujson = hujson_parse(&a, text, NULL, &root, NULL, &err) == RC_OK;
    if (is_json && !is_hujson)
        abort();
    arena_fini(&a);
    /* Blanked, and read as JSON three times. */
    fuzz_bounds_check(size, 64 << 10, 160);
    fuzz_bounds_check_steps(size, 20000, 180);
    return 0;
}
