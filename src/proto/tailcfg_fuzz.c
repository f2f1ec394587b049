/* Both request parsers on the same bytes, and what is derived from them. */
#include <stddef.h>
#include <stdint.h>

#include "proto/tailcfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void derive(const struct hostinfo *h)
{
    struct rcbuf *kept = hostinfo_for_store(h, NULL);
    struct rcbuf *shown = hostinfo_for_peers(h);
    rcbuf_unref(&kept);
    rcbuf_unref(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct register_request reg;
    struct map_request map;
    struct err err;
    if (register_request_parse(&a, str_n(data, size), &reg, &err) == RC_OK)
        derive(&reg.hostinfo);
    if (map_request_parse(&a, str_n(data, size), &map, &err) == RC_OK)
        derive(&map.hostinfo);
    arena_fini(&a);
    return 0;
}
