/* Converts rows to statements and back. The columns of each table are listed once; insert and select have the same
 * order, so that the number of a column is also that of its parameter: the tailnet is column 0 of a select and a
 * literal in an insert. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/sqlite_internal.h"

/* clang-format off */
#define USER_COLUMNS(X) X(id) X(name) X(display_name) X(email) X(picture_url) X(created_ms) X(role)

#define AUTH_KEY_COLUMNS(X)                                                                                            \
    X(id) X(user_id) X(hash) X(prefix) X(is_reusable) X(is_ephemeral) X(is_used) X(created_ms) X(expires_ms) X(tags)  \
    X(max_nodes) X(joined_n) X(sources)

#define RELAY_COLUMNS(X)                                                                                               \
    X(id) X(name) X(hash) X(prefix) X(region_id) X(region_code) X(region_name) X(created_ms) X(last_seen_ms) X(is_up)  \
    X(host_name) X(cert_name) X(ipv4) X(ipv6) X(derp_port) X(stun_port)

#define POLICY_TEXT_COLUMNS(X) X(id) X(created_ms) X(author) X(note) X(text)

#define NODE_COLUMNS(X)                                                                                                \
    X(id) X(stable_id) X(user_id) X(machine_key) X(node_key) X(disco_key) X(nl_key) X(ipv4) X(ipv6) X(name)            \
    X(hostname) X(is_renamed) X(is_ephemeral) X(is_expired) X(cap_version) X(home_derp) X(auth_key) X(created_ms)      \
    X(expires_ms) X(last_seen_ms) X(tags) X(hostinfo) X(hostinfo_peers) X(endpoints) X(advertised)       \
    X(approved)
/* clang-format on */

#define COLUMN_NAME(column) ", " #column
#define COLUMN_MARK(column) ", ?"
#define INSERT(table, COLUMNS)                                                                                         \
    "INSERT INTO " table " (tailnet" COLUMNS(COLUMN_NAME) ") VALUES (1" COLUMNS(COLUMN_MARK) ")"
#define SELECT(table, COLUMNS) "SELECT tailnet" COLUMNS(COLUMN_NAME) " FROM " table " WHERE tailnet = 1 ORDER BY id"

/* Stores the row as the statement that puts it back. ?1 its id, ?2 why, ?3 when. */
#define COLUMN_QUOTE(column) " || ', ' || quote(" #column ")"
#define SET_ASIDE(table, COLUMNS)                                                                                      \
    "INSERT INTO set_aside (tailnet, table_name, row_id, why, at_ms, statement) SELECT 1, '" table                     \
    "', id, ?2, ?3, 'INSERT INTO " table                                                                               \
    " (tailnet" COLUMNS(COLUMN_NAME) ") VALUES (1'" COLUMNS(COLUMN_QUOTE) " || ');' FROM " table " WHERE id = ?1"

const char store_user_set_aside_sql[] = SET_ASIDE("users", USER_COLUMNS);
const char store_auth_key_set_aside_sql[] = SET_ASIDE("auth_keys", AUTH_KEY_COLUMNS);
const char store_relay_set_aside_sql[] = SET_ASIDE("relays", RELAY_COLUMNS);
const char store_policy_text_set_aside_sql[] = SET_ASIDE("policy_texts", POLICY_TEXT_COLUMNS);
const char store_node_set_aside_sql[] = SET_ASIDE("nodes", NODE_COLUMNS);

const char store_user_insert_sql[] = INSERT("users", USER_COLUMNS);
const char store_user_select_sql[] = SELECT("users", USER_COLUMNS);
const char store_auth_key_insert_sql[] = INSERT("auth_keys", AUTH_KEY_COLUMNS);
const char store_auth_key_select_sql[] = SELECT("auth_keys", AUTH_KEY_COLUMNS);
const char store_relay_insert_sql[] = INSERT("relays", RELAY_COLUMNS);
const char store_relay_select_sql[] = SELECT("relays", RELAY_COLUMNS);
const char store_policy_text_insert_sql[] = INSERT("policy_texts", POLICY_TEXT_COLUMNS);
const char store_policy_text_select_sql[] = SELECT("policy_texts", POLICY_TEXT_COLUMNS);
const char store_node_insert_sql[] = INSERT("nodes", NODE_COLUMNS);
const char store_node_select_sql[] = SELECT("nodes", NODE_COLUMNS);

