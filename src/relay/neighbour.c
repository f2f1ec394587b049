/* A neighbour of the mesh: as text, and as a copy that owns its texts. */
#include <string.h>

#include "base/mem.h"
#include "relay/mesh_internal.h"

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

void mesh_neighbour_copy(struct relay_neighbour *to, const struct relay_neighbour *from)
{
    *to = *from;
    to->host = mem_strdup(text_of(from->host));
    to->dial = mem_strdup(text_of(from->dial));
    to->fingerprint = mem_strdup(text_of(from->fingerprint));
}

void mesh_neighbour_fini(struct relay_neighbour *n)
{
    mem_free((char *)n->host);
    mem_free((char *)n->dial);
    mem_free((char *)n->fingerprint);
}

bool mesh_neighbour_equal(const struct relay_neighbour *a, const struct relay_neighbour *b)
{
    return strcmp(text_of(a->host), text_of(b->host)) == 0 && strcmp(text_of(a->dial), text_of(b->dial)) == 0 &&
           strcmp(text_of(a->fingerprint), text_of(b->fingerprint)) == 0 && a->port == b->port &&
           a->is_plain == b->is_plain;
}

static bool is_host(struct str s)
{
    struct addr ip;
    if (addr_parse_ip(s, &ip) == RC_OK)
        return true;
    if (s.len == 0 || s.len > MESH_NAME_MAX_BYTES || s.p[0] == '-' || s.p[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '-';
        if (!is_fit)
            return false;
    }
    return true;
}

static struct str cut(struct str *rest, char at)
{
    long i = str_index(*rest, at);
    struct str part = i < 0 ? *rest : str_n(rest->p, (size_t)i);
    *rest = i < 0 ? STR_EMPTY : str_n(rest->p + i + 1, rest->len - (size_t)i - 1);
    return part;
}

static enum rc read_host_port(struct str text, struct str *host_out, uint16_t *port_out)
{
    struct str host = text, port = STR_EMPTY;
    struct addr ip;
    uint64_t number = 0;
    bool has_port = false;
    if (str_starts(text, STR("["))) {
        if (str_index(text, ']') < 0)
            return RC_INVALID;
        port = str_n(text.p + 1, text.len - 1);
        host = cut(&port, ']');
        has_port = port.len > 0;
        if (addr_parse_ip(host, &ip) != RC_OK || (has_port && port.p[0] != ':'))
            return RC_INVALID;
        if (has_port)
            port = str_n(port.p + 1, port.len - 1);
    } else if (addr_parse_ip(text, &ip) != RC_OK && str_index(text, ':') >= 0) {
        port = text;
        host = cut(&port, ':');
        has_port = true;
    }
    if (!is_host(host))
        return RC_INVALID;
    if (has_port && (str_to_u64(port, &number) != RC_OK || number == 0 || number > UINT16_MAX))
        return RC_INVALID;
    *host_out = host;
    *port_out = (uint16_t)number;
    return RC_OK;
}

static bool is_pin(struct str hex)
{
    for (size_t i = 0; i < hex.len; i++)
        if (!((hex.p[i] >= '0' && hex.p[i] <= '9') || (hex.p[i] >= 'a' && hex.p[i] <= 'f')))
            return false;
    return hex.len == 64;
}

static const char *keep(char **store, struct str s)
{
    char *at = *store;
    memcpy(at, s.p, s.len);
    at[s.len] = '\0';
    *store += s.len + 1;
    return at;
}

enum rc relay_neighbour_parse(struct str text, char store[RELAY_NEIGHBOUR_CAP], struct relay_neighbour *out)
{
    const struct str pin_prefix = STR("sha256-raw:");
    struct relay_neighbour n = {0};
    struct str host, rest = text;
    if (text.len + 1 > RELAY_NEIGHBOUR_CAP)
        return RC_TOO_LARGE;
    if (str_ends(text, STR("/")))
        return RC_INVALID;
    TRY(read_host_port(cut(&rest, '/'), &host, &n.port));
    n.host = keep(&store, host);
    while (rest.len > 0) {
        struct str part = cut(&rest, '/');
        if (n.fingerprint != NULL) /* the last part */
            return RC_INVALID;
        if (str_starts(part, pin_prefix)) {
            part = str_n(part.p + pin_prefix.len, part.len - pin_prefix.len);
            if (!is_pin(part))
                return RC_INVALID;
            n.fingerprint = keep(&store, part);
        } else if (n.dial == NULL && is_host(part)) {
            n.dial = keep(&store, part);
        } else {
            return RC_INVALID;
        }
    }
    *out = n;
    return RC_OK;
}
