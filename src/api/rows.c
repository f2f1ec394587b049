#include "api/rows.h"

#include <stdio.h>

#include "codec/json.h"

/* --- users --- */

static void write_nothing(struct json_writer *w, const struct op_view *v)
{
    (void)v;
    json_w_cstr(w, "");
}

static void write_role(struct json_writer *w, const struct op_view *v)
{
    const struct user *u = v->row;
    json_w_cstr(w, user_role_name(u->role));
}

static const struct op_field user_fields[] = {
    OP_FIELD("id", FIELD_ID, user, id, .help = "of the user; never given again"),
    OP_FIELD("name", FIELD_TEXT, user, name, .help = "login name, unique"),
    OP_FIELD("createdAt", FIELD_TIME, user, created_ms, .help = "when the user was created"),
    OP_FIELD("displayName", FIELD_TEXT, user, display_name, .help = "name to display; may be empty"),
    OP_FIELD("email", FIELD_TEXT, user, email, .help = "e-mail address; may be empty"),
    OP_FIELD_BY("providerId", FIELD_TEXT, write_nothing, .help = "empty: users come from no provider"),
    OP_FIELD_BY("provider", FIELD_TEXT, write_nothing, .help = "empty: users come from no provider"),
    OP_FIELD("profilePicUrl", FIELD_TEXT, user, picture_url, .help = "picture that clients show; may be empty"),
    OP_FIELD_BY("role", FIELD_TEXT, write_role, .choices = API_ROLES,
                .help = "which autogroups of the policy it is in"),
};
OP_OBJECT(api_user_object, "User", user_fields, "A person who owns nodes");

void api_write_user(struct json_writer *w, const struct user *u)
{
    op_object_write(w, &api_user_object, &(const struct op_view){.row = u});
}

/* --- auth keys --- */

/* The whole key when it is shown this once, else only how it begins. */
static void write_secret(struct json_writer *w, const char *prefix, const char *text)
{
    char shown[KEY_PREFIX_CAP + 8];
    snprintf(shown, sizeof(shown), "%s-***", prefix);
    json_w_cstr(w, text != NULL ? text : shown);
}

static void write_owner(struct json_writer *w, const struct op_view *v)
{
    api_write_user(w, v->owner);
}

static void write_key_text(struct json_writer *w, const struct op_view *v)
{
    const struct auth_key *k = v->row;
    write_secret(w, k->prefix, v->secret);
}

static const struct op_field key_fields[] = {
    OP_FIELD_BY("user", FIELD_OBJECT, write_owner, .object = &api_user_object, .is_nullable = true,
                .help = "who owns the nodes that join with it; null: nobody, they are tagged"),
    OP_FIELD("id", FIELD_ID, auth_key, id, .help = "of the key; never given again"),
    OP_FIELD_BY("key", FIELD_TEXT, write_key_text,
                .help = "the key itself in the answer that creates it, afterwards only how it begins"),
    OP_FIELD("reusable", FIELD_BOOL, auth_key, is_reusable, .help = "whether several nodes may join with it"),
    OP_FIELD("ephemeral", FIELD_BOOL, auth_key, is_ephemeral,
             .help = "whether its nodes are deleted some time after they go offline"),
    OP_FIELD("used", FIELD_BOOL, auth_key, is_used, .help = "whether a node has joined with it"),
    OP_FIELD("expiration", FIELD_TIME, auth_key, expires_ms, .help = "until when it can be used; null: for ever"),
    OP_FIELD("createdAt", FIELD_TIME, auth_key, created_ms, .help = "when it was created"),
    OP_FIELD("aclTags", FIELD_TEXTS, auth_key, tags, .help = "tags that its nodes get"),
    OP_FIELD("maxNodes", FIELD_NUMBER, auth_key, max_nodes, .help = "how many may join with it in all; 0: any number"),
    OP_FIELD("joined", FIELD_NUMBER, auth_key, joined_n, .help = "how many have"),
    OP_FIELD("sources", FIELD_PREFIXES, auth_key, sources, .help = "networks that nodes must connect from; empty: any"),
};
OP_OBJECT(api_key_object, "PreAuthKey", key_fields, "An auth key: machines join with it, without a login");

void api_write_key(struct json_writer *w, const struct auth_key *k, const struct user *owner, const char *text)
{
    op_object_write(w, &api_key_object, &(const struct op_view){.row = k, .owner = owner, .secret = text});
}