enum {
    USER_tailnet,
#define X(column) USER_##column,
    USER_COLUMNS(X)
#undef X
};

enum {
    KEY_tailnet,
#define X(column) KEY_##column,
    AUTH_KEY_COLUMNS(X)
#undef X
};

enum {
    RELAY_tailnet,
#define X(column) RELAY_##column,
    RELAY_COLUMNS(X)
#undef X
};

enum {
    POLICY_TEXT_tailnet,
#define X(column) POLICY_TEXT_##column,
    POLICY_TEXT_COLUMNS(X)
#undef X
};

enum {
    NODE_tailnet,
#define X(column) NODE_##column,
    NODE_COLUMNS(X)
#undef X
};

/* --- writing: after a failure the rest does nothing --- */

struct row_writer {
    sqlite3_stmt *stmt;
    bool failed;
};

static void check(struct row_writer *w, int code)
{
    if (code != SQLITE_OK)
        w->failed = true;
}

static void put_int(struct row_writer *w, int column, int64_t v)
{
    check(w, sqlite3_bind_int64(w->stmt, column, v));
}

/* 0 is "none" in memory, and NULL on disk. */
static void put_int_or_null(struct row_writer *w, int column, int64_t v)
{
    check(w, v != 0 ? sqlite3_bind_int64(w->stmt, column, v) : sqlite3_bind_null(w->stmt, column));
}

static void put_text(struct row_writer *w, int column, const char *text)
{
    check(w, sqlite3_bind_text(w->stmt, column, text, -1, SQLITE_STATIC));
}

static void put_bytes(struct row_writer *w, int column, const uint8_t *bytes, int n)
{
    check(w, sqlite3_bind_blob(w->stmt, column, bytes, n, SQLITE_STATIC));
}

static void put_key_or_null(struct row_writer *w, int column, const uint8_t key[KEY_BYTES])
{
    if (key_is_zero(key))
        check(w, sqlite3_bind_null(w->stmt, column));
    else
        put_bytes(w, column, key, KEY_BYTES);
}

static void put_json(struct row_writer *w, int column, const struct rcbuf *json)
{
    if (json == NULL)
        check(w, sqlite3_bind_null(w->stmt, column));
    else
        check(w, sqlite3_bind_text64(w->stmt, column, (const char *)json->data, json->len, SQLITE_STATIC, SQLITE_UTF8));
}

static void put_ip(struct row_writer *w, int column, const struct addr *a)
{
    char text[ADDR_TEXT_CAP];
    addr_format(a, false, text);
    check(w, a->family != 0 ? sqlite3_bind_text(w->stmt, column, text, -1, SQLITE_TRANSIENT)
                            : sqlite3_bind_null(w->stmt, column));
}

/* "192.0.2.1:41641 [2001:db8::1]:41641" */
static void put_endpoints(struct row_writer *w, int column, const struct addr *endpoints, unsigned n)
{
    struct buf text = {0};
    for (unsigned i = 0; i < n; i++) {
        char one[ADDR_TEXT_CAP];
        addr_format(&endpoints[i], true, one);
        buf_printf(&text, "%s%s", i > 0 ? " " : "", one);
    }
    struct str all = buf_str(&text);
    check(w, sqlite3_bind_text(w->stmt, column, all.p, (int)all.len, SQLITE_TRANSIENT));
    buf_fini(&text);
}

