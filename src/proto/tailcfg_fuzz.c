/* Both request parsers on the same bytes, and what is derived from them: what is kept of a node reads again as the
 * same, what peers get is JSON within its limit, and none of it takes more memory than the input's length allows. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/fuzz_bounds.h"
#include "codec/json.h"
#include "proto/tailcfg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool is_so)
{
    if (!is_so)
        abort();
}

/* Writing what was written changes nothing. */
static void check_again(const struct rcbuf *made, bool for_peers)
{
    struct arena a = {0};
    struct hostinfo h;
    check(hostinfo_read(&a, str_n(made->data, made->len), &h) == RC_OK);
    struct rcbuf *again = for_peers ? hostinfo_for_peers(&h) : hostinfo_for_store(&h, NULL);
    check(rcbuf_eq(again, made));
    rcbuf_unref(&again);
    arena_fini(&a);
}

static void derive(const struct hostinfo *h)
{
    struct rcbuf *kept = hostinfo_for_store(h, NULL);
    struct rcbuf *shown = hostinfo_for_peers(h);
    check(h->hostname.len <= TAILCFG_HOSTNAME_MAX_BYTES);
    check(h->routes_n <= TAILCFG_ROUTES_MAX && h->tags_n <= TAILCFG_TAGS_MAX);
    if (kept != NULL) {
        check(kept->len <= TAILCFG_HOSTINFO_MAX_BYTES);
        check_again(kept, false);
    }
    if (shown != NULL) {
        check(shown->len <= TAILCFG_HOSTINFO_PEERS_MAX_BYTES);
        check_again(shown, true);
    }
    rcbuf_unref(&kept);
    rcbuf_unref(&shown);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct register_request reg;
    struct map_request map;
    struct err err;
    fuzz_bounds_mark();
    if (tailcfg_register_request_parse(&a, str_n(data, size), &reg, &err) == RC_OK)
        derive(&reg.hostinfo);
    if (tailcfg_map_request_parse(&a, str_n(data, size), &map, &err) == RC_OK)
        derive(&map.hostinfo);
    arena_fini(&a);
    /* Two trees of 24 bytes a node, at most one node for two bytes, their arena's chunks; Hostinfo written three times.
     */
    fuzz_bounds_check(size, 64 << 10, 160);
    fuzz_bounds_check_steps(size, 50000, 200);
    return 0;
}
