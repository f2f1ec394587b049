#include "state/event.h"

#include <stddef.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/refs.h"
#include "base/time.h"
#include "state/events_internal.h"
#include "state/setting.h"

/* --- how members are shown --- */

typedef void show_fn(const void *member, struct arena *a, struct event_field *out);

static void show_text(const void *member, struct arena *a, struct event_field *out)
{
    (void)a;
    out->type = EVENT_TEXT;
    out->text = str_c(member);
}

static void show_static(const void *member, struct arena *a, struct event_field *out)
{
    const char *const *text = member;
    (void)a;
    out->type = EVENT_TEXT;
    out->text = str_c(*text != NULL ? *text : "");
}

static struct str rcbuf_text(struct rcbuf *const *b)
{
    return *b != NULL ? str_n((*b)->data, (*b)->len) : STR_EMPTY;
}

static void show_buf(const void *member, struct arena *a, struct event_field *out)
{
    (void)a;
    out->type = EVENT_TEXT;
    out->text = rcbuf_text(member);
}

static void show_tags(const void *member, struct arena *a, struct event_field *out)
{
    (void)a;
    out->type = EVENT_JSON;
    out->text = rcbuf_text(member);
    if (out->text.len == 0)
        out->text = STR("[]");
}

static void show_id(const void *member, struct arena *a, struct event_field *out)
{
    (void)a;
    out->type = EVENT_NUMBER;
    memcpy(&out->number, member, sizeof(out->number));
}

static void show_u32(const void *member, struct arena *a, struct event_field *out)
{
    uint32_t n;
    (void)a;
    memcpy(&n, member, sizeof(n));
    out->type = EVENT_NUMBER;
    out->number = n;
}

static void show_u16(const void *member, struct arena *a, struct event_field *out)
{
    uint16_t n;
    (void)a;
    memcpy(&n, member, sizeof(n));
    out->type = EVENT_NUMBER;
    out->number = n;
}

static void show_date(const void *member, struct arena *a, struct event_field *out)
{
    char text[TIME_TEXT_CAP] = "never";
    int64_t ms;
    memcpy(&ms, member, sizeof(ms));
    if (ms != NO_EXPIRY)
        time_format(ms, text);
    out->type = EVENT_TEXT;
    out->text = arena_str(a, str_c(text));
}

static void show_role(const void *member, struct arena *a, struct event_field *out)
{
    (void)a;
    out->type = EVENT_TEXT;
    out->text = str_c(user_role_name(*(const enum user_role *)member));
}

static void show_routes(const void *member, struct arena *a, struct event_field *out)
{
    const struct prefix_list *l = *(struct prefix_list *const *)member;
    struct buf text = {0};
    struct json_writer w;
    json_w_init(&w, &text);
    json_w_array(&w);
    for (size_t i = 0; l != NULL && i < l->n; i++) {
        char one[PREFIX_TEXT_CAP];
        prefix_format(&l->v[i], one);
        json_w_cstr(&w, one);
    }
    json_w_end_array(&w);
    out->type = EVENT_JSON;
    out->text = arena_str(a, buf_str(&text));
    buf_fini(&text);
}

/* --- kinds --- */

enum side {
    OF_OBJECT, /* as it is, or was before it was deleted */
    OF_BEFORE,
    OF_EVENT,
};

struct shown {
    const char *key;
    show_fn *show;
    size_t offset;
    enum side side;
};

struct kind {
    const char *name, *sentence;
    enum log_level level;
    const char *log_module;
    struct shown fields[EVENT_FIELDS_MAX];
};