/* "10.0.0.0/8 fd00::/8" */
static void put_prefixes(struct row_writer *w, int column, const struct prefix_list *l)
{
    struct buf text = {0};
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        char one[PREFIX_TEXT_CAP];
        prefix_format(&l->v[i], one);
        buf_printf(&text, "%s%s", i > 0 ? " " : "", one);
    }
    struct str all = buf_str(&text);
    check(w, l != NULL ? sqlite3_bind_text(w->stmt, column, all.p, (int)all.len, SQLITE_TRANSIENT)
                       : sqlite3_bind_null(w->stmt, column));
    buf_fini(&text);
}

bool store_user_bind(sqlite3_stmt *stmt, const struct user *u)
{
    struct row_writer w = {stmt, false};
    put_int(&w, USER_id, (int64_t)u->id);
    put_text(&w, USER_name, u->name);
    put_text(&w, USER_display_name, u->display_name);
    put_text(&w, USER_email, u->email);
    put_text(&w, USER_picture_url, u->picture_url);
    put_int(&w, USER_created_ms, u->created_ms);
    put_int(&w, USER_role, u->role);
    return !w.failed;
}

bool store_auth_key_bind(sqlite3_stmt *stmt, const struct auth_key *k)
{
    struct row_writer w = {stmt, false};
    put_int(&w, KEY_id, (int64_t)k->id);
    put_int_or_null(&w, KEY_user_id, (int64_t)k->user);
    put_bytes(&w, KEY_hash, k->hash, KEY_HASH_BYTES);
    put_text(&w, KEY_prefix, k->prefix);
    put_int(&w, KEY_is_reusable, k->is_reusable);
    put_int(&w, KEY_is_ephemeral, k->is_ephemeral);
    put_int(&w, KEY_is_used, k->is_used);
    put_int(&w, KEY_created_ms, k->created_ms);
    put_int_or_null(&w, KEY_expires_ms, k->expires_ms);
    put_json(&w, KEY_tags, k->tags);
    put_int(&w, KEY_max_nodes, k->max_nodes);
    put_int(&w, KEY_joined_n, k->joined_n);
    put_prefixes(&w, KEY_sources, k->sources);
    return !w.failed;
}

bool store_relay_bind(sqlite3_stmt *stmt, const struct relay_host *r)
{
    struct row_writer w = {stmt, false};
    put_int(&w, RELAY_id, (int64_t)r->id);
    put_text(&w, RELAY_name, r->name);
    put_bytes(&w, RELAY_hash, r->hash, KEY_HASH_BYTES);
    put_text(&w, RELAY_prefix, r->prefix);
    put_int(&w, RELAY_region_id, r->region_id);
    put_text(&w, RELAY_region_code, r->region_code);
    put_text(&w, RELAY_region_name, r->region_name);
    put_int(&w, RELAY_created_ms, r->created_ms);
    put_int_or_null(&w, RELAY_last_seen_ms, r->last_seen_ms);
    put_int(&w, RELAY_is_up, r->is_up);
    put_text(&w, RELAY_host_name, r->report.host_name);
    put_text(&w, RELAY_cert_name, r->report.cert_name);
    put_ip(&w, RELAY_ipv4, &r->report.ipv4);
    put_ip(&w, RELAY_ipv6, &r->report.ipv6);
    put_int(&w, RELAY_derp_port, r->report.derp_port);
    put_int_or_null(&w, RELAY_stun_port, r->report.stun_port);
    return !w.failed;
}

bool store_policy_text_bind(sqlite3_stmt *stmt, const struct policy_text *t)
{
    struct row_writer w = {stmt, false};
    put_int(&w, POLICY_TEXT_id, (int64_t)t->id);
    put_int(&w, POLICY_TEXT_created_ms, t->created_ms);
    put_text(&w, POLICY_TEXT_author, t->author);
    put_text(&w, POLICY_TEXT_note, t->note);
    put_bytes(&w, POLICY_TEXT_text, t->text->data, (int)t->text->len);
    return !w.failed;
}

