/* What a simulated node says of itself: the same members as a Linux client sends, of about the same size. */
#include <stdio.h>

#include "base/clock.h"
#include "base/time.h"
#include "bench/fleet.h"
#include "codec/json_write.h"

enum { ENDPOINT_LOCAL = 1, ENDPOINT_STUN = 2 }; /* src: tailscale 1.102 tailcfg.EndpointType */

enum { ENDPOINTS_MAX = 3, ENDPOINT_CAP = 24 };

struct endpoint {
    char text[ENDPOINT_CAP];
    unsigned type;
};

void sim_host_name(const struct sim *s, char out[64])
{
    snprintf(out, 64, "%.40s-%05u", s->fleet->opts->prefix, s->index);
}

/* One local endpoint, one found by STUN and, once the node has taken part in churn, a local one that carries the
 * number of its latest change. */
static unsigned endpoints_of(const struct sim *s, struct endpoint out[ENDPOINTS_MAX])
{
    unsigned n = 0, i = s->index, seq = s->endpoints_seq;
    if (s->knows >= SIM_KNOWS_ENDPOINTS) {
        snprintf(out[n].text, ENDPOINT_CAP, "192.168.%u.%u:41641", i >> 8 & 255, i & 255);
        out[n++].type = ENDPOINT_LOCAL;
    }
    if (s->knows >= SIM_KNOWS_STUN) {
        snprintf(out[n].text, ENDPOINT_CAP, "203.0.113.%u:%u", i & 255, 1024 + i % 60000);
        out[n++].type = ENDPOINT_STUN;
    }
    if (seq > 0) {
        snprintf(out[n].text, ENDPOINT_CAP, "10.%u.%u.%u:40000", seq >> 16 & 255, seq >> 8 & 255, seq & 255);
        out[n++].type = ENDPOINT_LOCAL;
    }
    return n;
}

void sim_describe(const struct sim *s, struct view_facts *out)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    unsigned n = endpoints_of(s, endpoints);
    *out = (struct view_facts){.hostinfo_mark = s->hostinfo_seq, .online = s->state == SIM_UP ? 2 : 1};
    for (unsigned i = 0; i < n; i++)
        out->endpoints += scan_digest(str_c(endpoints[i].text));
    if (s->knows >= SIM_KNOWS_NETINFO)
        out->derp = (uint16_t)s->fleet->opts->derp_region;
}

static void write_service(struct json_writer *w, const char *proto, unsigned port)
{
    json_w_object(w);
    json_w_kv_cstr(w, "Proto", proto);
    json_w_kv_u64(w, "Port", port);
    json_w_end_object(w);
}

static void write_services(struct json_writer *w, const struct sim *s)
{
    unsigned port = 32768 + s->index % 28000;
    json_w_key(w, "Services");
    json_w_array(w);
    write_service(w, "peerapi4", port);
    write_service(w, "peerapi6", port);
    json_w_end_array(w);
}

static void write_net_info(struct json_writer *w, const struct sim *s)
{
    char relay[32];
    snprintf(relay, sizeof(relay), "%u-v4", s->fleet->opts->derp_region);
    json_w_key(w, "NetInfo");
    json_w_object(w);
    json_w_kv_bool(w, "MappingVariesByDestIP", false);
    json_w_kv_bool(w, "WorkingIPv6", false);
    json_w_kv_bool(w, "OSHasIPv6", true);
    json_w_kv_bool(w, "WorkingUDP", true);
    json_w_kv_bool(w, "UPnP", false);
    json_w_kv_bool(w, "PMP", false);
    json_w_kv_bool(w, "PCP", false);
    json_w_kv_u64(w, "PreferredDERP", s->fleet->opts->derp_region);
    json_w_key(w, "DERPLatency");
    json_w_object(w);
    json_w_key(w, relay);
    json_w_f64(w, 0.0123);
    json_w_end_object(w);
    json_w_kv_cstr(w, "FirewallMode", "nft-default");
    json_w_end_object(w);
}

