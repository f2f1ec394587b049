/* What the tokens of a map response mean: which list a record is in, and what its members say. */
#include <string.h>

#include "bench/scan_internal.h"

struct name {
    struct str text;
    uint8_t value;
};

uint32_t scan_digest(struct str text)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (uint8_t)text.p[i]) * 16777619u;
    h ^= h >> 15;
    h *= 0x85ebca6bu; /* sums of digests need all bits mixed */
    h ^= h >> 13;
    return h != 0 ? h : 1;
}

static uint8_t find_name(const struct name *names, size_t n, struct str text)
{
    for (size_t i = 0; i < n; i++) {
        if (names[i].text.len == text.len && memcmp(names[i].text.p, text.p, text.len) == 0)
            return names[i].value;
    }
    return 0;
}

static uint8_t field_of(struct str key)
{
    static const struct name names[] = {
        {STR("KeepAlive"), FIELD_KEEP_ALIVE},
        {STR("PingRequest"), FIELD_PING},
        {STR("Node"), FIELD_NODE},
        {STR("Peers"), FIELD_PEERS},
        {STR("PeersChanged"), FIELD_CHANGED},
        {STR("PeersChangedPatch"), FIELD_PATCH},
        {STR("PeersRemoved"), FIELD_REMOVED},
    };
    return find_name(names, ARRAY_LEN(names), key);
}

static uint8_t member_of(struct str key)
{
    static const struct name names[] = {
        {STR("ID"), MEMBER_ID},
        {STR("NodeID"), MEMBER_ID},
        {STR("Key"), MEMBER_KEY},
        {STR("Machine"), MEMBER_MACHINE},
        {STR("DiscoKey"), MEMBER_DISCO},
        {STR("Name"), MEMBER_NAME},
        {STR("StableID"), MEMBER_STABLE_ID},
        {STR("User"), MEMBER_USER},
        {STR("MachineAuthorized"), MEMBER_AUTHORIZED},
        {STR("Online"), MEMBER_ONLINE},
        {STR("HomeDERP"), MEMBER_DERP},
        {STR("DERPRegion"), MEMBER_DERP},
        {STR("Endpoints"), MEMBER_ENDPOINTS},
        {STR("Addresses"), MEMBER_ADDRESSES},
        {STR("AllowedIPs"), MEMBER_ALLOWED},
        {STR("Hostinfo"), MEMBER_HOSTINFO},
    };
    return find_name(names, ARRAY_LEN(names), key);
}

static uint8_t host_member_of(struct str key)
{
    static const struct name names[] = {{STR("OS"), MEMBER_OS}, {STR("OSVersion"), MEMBER_OS_VERSION}};
    return find_name(names, ARRAY_LEN(names), key);
}

/* --- texts that carry the number of a change --- */

static bool read_number(const char **at, const char *end, uint32_t *out)
{
    const char *from = *at;
    uint32_t v = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
        v = v * 10 + (uint32_t)(**at - '0');
    *out = v;
    return *at > from;
}

/* "10.x.y.z:port" */
static uint32_t endpoint_mark(struct str text)
{
    const char *at = text.p + 3, *end = text.p + text.len;
    uint32_t mark = 0, octet;
    if (!str_starts(text, STR("10.")))
        return 0;
    for (unsigned i = 0; i < 3; i++) {
        if (!read_number(&at, end, &octet))
            return 0;
        mark = mark << 8 | (octet & 255);
        at += at < end; /* the dot or colon */
    }
    return mark;
}

static uint32_t host_mark(struct str text)
{
    const char *at = text.p + sizeof(SCAN_HOST_MARK) - 1;
    uint32_t mark = 0;
    if (!str_starts(text, STR(SCAN_HOST_MARK)))
        return 0;
    (void)read_number(&at, text.p + text.len, &mark);
    return mark;
}

/* --- what tokens mean --- */

static bool integer_of(struct str text, int64_t *out)
{
    return str_to_i64(text, out) == RC_OK;
}

static uint32_t u32_of(struct str text)
{
    int64_t v = 0;
    return integer_of(text, &v) && v > 0 && v <= UINT32_MAX ? (uint32_t)v : 0;
}