bool store_node_bind(sqlite3_stmt *stmt, const struct node *n)
{
    struct row_writer w = {stmt, false};
    put_int(&w, NODE_id, (int64_t)n->id);
    put_text(&w, NODE_stable_id, n->stable_id);
    put_int_or_null(&w, NODE_user_id, (int64_t)n->user);
    put_bytes(&w, NODE_machine_key, n->machine.b, KEY_BYTES);
    put_bytes(&w, NODE_node_key, n->key.b, KEY_BYTES);
    put_key_or_null(&w, NODE_disco_key, n->disco.b);
    put_key_or_null(&w, NODE_nl_key, n->nl.b);
    put_ip(&w, NODE_ipv4, &n->v4);
    put_ip(&w, NODE_ipv6, &n->v6);
    put_text(&w, NODE_name, n->name);
    put_text(&w, NODE_hostname, n->hostname);
    put_int(&w, NODE_is_renamed, n->is_renamed);
    put_int(&w, NODE_is_ephemeral, n->is_ephemeral);
    put_int(&w, NODE_is_expired, n->is_ended);
    put_int(&w, NODE_cap_version, n->cap_version);
    put_int_or_null(&w, NODE_home_derp, n->home_derp);
    put_int_or_null(&w, NODE_auth_key, (int64_t)n->auth_key);
    put_int(&w, NODE_created_ms, n->created_ms);
    put_int_or_null(&w, NODE_expires_ms, n->expires_ms);
    put_int_or_null(&w, NODE_last_seen_ms, n->last_seen_ms);
    put_json(&w, NODE_tags, n->tags);
    put_json(&w, NODE_hostinfo, n->hostinfo);
    put_json(&w, NODE_hostinfo_peers, n->hostinfo_peers);
    put_endpoints(&w, NODE_endpoints, n->endpoints, n->endpoints_n);
    put_prefixes(&w, NODE_advertised, n->advertised);
    put_prefixes(&w, NODE_approved, n->approved);
    return !w.failed;
}

/* --- reading: the first bad column is remembered --- */

enum { ROW_JSON_MAX_BYTES = 1 << 20 };

struct row_reader {
    sqlite3_stmt *stmt;
    const char *bad; /* its name, valid as long as the statement */
};

static void refuse(struct row_reader *r, int column)
{
    if (r->bad == NULL)
        r->bad = sqlite3_column_name(r->stmt, column);
}

static struct str get_str(struct row_reader *r, int column)
{
    /* The pointer before the length, as SQLite demands: it might convert the value in between otherwise. */
    const void *p = sqlite3_column_blob(r->stmt, column);
    return p != NULL ? str_n(p, (size_t)sqlite3_column_bytes(r->stmt, column)) : STR_EMPTY;
}

/* Whether the value has the type of the column: nothing is converted. NULL has every type. */
static void check_type(struct row_reader *r, int column, int want)
{
    int type = sqlite3_column_type(r->stmt, column);
    if (type != want && type != SQLITE_NULL)
        refuse(r, column);
}

/* NULL reads as 0. */
static int64_t get_int(struct row_reader *r, int column, int64_t min, int64_t max)
{
    check_type(r, column, SQLITE_INTEGER);
    int64_t v = sqlite3_column_int64(r->stmt, column);
    if (v >= min && v <= max)
        return v;
    refuse(r, column);
    return 0;
}

static int64_t get_time(struct row_reader *r, int column)
{
    return get_int(r, column, INT64_MIN, INT64_MAX);
}

static uint64_t get_id(struct row_reader *r, int column)
{
    return (uint64_t)get_int(r, column, 0, INT64_MAX);
}

static bool get_bool(struct row_reader *r, int column)
{
    return get_int(r, column, 0, 1) != 0;
}

