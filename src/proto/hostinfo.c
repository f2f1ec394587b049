/* Hostinfo, which a node reports of itself, is parsed and written anew. One table lists every member that is kept, with
 * its type, its limit and whether peers get it: peers are official clients, which drop a whole network map that holds
 * one member of a wrong type. src: tailscale 1.80.3 and 1.102.5 tailcfg.Hostinfo, Location, TPMInfo, Service */
#include <math.h>

#include "base/buf.h"
#include "codec/json.h"
#include "codec/json_write.h"
#include "proto/tailcfg.h"

enum kind {
    TEXT,     /* limit: bytes; what is longer is cut */
    LINES,    /* limit: how many; each a line of printable ASCII that goes into files as it is */
    TEXTS,    /* limit: how many */
    TRUTH,    /* Go's bool */
    MAYBE,    /* Go's opt.Bool: the same on the wire, but "false" differs from an absent member */
    WHOLE,    /* limit: the largest number; not negative. Go's int has 32 bits on some clients */
    DEGREES,  /* limit: the largest, both ways */
    PREFIXES, /* limit: how many */
    SERVICES, /* limit: how many */
    GROUP,    /* an object with members of its own */
};

enum {
    SHORT_BYTES = 128,
    NAME_BYTES = 255,
    LINE_BYTES = 2048, /* of a host key: RSA with 8192 bits takes 1400 */
    LINES_BYTES = 8192,
    PEER_SERVICES = 8, /* there are three kinds */
    WHOLE_MAX = INT32_MAX,
};

struct member {
    const char *name;
    enum kind kind;
    uint32_t limit;
    bool is_shown; /* to peers; of a GROUP that is shown, all is */
    const struct member *members;
    size_t member_n;
};

static const struct member location[] = {
    {"Country", TEXT, SHORT_BYTES, true, NULL, 0}, {"CountryCode", TEXT, SHORT_BYTES, true, NULL, 0},
    {"City", TEXT, SHORT_BYTES, true, NULL, 0},    {"CityCode", TEXT, SHORT_BYTES, true, NULL, 0},
    {"Latitude", DEGREES, 90, true, NULL, 0},      {"Longitude", DEGREES, 180, true, NULL, 0},
    {"Priority", WHOLE, WHOLE_MAX, true, NULL, 0},
};

static const struct member tpm[] = {
    {"Manufacturer", TEXT, SHORT_BYTES, false, NULL, 0},
    {"Vendor", TEXT, SHORT_BYTES, false, NULL, 0},
    {"Model", WHOLE, WHOLE_MAX, false, NULL, 0},
    /* Go has 64 bits for it; peers never get it. */
    {"FirmwareVersion", WHOLE, 0, false, NULL, 0},
    {"SpecRevision", WHOLE, WHOLE_MAX, false, NULL, 0},
    {"FamilyIndicator", TEXT, SHORT_BYTES, false, NULL, 0},
};

/* Peers get what they need to reach and show the node, nothing that identifies its owner's installation or changes by
 * itself. NetInfo is not here: it has a life of its own. */
