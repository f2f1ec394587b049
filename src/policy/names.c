/* The sections that give names: groups, hosts, tagOwners. */
#include <string.h>

#include "policy/reader_internal.h"

/* --- groups. src: docs/protocol/policy.md 2.3 --- */

static void read_members(struct reader *r, struct group *g, const struct json *value)
{
    struct read_items items = reader_strings(r, value, "a group");
    g->member = arena_zalloc(&r->doc->arena, items.n, sizeof(*g->member));
    for (size_t i = 0; i < items.n; i++) {
        struct str text = items.v[i].text;
        bool is_user = str_index(text, '@') >= 0 && !str_starts(text, STR("user:*@"));
        if (is_user && !str_starts(text, STR("group:")))
            g->member[g->member_n++] = text;
        else if (!str_starts(text, STR("group:")))
            reader_fail(r, items.v[i].at, "groups[%s]: %s: members must be users (with an @)", reader_quote(r, g->name),
                        reader_quote(r, text));
    }
}

/* A group in a group is reported for the group whose name sorts last, ahead of others
 * (src: docs/protocol/policy.md 2.3). */
static void check_nested(struct reader *r, const struct json *section)
{
    const struct json *worst = NULL, *worst_member = NULL;
    JSON_EACH (g, section) {
        JSON_EACH (m, g) {
            struct str text, name = json_key_of(g);
            if (!json_str(m, &text) || !str_starts(str_trim(text), STR("group:")))
                continue;
            struct str last = worst != NULL ? json_key_of(worst) : STR_EMPTY;
            int order = memcmp(name.p, last.p, name.len < last.len ? name.len : last.len);
            if (worst == NULL || order > 0 || (order == 0 && name.len > last.len)) {
                worst = g;
                worst_member = m;
            }
            break;
        }
    }
    struct str inner;
    if (worst != NULL && json_str(worst_member, &inner))
        reader_fail_ranked(r, section, worst_member, "groups[%s]: %s: group members cannot be recursive",
                           reader_quote(r, json_key_of(worst)), reader_quote(r, str_trim(inner)));
}

void reader_groups(struct reader *r)
{
    const struct json *section = r->section[SECTION_GROUPS];
    struct policy_doc *doc = r->doc;
    size_t count = 0, members = 0;
    if (!reader_is(r, section, JSON_OBJECT, "groups") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->groups, "groups"))
        return;
    doc->group = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->group));
    JSON_EACH (it, section) {
        struct group *g = &doc->group[doc->group_n++];
        g->name = json_key_of(it);
        if (!str_starts(g->name, STR("group:")) || g->name.len == 6)
            reader_fail(r, it, "groups[%s]: group names must begin with 'group:'", reader_quote(r, g->name));
        if (json_type_of(it) != JSON_ARRAY)
            reader_fail(r, it, "groups[%s]: a group must be a list of users", reader_quote(r, g->name));
        else if (reader_counted(r, it, &members, json_len(it), r->limits->memberships, "group members"))
            read_members(r, g, it);
        map_put(&doc->group_by_name, g->name.p, g->name.len, g);
    }
    check_nested(r, section);
}

/* --- hosts. src: docs/protocol/policy.md 2.3 --- */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

void reader_hosts(struct reader *r)
{
    const struct json *section = r->section[SECTION_HOSTS];
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "hosts") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->hosts, "hosts"))
        return;
    JSON_EACH (it, section) {
        struct str name = json_key_of(it), value;
        struct range range;
        if (name.len == 0 || !is_alnum(name.p[0]) || str_index(name, '@') >= 0 || str_index(name, ':') >= 0)
            reader_fail(r, it, "hosts[%s]: a host name begins with a letter or digit and has no '@' or ':'",
                        reader_quote(r, name));
        else if (range_parse(name, &range))
            reader_fail(r, it, "hosts[%s]: a host name cannot be an address", reader_quote(r, name));
        if (!json_str(it, &value) || !range_parse(str_trim(value), &range) || str_index(value, '-') >= 0)
            reader_fail(r, it, "hosts[%s]: must be one address or prefix", reader_quote(r, name));
        map_put(&r->doc->host_by_name, name.p, name.len, (void *)it);
    }
}

/* --- tags. src: docs/protocol/policy.md 11 --- */

static void check_tag_name(struct reader *r, const struct json *at, struct str name)
{
    if (!str_starts(name, STR("tag:")) || name.len < 5 || (name.p[4] | 0x20) < 'a' || (name.p[4] | 0x20) > 'z') {
        reader_fail(r, at, "tagOwners[%s]: tag names must start with a letter, after 'tag:'", reader_quote(r, name));
        return;
    }
    for (size_t i = 5; i < name.len; i++) {
        if (!is_alnum(name.p[i]) && strchr("-_.", name.p[i]) == NULL) {
            reader_fail(r, at, "tagOwners[%s]: tag names have letters, digits and '-' only", reader_quote(r, name));
            return;
        }
    }
}

void reader_tags(struct reader *r)
{
    const struct json *section = r->section[SECTION_TAG_OWNERS];
    struct policy_doc *doc = r->doc;
    size_t count = 0;
    if (!reader_is(r, section, JSON_OBJECT, "tagOwners") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->tags, "tags"))
        return;
    doc->tag = arena_zalloc(&doc->arena, json_len(section), sizeof(*doc->tag));
    JSON_EACH (it, section) {
        struct tag *t = &doc->tag[doc->tag_n++];
        t->name = json_key_of(it);
        check_tag_name(r, it, t->name);
        map_put(&doc->tag_by_name, t->name.p, t->name.len, t);
    }
}

void reader_tag_owners(struct reader *r)
{
    enum {
        OWNERS = SEL_BIT(SEL_USER) | SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_ROLE) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAG)
    };
    const struct json *section = r->section[SECTION_TAG_OWNERS];
    size_t i = 0;
    if (r->doc->tag_n == 0)
        return;
    JSON_EACH (it, section)
        r->doc->tag[i++].owner = reader_selectors(r, it, "tag owners", OWNERS, "tagOwners: ", "the owner of a tag");
}
