/* What a control server, or another server at its address, sends to a relay. */
#include "announce/announcement.h"
#include "base/fuzz_bounds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct announcement_reply r;
    struct err err;
    bool is_allowed;
    fuzz_bounds_mark();
    if (announcement_reply_parse(&a, str_n(data, size), &r, &err) == RC_OK) {
        for (size_t i = 0; i < r.neighbour_n; i++) {
            if (strlen(r.neighbours[i].host) == 0 || strlen(r.neighbours[i].dial) > 255)
                __builtin_trap();
        }
    }
    (void)!announcement_verify_reply_parse(str_n(data, size), &is_allowed);
    arena_fini(&a);
    fuzz_bounds_check(size, 65536, 64);
    fuzz_bounds_check_steps(size, 40000, 160);
    return 0;
}