static const struct member hostinfo[] = {
    {"IPNVersion", TEXT, SHORT_BYTES, false, NULL, 0},
    {"FrontendLogID", TEXT, SHORT_BYTES, false, NULL, 0},
    {"BackendLogID", TEXT, SHORT_BYTES, false, NULL, 0},
    {"OS", TEXT, SHORT_BYTES, true, NULL, 0},
    {"OSVersion", TEXT, NAME_BYTES, true, NULL, 0},
    {"Container", MAYBE, 0, false, NULL, 0},
    {"Env", TEXT, SHORT_BYTES, false, NULL, 0},
    {"Distro", TEXT, SHORT_BYTES, false, NULL, 0},
    {"DistroVersion", TEXT, SHORT_BYTES, false, NULL, 0},
    {"DistroCodeName", TEXT, SHORT_BYTES, false, NULL, 0},
    {"App", TEXT, NAME_BYTES, true, NULL, 0},
    {"Desktop", MAYBE, 0, false, NULL, 0},
    {"Package", TEXT, SHORT_BYTES, false, NULL, 0},
    {"DeviceModel", TEXT, NAME_BYTES, false, NULL, 0},
    {"PushDeviceToken", TEXT, 1024, false, NULL, 0},
    {"Hostname", TEXT, NAME_BYTES, true, NULL, 0},
    {"ShieldsUp", TRUTH, 0, true, NULL, 0},
    {"ShareeNode", TRUTH, 0, false, NULL, 0},
    {"NoLogsNoSupport", TRUTH, 0, false, NULL, 0},
    {"RemoteConfig", TRUTH, 0, false, NULL, 0},
    {"WireIngress", TRUTH, 0, true, NULL, 0},
    {"IngressEnabled", TRUTH, 0, true, NULL, 0},
    {"AllowsUpdate", TRUTH, 0, false, NULL, 0},
    {"Machine", TEXT, SHORT_BYTES, false, NULL, 0},
    {"GoArch", TEXT, SHORT_BYTES, false, NULL, 0},
    {"GoArchVar", TEXT, SHORT_BYTES, false, NULL, 0},
    {"GoVersion", TEXT, SHORT_BYTES, false, NULL, 0},
    {"RoutableIPs", PREFIXES, TAILCFG_ROUTES_MAX, false, NULL, 0},
    {"RequestTags", TEXTS, TAILCFG_TAGS_MAX, false, NULL, 0},
    {"WoLMACs", TEXTS, 32, false, NULL, 0},
    {"Services", SERVICES, 256, true, NULL, 0},
    {"sshHostKeys", LINES, 16, true, NULL, 0},
    {"Cloud", TEXT, SHORT_BYTES, false, NULL, 0},
    {"Userspace", MAYBE, 0, false, NULL, 0},
    {"UserspaceRouter", MAYBE, 0, false, NULL, 0},
    {"AppConnector", MAYBE, 0, true, NULL, 0},
    {"ServicesHash", TEXT, NAME_BYTES, false, NULL, 0},
    {"PeerRelay", TRUTH, 0, true, NULL, 0},
    {"ExitNodeID", TEXT, SHORT_BYTES, false, NULL, 0},
    {"Location", GROUP, 0, true, location, ARRAY_LEN(location)},
    {"TPM", GROUP, 0, false, tpm, ARRAY_LEN(tpm)},
    {"StateEncrypted", MAYBE, 0, false, NULL, 0},
};

/* --- text --- */

/* The length of the character at `p` when it would move, hide or reorder what is printed after it, or 0: control
 * characters, line and paragraph separators, marks and overrides of direction. */
static size_t mischief_at(const uint8_t *p, size_t n)
{
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    if (n >= 2 && ((p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) || (p[0] == 0xd8 && p[1] == 0x9c)))
        return 2;
    if (n < 3 || p[0] != 0xe2)
        return 0;
    bool is_mark = p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae));
    bool is_isolate = p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9;
    return is_mark || is_isolate ? 3 : 0;
}

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    }
    return true;
}

/* The cut is not in the middle of a character. */
static size_t cut_at(struct str s, size_t max)
{
    if (s.len <= max)
        return s.len;
    while (max > 0 && ((uint8_t)s.p[max] & 0xc0) == 0x80)
        max--;
    return max;
}

struct str hostinfo_text(struct arena *a, struct str s, size_t max_bytes)
{
    s.len = cut_at(s, max_bytes);
    if (is_plain(s))
        return s;
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        size_t bad = mischief_at((const uint8_t *)s.p + i, s.len - i);
        out[n++] = bad > 0 ? '?' : s.p[i];
        i += bad > 0 ? bad : 1;
    }
    return str_n(out, n);
}

/* --- members --- */

/* A Hostinfo on its way to one audience. */
struct rewriting {
    struct json_writer w;
    struct arena arena; /* of cleaned texts */
    bool for_peers;
    const char *bad; /* the first member that had to be left out; null: none */
};

