/* Users, and which selectors hold them. src: docs/protocol/policy.md 2.2, 2.6 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "engine/parts.h"

enum { EMAIL_MAX = 320 }; /* src: RFC 3696, errata 1690 */

/* Stands in a map for "several". */
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

/* `m`: by names in lower case. */
static struct owner *find_lower(const struct map *m, struct str email)
{
    char text[EMAIL_MAX];
    if (email.len > sizeof(text))
        return NULL;
    for (size_t i = 0; i < email.len; i++)
        text[i] = lower_char(email.p[i]);
    return map_get(m, text, email.len);
}

static struct owner *find_name(const struct engine *p, struct str name)
{
    return map_get(&p->owner_by_name, name.p, name.len);
}

/* Whatever their case, names are the last resort: one that looks like another user's e-mail must not take that
 * user's access. */
static struct owner *find_name_ci(const struct engine *p, struct str name, struct str selector)
{
    struct owner *o = find_lower(&p->owner_by_lower_name, name);
    return o != NULL ? o : find_lower(&p->owner_by_lower_name, selector);
}

struct owner *owner_find(const struct engine *p, struct str selector, bool *is_ambiguous)
{
    struct owner *o = map_get(&p->owner_by_provider, selector.p, selector.len);
    *is_ambiguous = false;
    if (o == NULL) {
        struct str name = selector;
        if (str_ends(name, STR("@")))
            name.len--;
        struct owner *by_email = find_lower(&p->owner_by_email, name);
        struct owner *by_name = find_name(p, name);
        if (by_email == NULL && by_name == NULL)
            by_name = find_name(p, selector);
        if (by_email == NULL && by_name == NULL)
            by_name = find_name_ci(p, name, selector);
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

/* The owner counts as an admin. src: docs/protocol/policy.md 2.6 */
static bool has_role(const struct owner *o, enum policy_role role)
{
    return o->role == role || (role == POLICY_ADMIN && o->role == POLICY_OWNER);
}

bool owner_is(const struct engine *p, const struct owner *o, const struct selector *s)
{
    bool is_ambiguous;
    switch (s->kind) {
    case SEL_USER: return owner_find(p, s->name, &is_ambiguous) == o;
    case SEL_DOMAIN: return has_domain(o, s->name);
    case SEL_ROLE: return has_role(o, s->role);
    case SEL_MEMBER: return true;
    case SEL_GROUP:
        for (size_t i = 0; i < p->doc->group[s->group].member_n; i++) {
            if (owner_find(p, p->doc->group[s->group].member[i], &is_ambiguous) == o)
                return true;
        }
        return false;
    default: return false;
    }
}

static void mark_group(struct engine *p, const struct selector *s, sel_id id)
{
    const struct group *g = &p->doc->group[s->group];
    bool is_ambiguous;
    for (size_t i = 0; i < g->member_n; i++) {
        struct owner *o = owner_find(p, g->member[i], &is_ambiguous);
        if (o != NULL)
            bit_put(o->in, id);
    }
}

/* Sets the selector's bit in all users that it holds. */
static void mark_selector(struct engine *p, sel_id id)
{
    const struct selector *s = &p->doc->sel[id];
    bool is_ambiguous;
    if (s->kind == SEL_USER) {
        struct owner *o = owner_find(p, s->name, &is_ambiguous);
        if (o != NULL)
            bit_put(o->in, id);
    } else if (s->kind == SEL_GROUP) {
        mark_group(p, s, id);
    } else {
        for (size_t i = 0; i < p->owner_n; i++) {
            if (owner_is(p, &p->owner[i], s))
                bit_put(p->owner[i].in, id);
        }
    }
}

void owners_create(struct engine *p, const struct engine_user *users, size_t n)
{
    p->owner = arena_zalloc(&p->arena, n, sizeof(*p->owner));
    p->owner_n = n;
    for (size_t i = 0; i < n; i++) {
        struct owner *o = &p->owner[i];
        *o = (struct owner){.id = users[i].id, .role = users[i].role, .number = (uint32_t)i + 1};
        o->name = arena_str(&p->arena, users[i].name);
        o->email = arena_str(&p->arena, users[i].email);
        o->provider_id = arena_str(&p->arena, users[i].provider_id);
        o->in = arena_zalloc(&p->arena, p->sel_words, sizeof(*o->in));
        list_init(&o->nodes);
        list_init(&o->by_version);
        map_put(&p->owner_by_id, &o->id, sizeof(o->id), o);
        put_name(&p->owner_by_provider, o->provider_id, o);
        put_name(&p->owner_by_email, lower(&p->arena, o->email), o);
        put_name(&p->owner_by_name, o->name, o);
        put_name(&p->owner_by_lower_name, lower(&p->arena, o->name), o);
    }
    for (sel_id id = 0; id < p->doc->sel_n; id++)
        mark_selector(p, id);
}

struct owner *owner_get(struct engine *p, uint64_t id)
{
    struct owner *o = map_get(&p->owner_by_id, &id, sizeof(id));
    if (o != NULL)
        return o;
    o = arena_zalloc(&p->arena, 1, sizeof(*o));
    o->id = id;
    o->number = (uint32_t)p->owner_by_id.n + 1;
    o->in = arena_zalloc(&p->arena, p->sel_words, sizeof(*o->in));
    o->name = o->email = o->provider_id = STR_EMPTY;
    list_init(&o->nodes);
    list_init(&o->by_version);
    for (sel_id s = 0; s < p->doc->sel_n; s++) {
        if (p->doc->sel[s].kind == SEL_MEMBER)
            bit_put(o->in, s);
    }
    map_put(&p->owner_by_id, &o->id, sizeof(o->id), o);
    return o;
}