static enum rc top_value(struct scan *s, enum kind kind)
{
    switch (s->field) {
    case FIELD_KEEP_ALIVE:
        if (kind != KIND_TRUE && kind != KIND_FALSE)
            return RC_INVALID;
        s->counts.keep_alive += kind == KIND_TRUE;
        return RC_OK;
    case FIELD_PING: s->counts.ping += kind != KIND_NULL; return RC_OK;
    case FIELD_OTHER: return RC_OK;
    default: return kind == KIND_NULL ? RC_OK : RC_INVALID;
    }
}

static enum rc record_value(struct scan_record *r, uint8_t member, enum kind kind, struct str text)
{
    switch (member) {
    case MEMBER_ID: return kind == KIND_NUMBER && integer_of(text, &r->id) ? RC_OK : RC_INVALID;
    case MEMBER_KEY:
        if (kind != KIND_STRING)
            return kind == KIND_NULL ? RC_OK : RC_INVALID;
        r->key_n = (uint8_t)text.len;
        memcpy(r->key, text.p, text.len);
        return RC_OK;
    case MEMBER_MACHINE: r->machine = scan_digest(text); return RC_OK;
    case MEMBER_DISCO: r->disco = scan_digest(text); return RC_OK;
    case MEMBER_NAME: r->has_name = text.len > 0; return RC_OK;
    case MEMBER_STABLE_ID: r->has_stable_id = text.len > 0; return RC_OK;
    case MEMBER_USER: r->has_user = u32_of(text) != 0 || text.len > 9; return RC_OK;
    case MEMBER_AUTHORIZED: r->is_refused = kind == KIND_FALSE; return RC_OK;
    case MEMBER_ONLINE: r->online = kind == KIND_TRUE ? 2 : kind == KIND_FALSE ? 1 : 0; return RC_OK;
    case MEMBER_DERP: r->derp = u32_of(text); return RC_OK;
    default: return RC_OK;
    }
}

static void text_value(struct scan_record *r, uint8_t member, struct str text)
{
    uint32_t mark, digest = scan_digest(text);
    if (member == MEMBER_ADDRESSES && r->address_n < SCAN_ADDRESSES_MAX)
        r->addresses[r->address_n++] = digest;
    if (member == MEMBER_ALLOWED && r->allowed_n < SCAN_ALLOWED_MAX)
        r->allowed[r->allowed_n++] = digest;
    if (member != MEMBER_ENDPOINTS)
        return;
    r->endpoints += digest;
    r->endpoint_n = (uint16_t)(r->endpoint_n + (r->endpoint_n < UINT16_MAX));
    mark = endpoint_mark(text);
    if (mark != 0)
        r->endpoints_mark = mark;
}

static void host_value(struct scan_record *r, uint8_t member, struct str text)
{
    if (member == MEMBER_OS)
        r->hostinfo_os = scan_digest(text);
    if (member == MEMBER_OS_VERSION)
        r->hostinfo_mark = host_mark(text);
}

static enum rc list_value(struct scan_run *f, enum kind kind, struct str text)
{
    int64_t id;
    if (f->s->list != LIST_REMOVED || kind != KIND_NUMBER || !integer_of(text, &id))
        return RC_INVALID;
    f->s->counts.removed++;
    f->events->removed(f->ctx, id);
    return RC_OK;
}

enum rc scan_take_value(struct scan_run *f, enum kind kind)
{
    struct scan *s = f->s;
    struct str text = str_n(s->text, s->text_n);
    switch (s->where) {
    case WHERE_TOP: return top_value(s, kind);
    case WHERE_LIST: return list_value(f, kind, text);
    case WHERE_RECORD: return record_value(&s->record, s->member, kind, text);
    case WHERE_TEXTS:
        if (kind == KIND_STRING)
            text_value(&s->record, s->member, text);
        return RC_OK;
    case WHERE_HOSTINFO: host_value(&s->record, s->member, text); return RC_OK;
    case WHERE_START: return RC_INVALID; /* a map response is an object */
    default: return RC_OK;
    }
}

void scan_take_key(struct scan *s)
{
    struct str text = str_n(s->text, s->text_n);
    if (s->where == WHERE_TOP)
        s->field = field_of(text);
    else if (s->where == WHERE_RECORD)
        s->member = member_of(text);
    else if (s->where == WHERE_HOSTINFO)
        s->member = host_member_of(text);
}

static void begin_record(struct scan *s, uint8_t list)
{
    s->where = WHERE_RECORD;
    s->list = list;
    s->record_at = s->at;
    s->is_first = s->state == AT_FIRST_VALUE;
    s->record = (struct scan_record){0};
}