static bool read_whole(const struct json *v, uint64_t limit, uint64_t *out)
{
    return json_u64(v, out) && (limit == 0 || *out <= limit);
}

static bool write_text(struct rewriting *r, const struct member *m, const struct json *v)
{
    struct str text;
    if (!json_str(v, &text))
        return false;
    if (text.len > 0 || !r->for_peers)
        json_w_kv_str(&r->w, m->name, hostinfo_text(&r->arena, text, m->limit));
    return true;
}

static bool write_truth(struct rewriting *r, const struct member *m, const struct json *v)
{
    bool truth;
    if (!json_bool(v, &truth))
        return false;
    if (truth || !r->for_peers)
        json_w_kv_bool(&r->w, m->name, truth);
    return true;
}

static bool write_whole(struct rewriting *r, const struct member *m, const struct json *v)
{
    uint64_t n;
    if (!read_whole(v, m->limit, &n))
        return false;
    if (n != 0)
        json_w_kv_u64(&r->w, m->name, n);
    return true;
}

static bool write_degrees(struct rewriting *r, const struct member *m, const struct json *v)
{
    double d;
    if (!json_f64(v, &d) || !(fabs(d) <= m->limit))
        return false;
    json_w_key(&r->w, m->name);
    json_w_f64(&r->w, d);
    return true;
}

/* Opens the array with its first element. */
static void open_list(struct rewriting *r, const struct member *m, size_t *n)
{
    if ((*n)++ > 0)
        return;
    json_w_key(&r->w, m->name);
    json_w_array(&r->w);
}

static bool write_line(struct rewriting *r, const struct member *m, const struct json *v, size_t *n, size_t *room)
{
    struct str text;
    if (!json_str(v, &text) || text.len == 0 || text.len > LINE_BYTES || text.len > *room || !is_plain(text))
        return false;
    *room -= text.len;
    open_list(r, m, n);
    json_w_str(&r->w, text);
    return true;
}

static bool write_item(struct rewriting *r, const struct member *m, const struct json *v, size_t *n)
{
    struct str text;
    if (!json_str(v, &text))
        return false;
    open_list(r, m, n);
    json_w_str(&r->w, hostinfo_text(&r->arena, text, NAME_BYTES));
    return true;
}

static bool write_prefix(struct rewriting *r, const struct member *m, const struct json *v, size_t *n)
{
    struct str text;
    struct prefix p;
    char out[PREFIX_TEXT_CAP];
    if (!json_str(v, &text) || prefix_parse(text, &p, NULL) != RC_OK)
        return false;
    prefix_format(&p, out);
    open_list(r, m, n);
    json_w_cstr(&r->w, out);
    return true;
}

/* Peers use only the meta services (peer API); the list of a machine's open ports is not for peers. */
static bool write_service(struct rewriting *r, const struct member *m, const struct json *v, size_t *n)
{
    struct str proto = STR_EMPTY, description = STR_EMPTY;
    uint64_t port = 0;
    const struct json *text = json_get(v, "Description"), *number = json_get(v, "Port");
    if (!json_str(json_get(v, "Proto"), &proto) || (!json_is_null(text) && !json_str(text, &description)) ||
        (!json_is_null(number) && !read_whole(number, UINT16_MAX, &port)))
        return false;
    if (r->for_peers && (!str_starts(proto, STR("peerapi")) || *n >= PEER_SERVICES))
        return true;
    open_list(r, m, n);
    json_w_object(&r->w);
    json_w_kv_str(&r->w, "Proto", hostinfo_text(&r->arena, proto, SHORT_BYTES));
    json_w_kv_u64(&r->w, "Port", port);
    if (description.len > 0)
        json_w_kv_str(&r->w, "Description", hostinfo_text(&r->arena, description, SHORT_BYTES));
    json_w_end_object(&r->w);
    return true;
}

