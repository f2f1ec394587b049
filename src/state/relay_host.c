#include "state/relay_host.h"

#include "base/mem.h"
#include "base/refs.h"
#include "state/entity.h"

struct relay_host *state_relay_host_create(void)
{
    struct relay_host *r = MEM_NEW(struct relay_host);
    atomic_init(&r->refs, 1);
    return r;
}

struct relay_host *state_relay_host_edit(const struct relay_host *r)
{
    return (struct relay_host *)row_copy(&entity_relay_host, &r->row);
}

const struct relay_host *state_relay_host_ref(const struct relay_host *r)
{
    refs_take(&r->refs);
    return r;
}

void state_relay_host_unref(const struct relay_host **at)
{
    const struct row *row = *at != NULL ? &(*at)->row : NULL;
    *at = NULL;
    row_unref(&entity_relay_host, &row);
}

/* --- rows --- */

static const struct column columns[] = {
    {COLUMN_OF("name", COLUMN_TEXT, struct relay_host, name), .flags = COLUMN_UNIQUE},
    {COLUMN_OF("hash", COLUMN_BYTES, struct relay_host, hash), .flags = COLUMN_UNIQUE | COLUMN_SECRET},
    {COLUMN_OF("prefix", COLUMN_TEXT, struct relay_host, prefix)},
    {COLUMN_OF("region_id", COLUMN_INT, struct relay_host, region_id), .min = 1, .max = UINT16_MAX},
    {COLUMN_OF("region_code", COLUMN_TEXT, struct relay_host, region_code)},
    {COLUMN_OF("region_name", COLUMN_TEXT, struct relay_host, region_name)},
    {COLUMN_OF("created_ms", COLUMN_INT, struct relay_host, created_ms)},
    {COLUMN_OF("last_seen_ms", COLUMN_INT, struct relay_host, last_seen_ms),
     .flags = COLUMN_NULL_IF_ZERO | COLUMN_PRESENCE},
    {COLUMN_OF("is_up", COLUMN_BOOL, struct relay_host, is_up), .flags = COLUMN_PRESENCE},
    {COLUMN_OF("host_name", COLUMN_TEXT, struct relay_host, report.host_name), .flags = COLUMN_PRESENCE},
    {COLUMN_OF("cert_name", COLUMN_TEXT, struct relay_host, report.cert_name), .flags = COLUMN_PRESENCE},
    {COLUMN_OF("ipv4", COLUMN_IP, struct relay_host, report.ipv4), .max = 4, .flags = COLUMN_PRESENCE},
    {COLUMN_OF("ipv6", COLUMN_IP, struct relay_host, report.ipv6), .max = 6, .flags = COLUMN_PRESENCE},
    {COLUMN_OF("derp_port", COLUMN_INT, struct relay_host, report.derp_port), .max = UINT16_MAX,
     .flags = COLUMN_PRESENCE},
    {COLUMN_OF("stun_port", COLUMN_INT, struct relay_host, report.stun_port), .max = UINT16_MAX,
     .flags = COLUMN_NULL_IF_ZERO | COLUMN_PRESENCE},
};

const struct entity entity_relay_host = {
    .name = "relay",
    .table = "relays",
    .number = 4,
    .since = 2,
    .id_max = ROW_ID_MAX,
    .is_counted = true,
    .size = sizeof(struct relay_host),
    .columns = columns,
    .column_n = ARRAY_LEN(columns),
};
