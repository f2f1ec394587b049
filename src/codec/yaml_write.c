/* JSON trees as YAML, in the subset where YAML 1.1 (PyYAML) and 1.2 readers agree.
 * src: YAML 1.2.2 7.3 (scalar styles), 5.1 (characters), 7.4.2 (keys of more than 1024 characters); yaml.org/type
 * for 1.1. */
#include <string.h>

#include "base/map.h"
#include "base/show.h"
#include "base/utf8.h"
#include "codec/yaml.h"

enum { SIMPLE_KEY_MAX_BYTES = 128 };

static void put_value(struct buf *out, const struct json *node, unsigned indent, bool after_dash);

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Words that some reader takes for a boolean or null. Whatever starts like a number is quoted by its first byte. */
static bool is_reserved(struct str s)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq_ci(s, str_c(words[i])))
            return true;
    }
    return false;
}

/* Narrower than YAML allows: what is plain here is plain text for every reader. */
static bool is_plain(struct str s)
{
    if (s.len == 0 || (!is_letter(s.p[0]) && s.p[0] != '/') || is_reserved(s))
        return false;
    for (size_t i = 1; i < s.len; i++) {
        char c = s.p[i];
        if (is_letter(c) || (c >= '0' && c <= '9') || strchr("_-./@+", c) != NULL)
            continue;
        /* Allowed between other characters only. */
        if ((c != ' ' && c != ':') || i + 1 == s.len || s.p[i + 1] == ' ' || s.p[i + 1] == ':')
            return false;
    }
    return memchr(s.p, '\0', s.len) == NULL;
}

static unsigned put_quoted_char(struct buf *out, const char *p, const char *end)
{
    uint8_t c = (uint8_t)*p;
    if (c == '"' || c == '\\') {
        buf_append_byte(out, '\\');
        buf_append_byte(out, c);
    } else if (c == '\n' || c == '\t') {
        buf_append_c(out, c == '\n' ? "\\n" : "\\t");
    } else if (c < ' ' || c == 0x7f) {
        buf_printf(out, "\\x%02x", c);
    } else if (c < 0x80) {
        buf_append_byte(out, c);
    } else {
        unsigned len = utf8_seq_len(p, end);
        uint32_t code = len > 0 ? utf8_decode(p, len) : 0xfffd;
        if (show_is_plain(code) && code != 0xa0 && len > 0)
            buf_append(out, p, len);
        else
            buf_printf(out, code > 0xffff ? "\\U%08x" : "\\u%04x", code);
        return len > 0 ? len : 1;
    }
    return 1;
}

static void put_string(struct buf *out, struct str s)
{
    if (is_plain(s)) {
        buf_append_str(out, s);
        return;
    }
    const char *end = s.p + s.len;
    buf_append_byte(out, '"');
    for (const char *p = s.p; p < end;)
        p += put_quoted_char(out, p, end);
    buf_append_byte(out, '"');
}

/* YAML 1.1 requires a point and a sign in a number with an exponent. */
static void put_number(struct buf *out, struct str s)
{
    long e = str_index(s, 'e');
    if (e < 0)
        e = str_index(s, 'E');
    if (e < 0) {
        buf_append_str(out, s);
        return;
    }
    struct str mantissa = str_n(s.p, (size_t)e);
    struct str exponent = str_n(s.p + e + 1, s.len - (size_t)e - 1);
    buf_append_str(out, mantissa);
    if (str_index(mantissa, '.') < 0)
        buf_append_c(out, ".0");
    buf_append_byte(out, 'e');
    if (exponent.p[0] != '-' && exponent.p[0] != '+')
        buf_append_byte(out, '+');
    buf_append_str(out, exponent);
}

static void put_indent(struct buf *out, unsigned indent)
{
    memset(buf_reserve(out, indent), ' ', indent);
    buf_commit(out, indent);
}

static void put_array(struct buf *out, const struct json *node, unsigned indent, bool after_dash)
{
    JSON_EACH (it, node) {
        if (!after_dash)
            put_indent(out, indent);
        after_dash = false;
        buf_append_c(out, "- ");
        put_value(out, it, indent + 2, true);
    }
}

/* "key:" without what follows. */
static void put_key(struct buf *out, struct str key, unsigned indent)
{
    if (key.len <= SIMPLE_KEY_MAX_BYTES) {
        put_string(out, key);
    } else {
        buf_append_c(out, "? ");
        put_string(out, key);
        buf_append_byte(out, '\n');
        put_indent(out, indent);
    }
    buf_append_byte(out, ':');
}

static void put_object(struct buf *out, const struct json *node, unsigned indent, bool after_dash)
{
    struct map last;
    map_init(&last, NULL);
    JSON_EACH (it, node) {
        struct str key = json_key_of(it);
        map_put(&last, key.p, key.len, (void *)it);
    }
    JSON_EACH (it, node) {
        struct str key = json_key_of(it);
        if (map_get(&last, key.p, key.len) != it)
            continue;
        if (!after_dash)
            put_indent(out, indent);
        after_dash = false;
        put_key(out, key, indent);
        bool is_block = json_len(it) > 0;
        buf_append_byte(out, is_block ? '\n' : ' ');
        put_value(out, it, indent + 2, false);
    }
    map_fini(&last);
}

/* Writes the value and its line end. A container with content starts its own lines at `indent`, except that its first
 * line goes on behind "- ". Recursion is bounded by JSON_DEPTH_MAX. */
static void put_value(struct buf *out, const struct json *node, unsigned indent, bool after_dash)
{
    struct str text;
    switch (json_type_of(node)) {
    case JSON_ARRAY:
        if (json_len(node) > 0) {
            put_array(out, node, indent, after_dash);
            return;
        }
        buf_append_c(out, "[]");
        break;
    case JSON_OBJECT:
        if (json_len(node) > 0) {
            put_object(out, node, indent, after_dash);
            return;
        }
        buf_append_c(out, "{}");
        break;
    case JSON_STRING:
        json_str(node, &text);
        put_string(out, text);
        break;
    case JSON_NUMBER: put_number(out, json_raw(node)); break;
    case JSON_NULL: buf_append_c(out, "null"); break;
    case JSON_BOOL: buf_append_str(out, json_raw(node)); break;
    }
    buf_append_byte(out, '\n');
}

void yaml_from_json(const struct json *root, struct buf *out)
{
    put_value(out, root, 0, false);
}
