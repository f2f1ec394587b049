#include <stdio.h>

#include "state/state_internal.h"

static bool label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* src: RFC 1035 2.3.1. Other characters, such as underscores, become dashes; several in a row become one. */
void node_name_from_hostname(struct str hostname, char out[NAME_CAP])
{
    size_t n = 0;
    struct str first, rest;
    str_cut(hostname, '.', &first, &rest);
    for (size_t i = 0; i < first.len && n < NAME_CAP - 1; i++) {
        char c = first.p[i];
        if (c == '\'')
            continue; /* "Anna's phone" is annas-phone */
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        if (label_char(c))
            out[n++] = c;
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n > 0 && out[n - 1] == '-')
        n--;
    out[n] = '\0';
    if (n == 0)
        snprintf(out, NAME_CAP, "node");
}

bool node_name_is_label(struct str name)
{
    if (name.len == 0 || name.len >= NAME_CAP || name.p[0] == '-' || name.p[name.len - 1] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (!label_char(name.p[i]) && name.p[i] != '-')
            return false;
    }
    return true;
}

void node_name_make_unique(const struct state *st, const char *base, const struct node_record *self, char out[NAME_CAP])
{
    snprintf(out, NAME_CAP, "%s", base);
    for (unsigned i = 1;; i++) {
        const struct node_record *holder = map_get(&st->by_name, out, strlen(out));
        if (holder == NULL || holder == self)
            return;
        char suffix[16];
        int suffix_len = snprintf(suffix, sizeof(suffix), "-%u", i);
        snprintf(out, NAME_CAP, "%.*s%s", NAME_CAP - 1 - suffix_len, base, suffix);
    }
}

/* src: docs/protocol/control.md 5.5: "tag:" + letter + letters, digits, dashes */
bool node_tag_is_valid(struct str tag)
{
    if (!str_starts(tag, STR("tag:")) || tag.len < 5 || tag.len > 128)
        return false;
    char first = (char)(tag.p[4] | 0x20);
    if (first < 'a' || first > 'z')
        return false;
    for (size_t i = 5; i < tag.len; i++) {
        if (!label_char((char)(tag.p[i] >= 'A' && tag.p[i] <= 'Z' ? tag.p[i] + 32 : tag.p[i])) && tag.p[i] != '-')
            return false;
    }
    return true;
}