static void write_machine(struct json_writer *w, const struct sim *s, const char *name)
{
    uint8_t digest[32];
    char log_id[2 * sizeof(digest) + 1] = "", mark[32];
    sha256(name, strlen(name), digest);
    hex_encode(digest, sizeof(digest), log_id);
    snprintf(mark, sizeof(mark), SCAN_HOST_MARK "%u", s->hostinfo_seq);
    json_w_kv_cstr(w, "IPNVersion", "1.102.5-tde9ec7ee2-g5afc9f4c1");
    json_w_kv_cstr(w, "BackendLogID", log_id);
    json_w_kv_cstr(w, "OS", "linux");
    json_w_kv_cstr(w, "OSVersion", s->hostinfo_seq > 0 ? mark : "6.12.48-1-cloud-amd64");
    json_w_kv_bool(w, "Container", false);
    json_w_kv_cstr(w, "Distro", "debian");
    json_w_kv_cstr(w, "DistroVersion", "13.1");
    json_w_kv_cstr(w, "DistroCodeName", "trixie");
    json_w_kv_bool(w, "Desktop", false);
    json_w_kv_cstr(w, "Hostname", name);
    json_w_kv_cstr(w, "Machine", "x86_64");
    json_w_kv_cstr(w, "GoArch", "amd64");
    json_w_kv_cstr(w, "GoArchVar", "v1");
    json_w_kv_cstr(w, "GoVersion", "go1.26.8");
    json_w_kv_bool(w, "Userspace", false);
    json_w_kv_bool(w, "UserspaceRouter", false);
    json_w_kv_bool(w, "AppConnector", false);
}

static void write_tags(struct json_writer *w, char *const *tags)
{
    if (tags == NULL || tags[0] == NULL)
        return;
    json_w_key(w, "RequestTags");
    json_w_array(w);
    for (; *tags != NULL; tags++)
        json_w_cstr(w, *tags);
    json_w_end_array(w);
}

static void write_hostinfo(struct json_writer *w, const struct sim *s)
{
    char name[64];
    sim_host_name(s, name);
    json_w_key(w, "Hostinfo");
    json_w_object(w);
    write_machine(w, s, name);
    write_tags(w, s->fleet->classes[s->class].tags);
    if (s->knows >= SIM_KNOWS_SERVICES)
        write_services(w, s);
    if (s->knows >= SIM_KNOWS_NETINFO)
        write_net_info(w, s);
    json_w_end_object(w);
}

static void write_endpoints(struct json_writer *w, const struct sim *s)
{
    struct endpoint endpoints[ENDPOINTS_MAX];
    unsigned n = endpoints_of(s, endpoints);
    if (n == 0)
        return;
    json_w_key(w, "Endpoints");
    json_w_array(w);
    for (unsigned i = 0; i < n; i++)
        json_w_cstr(w, endpoints[i].text);
    json_w_end_array(w);
    json_w_key(w, "EndpointTypes");
    json_w_array(w);
    for (unsigned i = 0; i < n; i++)
        json_w_u64(w, endpoints[i].type);
    json_w_end_array(w);
}

void sim_write_register(const struct sim *s, bool is_logout, struct buf *out)
{
    struct json_writer w;
    char time[TIME_TEXT_CAP];
    time_format(clock_wall_ms(), time);
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_u64(&w, "Version", SIM_CAP_VERSION);
    json_w_kv_cstr(&w, "NodeKey", s->key_text);
    json_w_kv_cstr(&w, "OldNodeKey", "nodekey:0000000000000000000000000000000000000000000000000000000000000000");
    if (!is_logout) {
        json_w_key(&w, "Auth");
        json_w_object(&w);
        json_w_kv_cstr(&w, "AuthKey", s->fleet->classes[s->class].authkey);
        json_w_end_object(&w);
    }
    json_w_kv_cstr(&w, "Expiry", is_logout ? "1970-01-01T00:02:03Z" : "0001-01-01T00:00:00Z");
    json_w_kv_cstr(&w, "Followup", "");
    write_hostinfo(&w, s);
    json_w_kv_bool(&w, "Ephemeral", s->fleet->opts->is_ephemeral);
    json_w_kv_cstr(&w, "Timestamp", time);
    json_w_end_object(&w);
}

void sim_write_map_request(const struct sim *s, bool is_stream, struct buf *out)
{
    struct json_writer w;
    char disco[KEY_TEXT_CAP];
    disco_key_format(&s->disco, disco);
    json_w_init(&w, out);
    json_w_object(&w);
    json_w_kv_u64(&w, "Version", SIM_CAP_VERSION);
    json_w_kv_cstr(&w, "Compress", "zstd");
    json_w_kv_bool(&w, "KeepAlive", true);
    json_w_kv_cstr(&w, "NodeKey", s->key_text);
    json_w_kv_cstr(&w, "DiscoKey", disco);
    json_w_kv_bool(&w, "Stream", is_stream);
    write_hostinfo(&w, s);
    write_endpoints(&w, s);
    json_w_kv_bool(&w, "OmitPeers", !is_stream);
    json_w_end_object(&w);
}