static void begin_skip(struct scan *s)
{
    s->skip_back = s->where;
    s->skip_depth = s->depth;
    s->where = WHERE_SKIP;
}

static enum rc open_in_top(struct scan *s, bool is_object)
{
    static const uint8_t lists[] = {[FIELD_PEERS] = LIST_PEERS,
                                    [FIELD_CHANGED] = LIST_CHANGED,
                                    [FIELD_PATCH] = LIST_PATCH,
                                    [FIELD_REMOVED] = LIST_REMOVED};
    switch (s->field) {
    case FIELD_KEEP_ALIVE: return RC_INVALID;
    case FIELD_NODE:
        if (is_object)
            begin_record(s, LIST_NODE);
        return is_object ? RC_OK : RC_INVALID;
    case FIELD_PEERS:
    case FIELD_CHANGED:
    case FIELD_PATCH:
    case FIELD_REMOVED:
        s->where = WHERE_LIST;
        s->list = lists[s->field];
        return is_object ? RC_INVALID : RC_OK;
    case FIELD_PING:
        s->counts.ping++;
        begin_skip(s);
        return RC_OK;
    default: begin_skip(s); return RC_OK;
    }
}

static enum rc open_in_record(struct scan *s, bool is_object)
{
    switch (s->member) {
    case MEMBER_ID:
    case MEMBER_KEY: return RC_INVALID;
    case MEMBER_ENDPOINTS:
    case MEMBER_ADDRESSES:
    case MEMBER_ALLOWED:
        if (is_object)
            break;
        s->where = WHERE_TEXTS;
        s->record.has_endpoints |= s->member == MEMBER_ENDPOINTS;
        return RC_OK;
    case MEMBER_HOSTINFO:
        if (!is_object)
            break;
        s->where = WHERE_HOSTINFO;
        s->record.has_hostinfo = true;
        return RC_OK;
    default: break;
    }
    begin_skip(s);
    return RC_OK;
}

enum rc scan_take_open(struct scan *s, bool is_object)
{
    switch (s->where) {
    case WHERE_START: s->where = WHERE_TOP; return is_object ? RC_OK : RC_INVALID;
    case WHERE_TOP: return open_in_top(s, is_object);
    case WHERE_LIST:
        if (!is_object || s->list == LIST_REMOVED)
            return RC_INVALID;
        begin_record(s, s->list);
        return RC_OK;
    case WHERE_RECORD: return open_in_record(s, is_object);
    case WHERE_TEXTS:
    case WHERE_HOSTINFO: begin_skip(s); return RC_OK;
    default: return RC_OK;
    }
}

static void end_record(struct scan_run *f)
{
    struct scan *s = f->s;
    s->where = s->list == LIST_NODE ? WHERE_TOP : WHERE_LIST;
    switch (s->list) {
    case LIST_NODE:
        s->counts.node++;
        f->events->self(f->ctx, &s->record);
        return;
    case LIST_PATCH:
        s->counts.patched++;
        f->events->patch(f->ctx, &s->record);
        return;
    default: break;
    }
    bool is_full = s->list == LIST_PEERS;
    s->counts.full += is_full;
    s->counts.changed += !is_full;
    s->counts.peer_bytes += s->at - s->record_at + 1;
    f->events->peer(f->ctx, &s->record, is_full && s->is_first);
}

void scan_take_close(struct scan_run *f)
{
    struct scan *s = f->s;
    switch (s->where) {
    case WHERE_SKIP:
        if (s->depth == s->skip_depth)
            s->where = s->skip_back;
        return;
    case WHERE_TEXTS: s->where = WHERE_RECORD; return;
    case WHERE_HOSTINFO: s->where = WHERE_RECORD; return;
    case WHERE_RECORD: end_record(f); return;
    case WHERE_LIST: s->where = WHERE_TOP; return;
    default: s->where = WHERE_START; return;
    }
}

/* --- what the scanner of tokens asks --- */

bool scan_wants_text(const struct scan *s)
{
    switch (s->where) {
    case WHERE_TOP: return s->is_key;
    case WHERE_TEXTS: return true;
    case WHERE_RECORD: return s->is_key || (s->member >= MEMBER_KEY && s->member <= MEMBER_STABLE_ID);
    case WHERE_HOSTINFO: return s->is_key || s->member != MEMBER_OTHER;
    default: return false;
    }
}
