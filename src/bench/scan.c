#include "bench/scan.h"

#include <string.h>

#include "base/fits.h"

enum state { /* of the tokens; the first ones are between tokens */
             AT_VALUE,
             AT_FIRST_VALUE, /* or the end of the array */
             AT_FIRST_KEY,   /* or the end of the object */
             AT_KEY,
             AT_COLON,
             AT_NEXT, /* comma or end */
             AT_END,
             IN_STRING,
             IN_ESCAPE,
             IN_HEX_1,
             IN_HEX_2,
             IN_HEX_3,
             IN_HEX_4,
             IN_LITERAL,
             IN_MINUS,
             IN_ZERO,
             IN_DIGITS,
             IN_DOT,
             IN_FRACTION,
             IN_E,
             IN_E_SIGN,
             IN_EXPONENT,
};

enum where { WHERE_START, WHERE_TOP, WHERE_LIST, WHERE_RECORD, WHERE_TEXTS, WHERE_HOSTINFO, WHERE_SKIP };

enum list { LIST_NODE, LIST_PEERS, LIST_CHANGED, LIST_PATCH, LIST_REMOVED };

enum field {
    FIELD_OTHER,
    FIELD_KEEP_ALIVE,
    FIELD_PING,
    FIELD_NODE,
    FIELD_PEERS,
    FIELD_CHANGED,
    FIELD_PATCH,
    FIELD_REMOVED
};

enum member {
    MEMBER_OTHER,
    MEMBER_ID,
    MEMBER_KEY,
    MEMBER_MACHINE,
    MEMBER_DISCO,
    MEMBER_NAME,
    MEMBER_STABLE_ID,
    MEMBER_USER,
    MEMBER_AUTHORIZED,
    MEMBER_ONLINE,
    MEMBER_DERP,
    MEMBER_ENDPOINTS,
    MEMBER_ADDRESSES,
    MEMBER_ALLOWED,
    MEMBER_HOSTINFO,
    MEMBER_OS,
    MEMBER_OS_VERSION,
};

enum kind { KIND_STRING, KIND_NUMBER, KIND_TRUE, KIND_FALSE, KIND_NULL };

enum { DEPTH_MAX = 63 };

struct name {
    struct str text;
    uint8_t value;
};

