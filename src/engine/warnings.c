/* What may be a mistake in an accepted policy. */
#include <stdio.h>
#include <string.h>

#include "engine/tables.h"

/* Finds the first position of the string; none when it is written with escapes. */
static void find_position(const struct policy_doc *doc, struct str text, struct policy_error *out)
{
    struct str clean = doc->clean;
    const char *from = clean.p, *end = clean.p + clean.len, *at;
    while (text.len > 0 && (at = memmem(from, (size_t)(end - from), text.p, text.len)) != NULL) {
        const char *after = at + text.len;
        if (at > clean.p && at[-1] == '"' && after < end && *after == '"') {
            doc_position(doc, (size_t)(at - 1 - clean.p), &out->line, &out->col);
            return;
        }
        from = at + 1;
    }
}

/* Adds a warning. `text`: the string of the policy that it is about. */
static void warn(const struct engine *e, struct str text, const char *where, const char *what,
                 struct policy_errors *out)
{
    if (out->n == POLICY_ERRORS_MAX) {
        out->left_out++;
        return;
    }
    struct policy_error *added = &out->v[out->n++];
    find_position(e->doc, text, added);
    added->text = arena_printf(&out->arena, "%.*s%s%s%s", (int)(text.len < 200 ? text.len : 200), text.p, where,
                               text.len > 0 ? ": " : "", what);
}

static void warn_user(const struct engine *e, struct str text, const char *where, struct policy_errors *out)
{
    bool is_ambiguous;
    if (owners_find(&e->owners, text, &is_ambiguous) == NULL)
        warn(e, text, where, is_ambiguous ? "several users match; none is meant" : "no such user; nobody is meant",
             out);
}

/* What this server does not act on. */
static void warn_unused(const struct engine *e, struct policy_errors *out)
{
    size_t check_n = 0;
    for (size_t i = 0; i < e->doc->warning_n && out->n < POLICY_ERRORS_MAX; i++) {
        struct policy_error *added = &out->v[out->n++];
        doc_position(e->doc, e->doc->warning[i].offset, &added->line, &added->col);
        added->text = arena_str(&out->arena, e->doc->warning[i].text).p;
    }
    out->left_out += e->doc->warnings_left_out;
    if (!e->doc->has_rules)
        warn(e, STR_EMPTY, "", "neither \"acls\" nor \"grants\": every node reaches every other", out);
    for (size_t i = 0; i < e->doc->ssh_n; i++)
        check_n += e->doc->ssh[i].is_check;
    if (check_n > 0)
        warn(e, STR("check"), " in ssh", "logins that need a check are refused for now", out);
}

/* The SSH policy for old clients excludes the known names only: there are more than can be listed. */
static void warn_old_ssh(const struct engine *e, struct policy_errors *out)
{
    const struct engine_node *n;
    size_t old_n = 0, pos = 0, nonroot_n = 0;
    char what[160];
    for (size_t i = 0; i < e->doc->ssh_n; i++)
        nonroot_n += e->doc->ssh[i].has_nonroot;
    while (nonroot_n > 0 && (n = map_next(&e->nodes.by_id, &pos)) != NULL)
        old_n += n->has_old_ssh;
    if (old_n == 0)
        return;
    snprintf(what, sizeof(what),
             "%zu node%s run%s a client before 1.98.10, where some login names mean root: update %s", old_n,
             old_n == 1 ? "" : "s", old_n == 1 ? "s" : "", old_n == 1 ? "it" : "them");
    warn(e, STR("autogroup:nonroot"), " in ssh", what, out);
}

void engine_warnings(const struct engine *e, struct policy_errors *out)
{
    warn_unused(e, out);
    warn_old_ssh(e, out);
    for (sel_id i = 0; i < e->doc->sel_n; i++) {
        if (e->doc->sel[i].kind == SEL_USER)
            warn_user(e, e->doc->sel[i].text, "", out);
    }
    for (size_t g = 0; g < e->doc->group_n; g++) {
        for (size_t i = 0; i < e->doc->group[g].member_n; i++)
            warn_user(e, e->doc->group[g].member[i], " in a group", out);
    }
}