static void get_text(struct row_reader *r, int column, char *out, size_t out_cap)
{
    check_type(r, column, SQLITE_TEXT);
    struct str s = get_str(r, column);
    if (s.len >= out_cap || memchr(s.p, '\0', s.len) != NULL) {
        refuse(r, column);
        return;
    }
    memcpy(out, s.p, s.len);
    out[s.len] = '\0';
}

/* NULL reads as zeros. */
static void get_bytes(struct row_reader *r, int column, uint8_t *out, size_t n)
{
    check_type(r, column, SQLITE_BLOB);
    struct str s = get_str(r, column);
    if (s.len == n)
        memcpy(out, s.p, n);
    else if (sqlite3_column_type(r->stmt, column) != SQLITE_NULL)
        refuse(r, column);
}

static struct rcbuf *get_json(struct row_reader *r, int column)
{
    if (sqlite3_column_type(r->stmt, column) == SQLITE_NULL)
        return NULL;
    check_type(r, column, SQLITE_TEXT);
    struct str s = get_str(r, column);
    if (s.len > ROW_JSON_MAX_BYTES) {
        refuse(r, column);
        return NULL;
    }
    return rcbuf_create(s.p, s.len);
}

static void get_ip(struct row_reader *r, int column, uint8_t family, struct addr *out)
{
    if (sqlite3_column_type(r->stmt, column) == SQLITE_NULL)
        return;
    if (addr_parse_ip(get_str(r, column), out) != RC_OK || out->family != family)
        refuse(r, column);
}

static unsigned get_endpoints(struct row_reader *r, int column, struct addr out[ENDPOINTS_MAX])
{
    struct str rest = get_str(r, column), one;
    unsigned n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        if (n == ENDPOINTS_MAX || addr_parse(one, &out[n]) != RC_OK) {
            refuse(r, column);
            return 0;
        }
        n++;
    }
    return n;
}

/* If not `is_strict`, words that are no prefixes are left out. */
static struct prefix_list *get_prefixes(struct row_reader *r, int column, bool is_strict)
{
    struct str rest = get_str(r, column), one;
    struct prefix v[ROUTES_MAX];
    size_t n = 0;
    while (rest.len > 0) {
        str_cut(rest, ' ', &one, &rest);
        bool is_good = n < ROUTES_MAX && prefix_parse(one, &v[n], NULL) == RC_OK;
        if (!is_good && is_strict) {
            refuse(r, column);
            return NULL;
        }
        n += is_good;
    }
    return prefix_list_create(v, n);
}

/* If the value cannot be read the whole row is bad: a key must not become valid for more networks than it was made
 * for. */
static struct prefix_list *get_sources(struct row_reader *r)
{
    bool is_null = sqlite3_column_type(r->stmt, KEY_sources) == SQLITE_NULL;
    struct prefix_list *l = get_prefixes(r, KEY_sources, true);
    if (!is_null && l == NULL)
        refuse(r, KEY_sources);
    return l;
}

struct user *store_user_read(sqlite3_stmt *stmt, const char **bad_out)
{
    struct row_reader r = {stmt, NULL};
    struct user *u = user_create();
    u->id = get_id(&r, USER_id);
    get_text(&r, USER_name, u->name, sizeof(u->name));
    get_text(&r, USER_display_name, u->display_name, sizeof(u->display_name));
    get_text(&r, USER_email, u->email, sizeof(u->email));
    get_text(&r, USER_picture_url, u->picture_url, sizeof(u->picture_url));
    u->created_ms = get_time(&r, USER_created_ms);
    u->role = (enum user_role)get_int(&r, USER_role, 0, USER_ROLES_N - 1);
    *bad_out = r.bad;
    if (r.bad != NULL)
        user_unref((const struct user **)&u);
    return u;
}