#define NODE(key, member, show) {key, show, offsetof(struct node, member), OF_OBJECT}
#define WAS_NODE(key, member, show) {key, show, offsetof(struct node, member), OF_BEFORE}
#define USER(key, member, show) {key, show, offsetof(struct user, member), OF_OBJECT}
#define WAS_USER(key, member, show) {key, show, offsetof(struct user, member), OF_BEFORE}
#define KEY(key, member, show) {key, show, offsetof(struct auth_key, member), OF_OBJECT}
#define RELAY(key, member, show) {key, show, offsetof(struct relay_host, member), OF_OBJECT}
#define POLICY(key, member, show) {key, show, offsetof(struct policy_text, member), OF_OBJECT}
#define EVENT(key, member, show) {key, show, offsetof(struct event, member), OF_EVENT}

#define NODE_FIELDS NODE("node", id, show_id), NODE("name", name, show_text)
#define ROUTER_FIELDS NODE("node", name, show_text), NODE("id", id, show_id)
#define USER_FIELDS USER("user", id, show_id), USER("name", name, show_text)
#define KEY_FIELDS KEY("id", id, show_id), KEY("key", prefix, show_text)
#define RELAY_FIELDS RELAY("relay", id, show_id), RELAY("name", name, show_text)

static const struct kind kinds[EVENT_KINDS_N] = {
    [EVENT_NODE_JOINED] = {"node.joined", "node joined", LOG_INFO, "register", {NODE_FIELDS}},
    [EVENT_NODE_REGISTERED] = {"node.registered", "node registered again", LOG_DEBUG, "register", {NODE_FIELDS}},
    [EVENT_NODE_RENAMED] =
        {"node.renamed", "node renamed", LOG_DEBUG, "events", {NODE_FIELDS, WAS_NODE("was", name, show_text)}},
    [EVENT_NODE_TAGGED] =
        {"node.tagged", "node tagged", LOG_DEBUG, "events", {NODE_FIELDS, NODE("tags", tags, show_tags)}},
    [EVENT_NODE_EXPIRY_SET] = {"node.expiry_set",
                               "another date for a node's key",
                               LOG_DEBUG,
                               "events",
                               {NODE_FIELDS, NODE("expires", expires_ms, show_date)}},
    [EVENT_NODE_EXPIRED] = {"node.expired", "a node's key has expired", LOG_DEBUG, "events", {NODE_FIELDS}},
    [EVENT_NODE_LOGGED_OUT] = {"node.logged_out", "node logged out", LOG_DEBUG, "events", {NODE_FIELDS}},
    [EVENT_NODE_DELETED] = {"node.deleted", "node deleted", LOG_DEBUG, "events", {NODE_FIELDS}},
    [EVENT_NODE_ONLINE] = {"node.online", "node online", LOG_DEBUG, "events", {NODE_FIELDS}},
    [EVENT_NODE_OFFLINE] = {"node.offline", "node offline", LOG_DEBUG, "events", {NODE_FIELDS}},
    [EVENT_ROUTES_ADVERTISED] = {"node.routes_advertised",
                                 "a node advertises other routes",
                                 LOG_DEBUG,
                                 "events",
                                 {NODE_FIELDS, NODE("routes", advertised, show_routes)}},
    [EVENT_ROUTES_APPROVED] = {"node.routes_approved",
                               "routes of a node approved",
                               LOG_DEBUG,
                               "events",
                               {NODE_FIELDS, NODE("routes", approved, show_routes)}},
    [EVENT_ROUTE_MOVED] = {"route.moved",
                           "a route has moved to another node",
                           LOG_DEBUG,
                           "events",
                           {NODE_FIELDS, EVENT("prefix", text, show_buf), WAS_NODE("from", id, show_id)}},
    [EVENT_ROUTER_SILENT] =
        {"router.silent", "a router answers no pings: others carry its routes", LOG_WARN, "pings", {ROUTER_FIELDS}},
    [EVENT_ROUTER_ANSWERS] =
        {"router.answers", "a router that was silent answers again: it stands by", LOG_WARN, "pings", {ROUTER_FIELDS}},
    [EVENT_USER_CREATED] = {"user.created", "user created", LOG_DEBUG, "events", {USER_FIELDS}},
    [EVENT_USER_RENAMED] =
        {"user.renamed", "user renamed", LOG_DEBUG, "events", {USER_FIELDS, WAS_USER("was", name, show_text)}},
    [EVENT_USER_ROLE_CHANGED] = {"user.role_changed",
                                 "a user has another role",
                                 LOG_DEBUG,
                                 "events",
                                 {USER_FIELDS, USER("role", role, show_role), WAS_USER("was", role, show_role)}},
    [EVENT_USER_DELETED] = {"user.deleted", "user deleted", LOG_DEBUG, "events", {USER_FIELDS}},
    [EVENT_KEY_CREATED] = {"auth_key.created",
                           "auth key created",
                           LOG_DEBUG,
                           "events",
                           {KEY_FIELDS, KEY("user", user, show_id), KEY("tags", tags, show_tags),
                            KEY("expires", expires_ms, show_date)}},
    [EVENT_KEY_USED] =
        {"auth_key.used", "auth key used", LOG_DEBUG, "events", {KEY_FIELDS, KEY("nodes", joined_n, show_u32)}},
    [EVENT_KEY_ALARM] = {"auth_key.alarm",
                         "many nodes join with one auth key: if that is not meant, expire it (preauthkeys expire KEY)",
                         LOG_WARN,
                         "register",
                         {KEY("key", prefix, show_text), KEY("nodes_within_an_hour", hour_n, show_u32)}},
    [EVENT_KEY_EXPIRED] = {"auth_key.expired", "auth key expired", LOG_DEBUG, "events", {KEY_FIELDS}},
    [EVENT_KEY_DELETED] = {"auth_key.deleted", "auth key deleted", LOG_DEBUG, "events", {KEY_FIELDS}},
    [EVENT_RELAY_ENROLLED] =
        {"relay.enrolled", "relay enrolled", LOG_DEBUG, "events", {RELAY_FIELDS, RELAY("region", region_id, show_u16)}},
    [EVENT_RELAY_UP] = {"relay.up", "relay up", LOG_DEBUG, "events", {RELAY_FIELDS}},
    [EVENT_RELAY_DOWN] = {"relay.down", "relay down", LOG_DEBUG, "events", {RELAY_FIELDS}},
    [EVENT_RELAY_DELETED] = {"relay.deleted", "relay deleted", LOG_DEBUG, "events", {RELAY_FIELDS}},
    [EVENT_POLICY_CHANGED] = {"policy.changed",
                              "the policy is replaced",
                              LOG_INFO,
                              "policy",
                              {POLICY("version", id, show_id), POLICY("author", author, show_text),
                               POLICY("note", note, show_text)}},
    [EVENT_POLICY_FILE] = {"policy.file_changed",
                           "the policy file has changed and is in force",
                           LOG_INFO,
                           "policy",
                           {EVENT("file", text, show_buf)}},
    /* A value may be a secret one day. */
    [EVENT_SETTING_CHANGED] = {"setting.changed",
                               "a setting has changed",
                               LOG_DEBUG,
                               "events",
                               {{"setting", show_text, offsetof(struct setting, name), OF_OBJECT}}},
    [EVENT_OPERATION] = {"operation",
                         "operation",
                         LOG_DEBUG,
                         "events",
                         {EVENT("operation", operation, show_static), EVENT("by", actor.name, show_buf),
                          EVENT("text", text, show_buf)}},
};