/* What is wrong in a list is left out of it, and what is beyond its limit. */
static bool write_list(struct rewriting *r, const struct member *m, const struct json *v)
{
    size_t n = 0, seen = 0, room = LINES_BYTES;
    if (json_type_of(v) != JSON_ARRAY)
        return false;
    bool is_good = true;
    JSON_EACH (item, v) {
        if (seen++ == m->limit)
            break;
        bool is_fit = m->kind == LINES      ? write_line(r, m, item, &n, &room)
                      : m->kind == TEXTS    ? write_item(r, m, item, &n)
                      : m->kind == PREFIXES ? write_prefix(r, m, item, &n)
                                            : write_service(r, m, item, &n);
        is_good = is_good && is_fit;
    }
    if (n > 0)
        json_w_end_array(&r->w);
    return is_good;
}

static bool write_scalar(struct rewriting *r, const struct member *m, const struct json *v)
{
    switch (m->kind) {
    case TEXT: return write_text(r, m, v);
    case TRUTH:
    case MAYBE: return write_truth(r, m, v);
    case WHOLE: return write_whole(r, m, v);
    case DEGREES: return write_degrees(r, m, v);
    case LINES:
    case TEXTS:
    case PREFIXES:
    case SERVICES: return write_list(r, m, v);
    case GROUP: break;
    }
    return false;
}

static void note(struct rewriting *r, const struct member *m)
{
    if (r->bad == NULL)
        r->bad = m->name;
}

static void write_group(struct rewriting *r, const struct member *m, const struct json *v)
{
    if (json_type_of(v) != JSON_OBJECT) {
        note(r, m);
        return;
    }
    json_w_key(&r->w, m->name);
    json_w_object(&r->w);
    for (size_t i = 0; i < m->member_n; i++) {
        const struct json *part = json_get(v, m->members[i].name);
        if (!json_is_null(part) && !write_scalar(r, &m->members[i], part))
            note(r, &m->members[i]);
    }
    json_w_end_object(&r->w);
}

static void write_members(struct rewriting *r, const struct json *from)
{
    for (size_t i = 0; i < ARRAY_LEN(hostinfo); i++) {
        const struct member *m = &hostinfo[i];
        const struct json *v = r->for_peers && !m->is_shown ? NULL : json_get(from, m->name);
        if (json_is_null(v))
            continue;
        if (m->kind == GROUP)
            write_group(r, m, v);
        else if (!write_scalar(r, m, v))
            note(r, m);
    }
}

static struct rcbuf *rewrite(struct rewriting *r, const struct hostinfo *h, size_t max_bytes)
{
    struct buf out = {0};
    if (!h->is_present || json_raw(h->json).len > TAILCFG_HOSTINFO_MAX_BYTES)
        return NULL;
    json_w_init(&r->w, &out);
    json_w_object(&r->w);
    write_members(r, h->json);
    json_w_end_object(&r->w);
    bool is_fit = buf_len(&out) <= max_bytes && (buf_len(&out) > 2 || !r->for_peers);
    struct rcbuf *made = is_fit ? rcbuf_create(buf_at(&out), buf_len(&out)) : NULL;
    buf_fini(&out);
    arena_fini(&r->arena);
    return made;
}

struct rcbuf *hostinfo_for_store(const struct hostinfo *h, const char **bad_out)
{
    struct rewriting r = {.bad = h->bad};
    struct rcbuf *made = rewrite(&r, h, TAILCFG_HOSTINFO_MAX_BYTES);
    if (bad_out != NULL)
        *bad_out = r.bad != NULL ? r.bad : h->is_present && made == NULL ? "its size" : NULL;
    return made;
}

struct rcbuf *hostinfo_for_peers(const struct hostinfo *h)
{
    struct rewriting r = {.for_peers = true};
    return rewrite(&r, h, TAILCFG_HOSTINFO_PEERS_MAX_BYTES);
}

enum rc hostinfo_read(struct arena *a, struct str text, struct hostinfo *out)
{
    const struct json *root;
    *out = (struct hostinfo){0};
    TRY(json_parse(a, text, NULL, &root, NULL));
    if (json_type_of(root) != JSON_OBJECT)
        return RC_INVALID;
    out->is_present = true;
    out->json = root;
    return RC_OK;
}