/* --- relays --- */

static void write_addresses(struct json_writer *w, const struct addr *v4, const struct addr *v6)
{
    char text[ADDR_TEXT_CAP];
    const struct addr *const both[] = {v4, v6};
    json_w_array(w);
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        if (both[i]->family == 0)
            continue;
        addr_format(both[i], false, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

static void write_relay_key(struct json_writer *w, const struct op_view *v)
{
    const struct relay_host *r = v->row;
    write_secret(w, r->prefix, v->secret);
}

static void write_relay_addresses(struct json_writer *w, const struct op_view *v)
{
    const struct relay_host *r = v->row;
    write_addresses(w, &r->report.ipv4, &r->report.ipv6);
}

static const struct op_field relay_fields[] = {
    OP_FIELD("id", FIELD_ID, relay_host, id, .help = "of the relay; never given again"),
    OP_FIELD("name", FIELD_TEXT, relay_host, name, .help = "unique; a DNS label"),
    OP_FIELD_BY("key", FIELD_TEXT, write_relay_key,
                .help = "the key itself in the answer that creates it, afterwards only how it begins"),
    OP_FIELD("regionId", FIELD_NUMBER, relay_host, region_id, .help = "number of its DERP region"),
    OP_FIELD("regionCode", FIELD_TEXT, relay_host, region_code, .help = "short name of the region"),
    OP_FIELD("regionName", FIELD_TEXT, relay_host, region_name, .help = "name of the region to display"),
    OP_FIELD("up", FIELD_BOOL, relay_host, is_up, .help = "whether it is in the DERP map now"),
    OP_FIELD("hostname", FIELD_TEXT, relay_host, report.host_name,
             .help = "DNS name or address at which nodes reach it; empty until it has announced itself"),
    OP_FIELD_BY("ipAddresses", FIELD_TEXTS, write_relay_addresses, .help = "its addresses; empty: by DNS"),
    OP_FIELD("derpPort", FIELD_NUMBER, relay_host, report.derp_port, .help = "TCP port of DERP"),
    OP_FIELD("stunPort", FIELD_NUMBER, relay_host, report.stun_port, .help = "UDP port of STUN; 0: none"),
    OP_FIELD("certName", FIELD_TEXT, relay_host, report.cert_name,
             .help = "name in its certificate, or sha256-raw: and the certificate's hash; empty: its host name"),
    OP_FIELD("lastSeen", FIELD_TIME, relay_host, last_seen_ms, .help = "when it last came or went; null: never"),
    OP_FIELD("createdAt", FIELD_TIME, relay_host, created_ms, .help = "when it was enrolled"),
};
OP_OBJECT(api_relay_object, "Relay", relay_fields, "A relay (DERP) on another machine");

void api_write_relay(struct json_writer *w, const struct relay_host *r, const char *text)
{
    op_object_write(w, &api_relay_object, &(const struct op_view){.row = r, .secret = text});
}

/* --- nodes --- */

static void write_machine_key(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    char text[KEY_TEXT_CAP];
    machine_key_format(&n->machine, text);
    json_w_cstr(w, text);
}

static void write_node_key(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    char text[KEY_TEXT_CAP];
    node_key_format(&n->key, text);
    json_w_cstr(w, text);
}

static void write_disco_key(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    char text[KEY_TEXT_CAP];
    disco_key_format(&n->disco, text);
    json_w_cstr(w, text);
}

static void write_node_addresses(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    write_addresses(w, &n->v4, &n->v6);
}

/* The owner that tagged nodes show is nobody's. */
static void write_node_owner(struct json_writer *w, const struct op_view *v)
{
    static const struct user tagged = {
        .id = TAGGED_DEVICES_USER, .name = "tagged-devices", .display_name = "Tagged Devices"};
    const struct node *n = v->row;
    api_write_user(w, n->tags != NULL ? &tagged : v->owner);
}

static void write_node_auth_key(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    api_write_key(w, v->key, v->key != NULL && v->key->user == n->user ? v->owner : NULL, NULL);
}

static void write_register_method(struct json_writer *w, const struct op_view *v)
{
    (void)v;
    json_w_cstr(w, "REGISTER_METHOD_AUTH_KEY");
}

/* The routes whose traffic other nodes send to it now: those whose primary it is, and exit routes.
 * src: Headscale 0.30-dev REST API v1 */
static void write_served(struct json_writer *w, const struct op_view *v)
{
    const struct node *n = v->row;
    char text[PREFIX_TEXT_CAP];
    struct prefix p;
    json_w_array(w);
    for (size_t pos = 0; node_serves_next(n, &pos, &p);) {
        if (p.bits != 0 && !prefix_list_has(n->primary, &p))
            continue;
        prefix_format(&p, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}

static void write_of_host(struct json_writer *w, const struct op_view *v, const char *member)
{
    struct str text = STR_EMPTY;
    (void)json_str(json_get(v->host, member), &text);
    json_w_str(w, text);
}

static void write_os(struct json_writer *w, const struct op_view *v)
{
    write_of_host(w, v, "OS");
}

static void write_client_version(struct json_writer *w, const struct op_view *v)
{
    write_of_host(w, v, "IPNVersion");
}

static const struct op_field node_fields[] = {
    OP_FIELD("id", FIELD_ID, node, id, .help = "of the node"),
    OP_FIELD_BY("machineKey", FIELD_TEXT, write_machine_key, .help = "public key of the machine"),
    OP_FIELD_BY("nodeKey", FIELD_TEXT, write_node_key, .help = "public key of the node"),
    OP_FIELD_BY("discoKey", FIELD_TEXT, write_disco_key, .help = "public key with which it finds paths to others"),
    OP_FIELD_BY("ipAddresses", FIELD_TEXTS, write_node_addresses, .help = "its addresses in the tailnet"),
    OP_FIELD("name", FIELD_TEXT, node, hostname, .help = "what the machine calls itself"),
    OP_FIELD_BY("user", FIELD_OBJECT, write_node_owner, .object = &api_user_object, .is_nullable = true,
                .help = "its owner; the user tagged-devices for a node that has tags"),
    OP_FIELD("lastSeen", FIELD_TIME, node, last_seen_ms,
             .help = "when it last went offline or, while it is online, came online"),
    OP_FIELD("expiry", FIELD_TIME, node, expires_ms, .help = "when its key expires; null: never"),
    OP_FIELD_BY("preAuthKey", FIELD_OBJECT, write_node_auth_key, .object = &api_key_object, .is_nullable = true,
                .help = "the key that it joined with; null: it has been deleted"),
    OP_FIELD("createdAt", FIELD_TIME, node, created_ms, .help = "when it joined"),
    OP_FIELD_BY("registerMethod", FIELD_TEXT, write_register_method, .choices = "REGISTER_METHOD_AUTH_KEY",
                .help = "how it joined"),
    OP_FIELD("givenName", FIELD_TEXT, node, name, .help = "its MagicDNS name, without the domain; unique"),
    OP_FIELD("online", FIELD_BOOL, node, is_online, .help = "whether it is connected"),
    OP_FIELD("approvedRoutes", FIELD_PREFIXES, node, approved, .help = "routes that it may serve"),
    OP_FIELD("availableRoutes", FIELD_PREFIXES, node, advertised, .help = "routes that it advertises"),
    OP_FIELD_BY("subnetRoutes", FIELD_PREFIXES, write_served, .help = "routes whose traffic others send to it now"),
    OP_FIELD("tags", FIELD_TEXTS, node, tags, .help = "its tags; a tagged node has no owner"),
    OP_FIELD("expired", FIELD_BOOL, node, is_expired, .help = "whether its key has expired"),
    OP_FIELD("ephemeral", FIELD_BOOL, node, is_ephemeral,
             .help = "whether it is deleted some time after it goes offline"),
    OP_FIELD_BY("os", FIELD_TEXT, write_os, .help = "operating system, as the client says; may be empty"),
    OP_FIELD_BY("clientVersion", FIELD_TEXT, write_client_version, .help = "as the client says; may be empty"),
};
OP_OBJECT(api_node_object, "Node", node_fields, "A machine of the network");

void api_write_node(struct json_writer *w, const struct node *n, const struct user *owner, const struct auth_key *key,
                    struct arena *scratch)
{
    struct op_view v = {.row = n, .owner = owner, .key = key};
    if (n->hostinfo != NULL &&
        json_parse(scratch, str_n(n->hostinfo->data, n->hostinfo->len), NULL, &v.host, NULL) != RC_OK)
        v.host = NULL;
    op_object_write(w, &api_node_object, &v);
}