const char *event_kind_name(enum event_kind kind)
{
    return kinds[kind].name;
}

enum rc event_kind_parse(struct str name, enum event_kind *out)
{
    for (int i = 0; i < EVENT_KINDS_N; i++) {
        if (!str_eq_c(name, kinds[i].name))
            continue;
        *out = (enum event_kind)i;
        return RC_OK;
    }
    return RC_NOT_FOUND;
}

const char *event_sentence(enum event_kind kind)
{
    return kinds[kind].sentence;
}

enum log_level event_level(enum event_kind kind)
{
    return kinds[kind].level;
}

const char *event_log_module(enum event_kind kind)
{
    return kinds[kind].log_module;
}

/* --- reading an event --- */

static const void *side_of(const struct event *e, enum side side)
{
    const void *object = e->after != NULL ? e->after : e->before;
    const void *const sides[] = {[OF_OBJECT] = object, [OF_BEFORE] = e->before, [OF_EVENT] = e};
    return sides[side];
}

unsigned event_fields(const struct event *e, struct arena *a, struct event_field out[EVENT_FIELDS_MAX])
{
    const struct shown *fields = kinds[e->kind].fields;
    unsigned n = 0;
    for (unsigned i = 0; i < EVENT_FIELDS_MAX && fields[i].key != NULL; i++) {
        const char *object = side_of(e, fields[i].side);
        if (object == NULL)
            continue;
        out[n] = (struct event_field){.key = fields[i].key};
        fields[i].show(object + fields[i].offset, a, &out[n]);
        n++;
    }
    return n;
}

