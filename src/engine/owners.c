/* Users, and which selectors hold them. src: docs/protocol/policy.md 2.2, 2.6 */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/mem.h"
#include "engine/owners.h"

enum { EMAIL_MAX = 320 }; /* src: RFC 3696, errata 1690 */

/* The value of a map for a name that several users have. */
static struct owner several;

static char lower_char(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static struct str lower(struct arena *a, struct str s)
{
    struct str copy = arena_str(a, s);
    for (size_t i = 0; i < copy.len; i++)
        ((char *)copy.p)[i] = lower_char(copy.p[i]);
    return copy;
}

static void put_name(struct map *m, struct str name, struct owner *o)
{
    if (name.len > 0 && map_put(m, name.p, name.len, o) != NULL)
        map_put(m, name.p, name.len, &several);
}

/* `m` has keys in lower case. */
static struct owner *find_lower(const struct map *m, struct str email)
{
    char text[EMAIL_MAX];
    if (email.len > sizeof(text))
        return NULL;
    for (size_t i = 0; i < email.len; i++)
        text[i] = lower_char(email.p[i]);
    return map_get(m, text, email.len);
}

static struct owner *find_name(const struct owner_table *t, struct str name)
{
    return map_get(&t->by_name, name.p, name.len);
}

/* Names, in any case, are the last resort: one that looks like another user's e-mail must not get that user's
 * access. */
static struct owner *find_name_ci(const struct owner_table *t, struct str name, struct str selector)
{
    struct owner *o = find_lower(&t->by_lower_name, name);
    return o != NULL ? o : find_lower(&t->by_lower_name, selector);
}

struct owner *owners_find(const struct owner_table *t, struct str selector, bool *is_ambiguous)
{
    struct owner *o = map_get(&t->by_provider, selector.p, selector.len);
    *is_ambiguous = false;
    if (o == NULL) {
        struct str name = selector;
        if (str_ends(name, STR("@")))
            name.len--;
        struct owner *by_email = find_lower(&t->by_email, name);
        struct owner *by_name = find_name(t, name);
        if (by_email == NULL && by_name == NULL)
            by_name = find_name(t, selector);
        if (by_email == NULL && by_name == NULL)
            by_name = find_name_ci(t, name, selector);
        *is_ambiguous = by_email != NULL && by_name != NULL && by_email != by_name;
        o = by_email != NULL ? by_email : by_name;
    }
    *is_ambiguous = *is_ambiguous || o == &several;
    return *is_ambiguous ? NULL : o;
}

static bool has_domain(const struct owner *o, struct str domain)
{
    const char *at = memrchr(o->email.p, '@', o->email.len);
    if (at == NULL)
        return false;
    return str_eq_ci(str_n(at + 1, o->email.len - (size_t)(at + 1 - o->email.p)), domain);
}

/* A user with the role owner counts as an admin. src: docs/protocol/policy.md 2.6 */
static bool has_role(const struct owner *o, enum policy_role role)
{
    return o->role == role || (role == POLICY_ADMIN && o->role == POLICY_OWNER);
}

bool owners_match(const struct owner_table *t, const struct owner *o, const struct selector *s)
{
    bool is_ambiguous;
    switch (s->kind) {
    case SEL_USER: return owners_find(t, s->name, &is_ambiguous) == o;
    case SEL_DOMAIN: return has_domain(o, s->name);
    case SEL_ROLE: return has_role(o, s->role);
    case SEL_MEMBER: return true;
    case SEL_GROUP:
        for (size_t i = 0; i < t->doc->group[s->group].member_n; i++) {
            if (owners_find(t, t->doc->group[s->group].member[i], &is_ambiguous) == o)
                return true;
        }
        return false;
    default: return false;
    }
}

static void mark_group(struct owner_table *t, const struct selector *s, sel_id id)
{
    const struct group *g = &t->doc->group[s->group];
    bool is_ambiguous;
    for (size_t i = 0; i < g->member_n; i++) {
        struct owner *o = owners_find(t, g->member[i], &is_ambiguous);
        if (o != NULL)
            bit_put(o->in, id);
    }
}

/* Sets the selector's bit in all users that it holds. */
static void mark_selector(struct owner_table *t, sel_id id)
{
    const struct selector *s = &t->doc->sel[id];
    bool is_ambiguous;
    if (s->kind == SEL_USER) {
        struct owner *o = owners_find(t, s->name, &is_ambiguous);
        if (o != NULL)
            bit_put(o->in, id);
    } else if (s->kind == SEL_GROUP) {
        mark_group(t, s, id);
    } else {
        for (size_t i = 0; i < t->n; i++) {
            if (owners_match(t, &t->v[i], s))
                bit_put(t->v[i].in, id);
        }
    }
}

void owners_init(struct owner_table *t, const struct policy_doc *doc, struct arena *arena,
                 const struct engine_user *users, size_t n)
{
    *t = (struct owner_table){.doc = doc, .arena = arena, .n = n};
    struct map *maps[] = {&t->by_id, &t->by_provider, &t->by_email, &t->by_name, &t->by_lower_name};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_init(maps[i], NULL);
    list_init(&t->by_version);
    t->v = arena_zalloc(t->arena, n, sizeof(*t->v));
    for (size_t i = 0; i < n; i++) {
        struct owner *o = &t->v[i];
        *o = (struct owner){.id = users[i].id, .role = users[i].role, .number = (uint32_t)i + 1};
        o->name = arena_str(t->arena, users[i].name);
        o->email = arena_str(t->arena, users[i].email);
        o->provider_id = arena_str(t->arena, users[i].provider_id);
        o->in = arena_zalloc(t->arena, bits_words(t->doc->sel_n), sizeof(*o->in));
        list_init(&o->nodes);
        list_init(&o->version_link);
        map_put(&t->by_id, &o->id, sizeof(o->id), o);
        put_name(&t->by_provider, o->provider_id, o);
        put_name(&t->by_email, lower(t->arena, o->email), o);
        put_name(&t->by_name, o->name, o);
        put_name(&t->by_lower_name, lower(t->arena, o->name), o);
    }
    for (sel_id id = 0; id < t->doc->sel_n; id++)
        mark_selector(t, id);
}

void owners_fini(struct owner_table *t)
{
    struct map *maps[] = {&t->by_id, &t->by_provider, &t->by_email, &t->by_name, &t->by_lower_name};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_fini(maps[i]);
}

struct owner *owners_get(struct owner_table *t, uint64_t id)
{
    struct owner *o = map_get(&t->by_id, &id, sizeof(id));
    if (o != NULL)
        return o;
    o = arena_zalloc(t->arena, 1, sizeof(*o));
    o->id = id;
    o->number = (uint32_t)t->by_id.n + 1;
    o->in = arena_zalloc(t->arena, bits_words(t->doc->sel_n), sizeof(*o->in));
    o->name = o->email = o->provider_id = STR_EMPTY;
    list_init(&o->nodes);
    list_init(&o->version_link);
    for (sel_id s = 0; s < t->doc->sel_n; s++) {
        if (t->doc->sel[s].kind == SEL_MEMBER)
            bit_put(o->in, s);
    }
    map_put(&t->by_id, &o->id, sizeof(o->id), o);
    return o;
}
