/* Loading of nodes. What the database holds is checked like anything from outside: disks fail, people edit. A row that
 * cannot be used is refused with the reason, and none of its values is sent to a client. */
#include "codec/json.h"
#include "proto/tailcfg.h"
#include "state/state_internal.h"

/* Parsed and written anew, as when a node sends it; null when it is no Hostinfo. */
static void clean_hostinfo(struct rcbuf **at, bool for_peers, struct err *odd)
{
    struct arena a = {0};
    struct hostinfo h;
    struct rcbuf *made = NULL;
    if (*at == NULL)
        return;
    if (hostinfo_read(&a, str_n((*at)->data, (*at)->len), &h) == RC_OK)
        made = for_peers ? hostinfo_for_peers(&h) : hostinfo_for_store(&h, NULL);
    else
        err_set(odd, RC_INVALID, "column %s is no Hostinfo: left out until the node says it again",
                for_peers ? "hostinfo_peers" : "hostinfo");
    arena_fini(&a);
    rcbuf_unref(at);
    *at = made;
}

static bool is_held(const struct map *by_addr, const struct addr *a)
{
    size_t len;
    const void *key = addresses_map_key(a, &len);
    return a->family != 0 && map_get(by_addr, key, len) != NULL;
}

static enum rc check_node(const struct state *st, const struct node *n, struct err *err)
{
    if (n->id == 0 || n->id > NODE_ID_MAX)
        return err_set(err, RC_INVALID, "its id is none that this server gives");
    if (!node_name_is_label(str_c(n->name)))
        return err_set(err, RC_INVALID, "column name is no DNS label");
    if (map_get(&st->by_key, n->key.b, KEY_BYTES) != NULL)
        return err_set(err, RC_INVALID, "another row has the same node_key");
    if (map_get(&st->by_name, n->name, strlen(n->name)) != NULL)
        return err_set(err, RC_INVALID, "another row has the same name");
    if (is_held(&st->by_addr, &n->v4) || is_held(&st->by_addr, &n->v6))
        return err_set(err, RC_INVALID, "another row has the same address");
    return state_load_check_tags(n->tags, err);
}

enum rc node_row_check(const struct state *st, struct node *n, struct err *err)
{
    TRY(check_node(st, n, err));
    state_load_fit_time(&n->created_ms);
    state_load_fit_expiry(&n->expires_ms);
    return RC_OK;
}

void node_row_clean_report(struct node *n, struct err *odd)
{
    clean_hostinfo(&n->hostinfo, false, odd);
    clean_hostinfo(&n->hostinfo_peers, true, odd);
    state_load_fit_time(&n->last_seen_ms);
    if (n->cap_version > INT32_MAX) /* Go's int on small clients */
        n->cap_version = 0;
}

enum rc state_load_node(struct state *st, struct node *n, struct err *err)
{
    if (n->id < st->records_cap && st->records[n->id] != NULL)
        return err_set(err, RC_INVALID, "another row has the same id");
    TRY(node_row_check(st, n, err));
    node_row_clean_report(n, err);
    struct prefix_list *claims = n->primary;
    n->primary = NULL;
    n->is_online = false;
    n->is_away = false;
    n->is_expired = n->is_ended; /* state_load_done looks at the date */
    st->is_installing = true;
    struct node_record *e = node_record_add(st, n);
    e->is_from_disk = true;
    e->claims = claims;
    return RC_OK;
}
