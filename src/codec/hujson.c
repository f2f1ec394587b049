#include "codec/hujson.h"

#include <string.h>

#include "codec/json_internal.h"

struct blanker {
    char *p;
    char *begin;
    char *end;
    char *comma; /* the last token, when it is a comma that may turn out to be trailing */
    bool after_value;
    struct err *err;
};

static enum rc unclosed(struct blanker *b, const char *at)
{
    int line, col;
    json_find_pos(b->begin, at, &line, &col);
    return err_set_at(b->err, RC_TRUNCATED, NULL, line, col, "comment is not closed");
}

static void blank(char *from, char *to)
{
    for (; from < to; from++) {
        if (*from != '\n' && *from != '\r')
            *from = ' ';
    }
}

/* The comment at `b->p`, if it is one. */
static enum rc blank_comment(struct blanker *b, bool *is_comment_out)
{
    char *start = b->p;
    size_t left = (size_t)(b->end - start);
    *is_comment_out = left >= 2 && (start[1] == '/' || start[1] == '*');
    if (!*is_comment_out)
        return RC_OK;
    char *stop = start[1] == '/' ? memchr(start, '\n', left) : memmem(start + 2, left - 2, "*/", 2);
    if (stop == NULL && start[1] == '*')
        return unclosed(b, start);
    if (stop == NULL)
        stop = b->end;
    else if (start[1] == '*')
        stop += 2;
    blank(start, stop);
    b->p = stop;
    return RC_OK;
}

static void skip_string(struct blanker *b)
{
    for (b->p++; b->p < b->end; b->p++) {
        if (*b->p == '"') {
            b->p++;
            return;
        }
        if (*b->p == '\\' && b->p + 1 < b->end)
            b->p++;
    }
}

/* One token that is neither white space nor comment. Only a comma behind a value can be a trailing one: in "[,]" it
 * stays and is refused. */
static void take_token(struct blanker *b)
{
    char c = *b->p;
    if ((c == ']' || c == '}') && b->comma != NULL)
        *b->comma = ' ';
    b->comma = c == ',' && b->after_value ? b->p : NULL;
    b->after_value = c != ',' && c != '[' && c != '{' && c != ':';
    if (c == '"')
        skip_string(b);
    else
        b->p++;
}

enum rc hujson_blank(struct arena *a, struct str text, struct str *clean_out, struct err *err)
{
    struct str copy = arena_str(a, text);
    struct blanker b = {.p = (char *)copy.p, .begin = (char *)copy.p, .end = (char *)copy.p + copy.len, .err = err};
    while (b.p < b.end) {
        bool is_comment = false;
        if (*b.p == '/')
            TRY(blank_comment(&b, &is_comment));
        if (is_comment)
            continue;
        if (*b.p == ' ' || *b.p == '\t' || *b.p == '\n' || *b.p == '\r')
            b.p++;
        else
            take_token(&b);
    }
    *clean_out = copy;
    return RC_OK;
}

enum rc hujson_parse(struct arena *a, struct str text, const struct json_limits *limits, const struct json **root_out,
                     struct str *clean_out, struct err *err)
{
    size_t max_bytes = (limits != NULL ? limits : &json_limits_default)->max_bytes;
    if (text.len > max_bytes)
        return err_set(err, RC_TOO_LARGE, "text of %zu bytes is too large (limit %zu)", text.len, max_bytes);
    struct str clean;
    TRY(hujson_blank(a, text, &clean, err));
    if (clean_out != NULL)
        *clean_out = clean;
    return json_parse(a, clean, limits, root_out, err);
}