/* A scan with its events: what the functions below pass on. */
struct feed {
    struct scan *s;
    const struct scan_events *events;
    void *ctx;
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

static enum rc list_value(struct feed *f, enum kind kind, struct str text)
{
    int64_t id;
    if (f->s->list != LIST_REMOVED || kind != KIND_NUMBER || !integer_of(text, &id))
        return RC_INVALID;
    f->s->counts.removed++;
    f->events->removed(f->ctx, id);
    return RC_OK;
}

static enum rc take_value(struct feed *f, enum kind kind)
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

static void take_key(struct scan *s)
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

/* The container is not counted in s->depth yet. */
static enum rc take_open(struct scan *s, bool is_object)
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

static void end_record(struct feed *f)
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

/* The container is not counted in s->depth any more. */
static void take_close(struct feed *f)
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

/* --- tokens --- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void end_value(struct scan *s)
{
    s->state = s->depth == 0 ? AT_END : AT_NEXT;
}

static enum rc open_container(struct scan *s, bool is_object)
{
    if (s->depth >= DEPTH_MAX)
        return RC_TOO_DEEP;
    TRY(take_open(s, is_object));
    s->depth++;
    s->objects = (s->objects & ~(UINT64_C(1) << s->depth)) | (uint64_t)is_object << s->depth;
    s->state = is_object ? AT_FIRST_KEY : AT_FIRST_VALUE;
    return RC_OK;
}

static bool is_in_object(const struct scan *s)
{
    return (s->objects >> s->depth & 1) != 0;
}

static enum rc close_container(struct feed *f, uint8_t c)
{
    struct scan *s = f->s;
    if (s->depth == 0 || is_in_object(s) != (c == '}'))
        return RC_INVALID;
    s->depth--;
    take_close(f);
    end_value(s);
    return RC_OK;
}

static bool wants_string(const struct scan *s)
{
    switch (s->where) {
    case WHERE_TOP: return s->is_key;
    case WHERE_TEXTS: return true;
    case WHERE_RECORD: return s->is_key || (s->member >= MEMBER_KEY && s->member <= MEMBER_STABLE_ID);
    case WHERE_HOSTINFO: return s->is_key || s->member != MEMBER_OTHER;
    default: return false;
    }
}

static void begin_string(struct scan *s, bool is_key)
{
    s->state = IN_STRING;
    s->is_key = is_key;
    s->wants_text = wants_string(s);
    s->text_n = 0;
}

static void keep_text(struct scan *s, const uint8_t *p, size_t n)
{
    size_t room = room_under(s->text_n, SCAN_TEXT_MAX);
    if (!s->wants_text)
        return;
    memcpy(s->text + s->text_n, p, n < room ? n : room);
    s->text_n = (uint8_t)(s->text_n + (n < room ? n : room));
}

static enum rc begin_scalar(struct scan *s, uint8_t c)
{
    static const char literals[] = "tfn";
    const char *at = c != '\0' ? strchr(literals, c) : NULL;
    s->text_n = 0;
    if (at != NULL) {
        s->state = IN_LITERAL;
        s->literal = (uint8_t)(at - literals);
        s->literal_at = 1;
        return RC_OK;
    }
    if (c != '-' && (c < '0' || c > '9'))
        return RC_INVALID;
    s->wants_text = s->where == WHERE_LIST || s->where == WHERE_RECORD;
    keep_text(s, &c, 1);
    s->state = c == '-' ? IN_MINUS : c == '0' ? IN_ZERO : IN_DIGITS;
    return RC_OK;
}

static enum rc begin_value(struct scan *s, uint8_t c)
{
    switch (c) {
    case '{': return open_container(s, true);
    case '[': return open_container(s, false);
    case '"': begin_string(s, false); return RC_OK;
    default: return begin_scalar(s, c);
    }
}

/* A byte between tokens. */
static enum rc step_between(struct feed *f, uint8_t c)
{
    struct scan *s = f->s;
    if (is_space(c))
        return RC_OK;
    switch (s->state) {
    case AT_FIRST_VALUE:
        if (c == ']')
            return close_container(f, c);
        return begin_value(s, c);
    case AT_VALUE: return begin_value(s, c);
    case AT_FIRST_KEY:
        if (c == '}')
            return close_container(f, c);
        break;
    case AT_COLON: s->state = AT_VALUE; return c == ':' ? RC_OK : RC_INVALID;
    case AT_NEXT:
        if (c != ',')
            return c == '}' || c == ']' ? close_container(f, c) : RC_INVALID;
        s->state = is_in_object(s) ? AT_KEY : AT_VALUE;
        return RC_OK;
    case AT_END: return RC_INVALID;
    default: break;
    }
    begin_string(s, true); /* AT_FIRST_KEY, AT_KEY */
    return c == '"' ? RC_OK : RC_INVALID;
}

static enum rc end_string(struct feed *f)
{
    struct scan *s = f->s;
    if (s->is_key) {
        take_key(s);
        s->state = AT_COLON;
        return RC_OK;
    }
    end_value(s);
    return take_value(f, KIND_STRING);
}

/* Returns how many of the `n` >= 1 bytes are of the string. */
static size_t step_string(struct feed *f, const uint8_t *p, size_t n, enum rc *rc)
{
    struct scan *s = f->s;
    size_t i = 0;
    while (i < n && p[i] != '"' && p[i] != '\\' && p[i] >= 0x20)
        i++;
    keep_text(s, p, i);
    if (i == n)
        return i;
    if (p[i] == '"')
        *rc = end_string(f);
    else if (p[i] == '\\')
        s->state = IN_ESCAPE;
    else
        *rc = RC_INVALID;
    return i + 1;
}

static enum rc step_escape(struct scan *s, uint8_t c)
{
    static const char simple[] = "\"\\/bfnrt";
    const uint8_t text[2] = {'\\', c};
    keep_text(s, text, sizeof(text));
    if (c == 'u') {
        s->state = IN_HEX_1;
        return RC_OK;
    }
    s->state = IN_STRING;
    return c != '\0' && strchr(simple, c) != NULL ? RC_OK : RC_INVALID;
}

static enum rc step_hex(struct scan *s, uint8_t c)
{
    bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    keep_text(s, &c, 1);
    s->state = s->state == IN_HEX_4 ? IN_STRING : (uint8_t)(s->state + 1);
    return is_hex ? RC_OK : RC_INVALID;
}

static enum rc step_literal(struct feed *f, uint8_t c)
{
    static const char *const texts[] = {"true", "false", "null"};
    static const enum kind kinds[] = {KIND_TRUE, KIND_FALSE, KIND_NULL};
    struct scan *s = f->s;
    const char *text = texts[s->literal];
    if (c != (uint8_t)text[s->literal_at++])
        return RC_INVALID;
    if (text[s->literal_at] != '\0')
        return RC_OK;
    end_value(s);
    return take_value(f, kinds[s->literal]);
}

/* The state after `c` in a number; AT_END: `c` is not of the number; IN_STRING: there is none. */
static uint8_t number_after(uint8_t state, uint8_t c)
{
    bool is_digit = c >= '0' && c <= '9', is_e = c == 'e' || c == 'E';
    switch (state) {
    case IN_MINUS: return c == '0' ? IN_ZERO : is_digit ? IN_DIGITS : IN_STRING;
    case IN_ZERO: return c == '.' ? IN_DOT : is_e ? IN_E : is_digit ? IN_STRING : AT_END;
    case IN_DIGITS: return is_digit ? IN_DIGITS : c == '.' ? IN_DOT : is_e ? IN_E : AT_END;
    case IN_DOT: return is_digit ? IN_FRACTION : IN_STRING;
    case IN_FRACTION: return is_digit ? IN_FRACTION : is_e ? IN_E : AT_END;
    case IN_E: return is_digit ? IN_EXPONENT : c == '+' || c == '-' ? IN_E_SIGN : IN_STRING;
    case IN_E_SIGN: return is_digit ? IN_EXPONENT : IN_STRING;
    default: return is_digit ? IN_EXPONENT : AT_END;
    }
}

/* Returns whether `c` was of the number: 1, 0. */
static size_t step_number(struct feed *f, uint8_t c, enum rc *rc)
{
    struct scan *s = f->s;
    uint8_t next = number_after(s->state, c);
    if (next == IN_STRING) {
        *rc = RC_INVALID;
        return 1;
    }
    if (next == AT_END) {
        end_value(s);
        *rc = take_value(f, KIND_NUMBER);
        return 0;
    }
    keep_text(s, &c, 1);
    s->state = next;
    return 1;
}

/* Takes at least one byte, or ends a number before `*p`. */
static size_t step(struct feed *f, const uint8_t *p, size_t n, enum rc *rc)
{
    struct scan *s = f->s;
    if (s->state == IN_STRING)
        return step_string(f, p, n, rc);
    if (s->state >= IN_MINUS)
        return step_number(f, *p, rc);
    if (s->state <= AT_END)
        *rc = step_between(f, *p);
    else if (s->state == IN_ESCAPE)
        *rc = step_escape(s, *p);
    else if (s->state == IN_LITERAL)
        *rc = step_literal(f, *p);
    else
        *rc = step_hex(s, *p);
    return 1;
}

/* --- calls --- */

enum rc scan_feed(struct scan *s, const void *bytes, size_t n, const struct scan_events *events, void *ctx)
{
    struct feed f = {s, events, ctx};
    const uint8_t *p = bytes;
    enum rc rc = RC_OK;
    uint64_t start = s->at;
    for (size_t i = 0; i < n && rc == RC_OK;) {
        s->at = start + i;
        i += step(&f, p + i, n - i, &rc);
    }
    s->at = start + n;
    return rc;
}

bool scan_is_done(const struct scan *s)
{
    return s->state == AT_END;
}

/* Bits 0-3 tokens, 4-7 where, 8-11 list, 12-15 field: whatever does not matter there is 0. */
bool scan_mark(const struct scan *s, uint32_t *mark_out)
{
    if (s->state > AT_END || s->where > WHERE_LIST)
        return false;
    uint32_t list = s->where == WHERE_LIST ? s->list : 0;
    uint32_t field = s->where == WHERE_TOP && (s->state == AT_COLON || s->state == AT_VALUE) ? s->field : 0;
    *mark_out = s->state | (uint32_t)s->where << 4 | list << 8 | field << 12;
    return true;
}

void scan_restart(struct scan *s, uint32_t mark)
{
    s->state = mark & 15;
    s->where = mark >> 4 & 15;
    s->list = mark >> 8 & 15;
    s->field = mark >> 12 & 15;
    s->depth = s->where; /* WHERE_START 0, WHERE_TOP 1, WHERE_LIST 2 */
    s->objects = 2;
    s->at = 0;
}