struct auth_key *store_auth_key_read(sqlite3_stmt *stmt, const char **bad_out)
{
    struct row_reader r = {stmt, NULL};
    struct auth_key *k = auth_key_create();
    k->id = get_id(&r, KEY_id);
    k->user = get_id(&r, KEY_user_id);
    get_bytes(&r, KEY_hash, k->hash, KEY_HASH_BYTES);
    get_text(&r, KEY_prefix, k->prefix, sizeof(k->prefix));
    k->is_reusable = get_bool(&r, KEY_is_reusable);
    k->is_ephemeral = get_bool(&r, KEY_is_ephemeral);
    k->is_used = get_bool(&r, KEY_is_used);
    k->created_ms = get_time(&r, KEY_created_ms);
    k->expires_ms = get_time(&r, KEY_expires_ms);
    k->tags = get_json(&r, KEY_tags);
    k->max_nodes = (uint32_t)get_int(&r, KEY_max_nodes, 0, UINT32_MAX);
    k->joined_n = (uint32_t)get_int(&r, KEY_joined_n, 0, UINT32_MAX);
    k->sources = get_sources(&r);
    *bad_out = r.bad;
    if (r.bad != NULL)
        auth_key_unref((const struct auth_key **)&k);
    return k;
}

struct relay_host *store_relay_read(sqlite3_stmt *stmt, const char **bad_out)
{
    struct row_reader r = {stmt, NULL};
    struct relay_host *h = state_relay_host_create();
    h->id = get_id(&r, RELAY_id);
    get_text(&r, RELAY_name, h->name, sizeof(h->name));
    get_bytes(&r, RELAY_hash, h->hash, KEY_HASH_BYTES);
    get_text(&r, RELAY_prefix, h->prefix, sizeof(h->prefix));
    h->region_id = (uint16_t)get_int(&r, RELAY_region_id, 1, UINT16_MAX);
    get_text(&r, RELAY_region_code, h->region_code, sizeof(h->region_code));
    get_text(&r, RELAY_region_name, h->region_name, sizeof(h->region_name));
    h->created_ms = get_time(&r, RELAY_created_ms);
    h->last_seen_ms = get_time(&r, RELAY_last_seen_ms);
    h->is_up = get_bool(&r, RELAY_is_up);
    get_text(&r, RELAY_host_name, h->report.host_name, sizeof(h->report.host_name));
    get_text(&r, RELAY_cert_name, h->report.cert_name, sizeof(h->report.cert_name));
    get_ip(&r, RELAY_ipv4, 4, &h->report.ipv4);
    get_ip(&r, RELAY_ipv6, 6, &h->report.ipv6);
    h->report.derp_port = (uint16_t)get_int(&r, RELAY_derp_port, 0, UINT16_MAX);
    h->report.stun_port = (uint16_t)get_int(&r, RELAY_stun_port, 0, UINT16_MAX);
    *bad_out = r.bad;
    if (r.bad != NULL)
        state_relay_host_unref((const struct relay_host **)&h);
    return h;
}

struct policy_text *store_policy_text_read(sqlite3_stmt *stmt, const char **bad_out)
{
    struct row_reader r = {stmt, NULL};
    struct str text = {NULL, 0};
    if (sqlite3_column_type(stmt, POLICY_TEXT_text) == SQLITE_BLOB) {
        const void *bytes = sqlite3_column_blob(stmt, POLICY_TEXT_text);
        text = str_n(bytes != NULL ? bytes : "", (size_t)sqlite3_column_bytes(stmt, POLICY_TEXT_text));
    }
    if (text.p == NULL || text.len > POLICY_TEXTS_MAX_BYTES) {
        r.bad = "text";
        text = STR_EMPTY;
    }
    struct policy_text *t = state_policy_text_create(text);
    t->id = get_id(&r, POLICY_TEXT_id);
    t->created_ms = get_time(&r, POLICY_TEXT_created_ms);
    get_text(&r, POLICY_TEXT_author, t->author, sizeof(t->author));
    get_text(&r, POLICY_TEXT_note, t->note, sizeof(t->note));
    *bad_out = r.bad;
    if (r.bad != NULL)
        state_policy_text_unref((const struct policy_text **)&t);
    return t;
}