static void write_id(struct json_writer *w, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    json_w_kv_cstr(w, "id", text);
}

static void write_actor(struct json_writer *w, const struct event_actor *by)
{
    static const char *const types[] = {[EVENT_BY_SERVER] = "server",
                                        [EVENT_BY_NODE] = "node",
                                        [EVENT_BY_ADMIN] = "admin",
                                        [EVENT_BY_POLICY] = "policy"};
    json_w_key(w, "actor");
    json_w_object(w);
    json_w_kv_cstr(w, "type", types[by->by]);
    if (by->id != 0)
        write_id(w, by->id);
    if (by->name != NULL)
        json_w_kv_str(w, "name", rcbuf_text(&by->name));
    json_w_end_object(w);
}

static void write_object(struct json_writer *w, const struct event *e)
{
    const struct row *object = side_of(e, OF_OBJECT);
    if (object == NULL)
        return;
    json_w_key(w, "object");
    json_w_object(w);
    json_w_kv_cstr(w, "type", e->entity->name);
    write_id(w, object->id);
    if (e->after == NULL)
        json_w_kv_bool(w, "deleted", true);
    json_w_end_object(w);
}

static void write_field(struct json_writer *w, const struct event_field *f)
{
    json_w_key(w, f->key);
    if (f->type == EVENT_NUMBER)
        json_w_u64(w, f->number);
    else if (f->type == EVENT_JSON)
        json_w_raw(w, f->text);
    else
        json_w_str(w, f->text);
}

void event_write_json(struct json_writer *w, const struct event *e)
{
    struct event_field fields[EVENT_FIELDS_MAX];
    struct arena a = {0};
    char at[TIME_TEXT_CAP];
    time_format(e->at_ms, at);
    json_w_object(w);
    json_w_kv_cstr(w, "event", kinds[e->kind].name);
    json_w_kv_cstr(w, "at", at);
    write_actor(w, &e->actor);
    write_object(w, e);
    json_w_key(w, "fields");
    json_w_object(w);
    unsigned n = event_fields(e, &a, fields);
    for (unsigned i = 0; i < n; i++)
        write_field(w, &fields[i]);
    json_w_end_object(w);
    json_w_end_object(w);
    arena_fini(&a);
}

/* --- lists --- */

struct event_list *event_list_create(void)
{
    struct event_list *l = MEM_NEW(struct event_list);
    atomic_init(&l->refs, 1);
    return l;
}

struct event_list *event_list_ref(struct event_list *l)
{
    refs_take(&l->refs);
    return l;
}

void event_list_unref(struct event_list **at)
{
    struct event_list *l = *at;
    *at = NULL;
    if (l == NULL || !refs_drop(&l->refs))
        return;
    for (size_t i = 0; i < l->n; i++) {
        struct event *e = &l->v[i];
        row_unref(e->entity, &e->before);
        row_unref(e->entity, &e->after);
        rcbuf_unref(&e->actor.name);
        rcbuf_unref(&e->text);
    }
    mem_free(l->v);
    mem_free(l);
}
