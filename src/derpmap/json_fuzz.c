/* A DERP map from a URL: refused, or merged, checked and written in a form that reads as the same map again. */
#include <stdint.h>
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "derpmap/derpmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct derpmap map = {0}, again = {0};
    struct buf first = {0}, second = {0};
    struct err err;
    fuzz_bounds_mark();
    if (derpmap_merge_json(&map, str_n(data, size), "fuzz", &err) == RC_OK) {
        derpmap_write_json(&map, &first);
        if (derpmap_check_nodes(&map, &err) == RC_OK) {
            if (derpmap_merge_json(&again, buf_str(&first), "again", &err) != RC_OK)
                abort();
            derpmap_write_json(&again, &second);
            if (!str_eq(buf_str(&first), buf_str(&second)))
                abort();
        }
    }
    derpmap_fini(&map);
    derpmap_fini(&again);
    buf_fini(&first);
    buf_fini(&second);
    fuzz_bounds_check(size, 65536, 256);
    fuzz_bounds_check_steps(size, 40000, 160);
    return 0;
}