static struct node *node_with_endpoints(struct row_reader *r)
{
    struct addr endpoints[ENDPOINTS_MAX] = {0};
    unsigned n = get_endpoints(r, NODE_endpoints, endpoints);
    struct node *node = node_create(n);
    memcpy(node->endpoints, endpoints, n * sizeof(endpoints[0]));
    return node;
}

struct node *store_node_read(sqlite3_stmt *stmt, const char **bad_out)
{
    struct row_reader r = {stmt, NULL};
    struct node *n = node_with_endpoints(&r);
    n->id = get_id(&r, NODE_id);
    get_text(&r, NODE_stable_id, n->stable_id, sizeof(n->stable_id));
    n->user = get_id(&r, NODE_user_id);
    get_bytes(&r, NODE_machine_key, n->machine.b, KEY_BYTES);
    get_bytes(&r, NODE_node_key, n->key.b, KEY_BYTES);
    get_bytes(&r, NODE_disco_key, n->disco.b, KEY_BYTES);
    get_bytes(&r, NODE_nl_key, n->nl.b, KEY_BYTES);
    get_ip(&r, NODE_ipv4, 4, &n->v4);
    get_ip(&r, NODE_ipv6, 6, &n->v6);
    get_text(&r, NODE_name, n->name, sizeof(n->name));
    get_text(&r, NODE_hostname, n->hostname, sizeof(n->hostname));
    n->is_renamed = get_bool(&r, NODE_is_renamed);
    n->is_ephemeral = get_bool(&r, NODE_is_ephemeral);
    n->is_ended = get_bool(&r, NODE_is_expired);
    n->cap_version = (uint32_t)get_int(&r, NODE_cap_version, 0, UINT32_MAX);
    n->home_derp = (uint16_t)get_int(&r, NODE_home_derp, 0, UINT16_MAX);
    n->auth_key = get_id(&r, NODE_auth_key);
    n->created_ms = get_time(&r, NODE_created_ms);
    n->expires_ms = get_time(&r, NODE_expires_ms);
    n->last_seen_ms = get_time(&r, NODE_last_seen_ms);
    n->tags = get_json(&r, NODE_tags);
    n->hostinfo = get_json(&r, NODE_hostinfo);
    n->hostinfo_peers = get_json(&r, NODE_hostinfo_peers);
    n->advertised = get_prefixes(&r, NODE_advertised, false);
    n->approved = get_prefixes(&r, NODE_approved, true);
    *bad_out = r.bad;
    if (r.bad != NULL)
        node_unref((const struct node **)&n);
    return n;
}

/* --- by entity --- */

#define ADAPT(type, what)                                                                                              \
    static bool bind_##type(sqlite3_stmt *stmt, const struct row *object)                                              \
    {                                                                                                                  \
        return store_##what##_bind(stmt, (const struct type *)object);                                                 \
    }                                                                                                                  \
    static struct row *read_##type(sqlite3_stmt *stmt, const char **bad_out)                                           \
    {                                                                                                                  \
        return (struct row *)store_##what##_read(stmt, bad_out);                                                       \
    }
ADAPT(user, user)
ADAPT(auth_key, auth_key)
ADAPT(relay_host, relay)
ADAPT(policy_text, policy_text)
ADAPT(node, node)

#define ROWS(type, what)                                                                                               \
    {&entity_##type, store_##what##_insert_sql, store_##what##_select_sql, store_##what##_set_aside_sql, bind_##type,  \
     read_##type}
const struct sqlite_rows sqlite_rows[] = {
    ROWS(user, user), ROWS(auth_key, auth_key), ROWS(relay_host, relay), ROWS(policy_text, policy_text),
    ROWS(node, node),
};
const size_t sqlite_rows_n = ARRAY_LEN(sqlite_rows);
