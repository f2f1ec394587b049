/* The configuration: one YAML file, overridden by the environment, checked against one table (schema.c) into one
 * struct.
 *
 * Every key is optional: an empty file serves on port 8080 with SQLite. Key names are Headscale's where the meaning is
 * the same. Environment: FULLSCALE_ + the key in capitals with '_' for '.'; lists are split at spaces or commas; an
 * empty variable counts as unset. The file: what --config names, else $FULLSCALE_CONFIG, else the first that exists of
 * /etc/fullscale/config.yaml and ./config.yaml, else none.
 *
 * A loaded configuration is immutable and may be read by any thread. Loading blocks on the file system. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/rc.h"
#include "base/str.h"

struct config_strings {
    const char **items;
    size_t n;
};

/* Where to listen. addr.family 0: switched off (""). */
struct config_listen {
    const char *text; /* as written */
    struct addr addr;
};

/* ip.family 0: not set (""). Host bits are zero. */
struct config_prefix {
    const char *text;
    struct addr ip;
    uint8_t bits;
};

struct config_prefixes {
    struct config_prefix *items;
    size_t n;
};

/* Queries for names below `domain` go to `servers` (IP addresses or DNS-over-HTTPS URLs). */
struct config_split {
    const char *domain;
    struct config_strings servers;
};

struct config_splits {
    struct config_split *items;
    size_t n;
};

struct config_record {
    const char *name;
    const char *type; /* "A" or "AAAA" */
    const char *value;
};

struct config_records {
    struct config_record *items;
    size_t n;
};

enum config_allocation { CONFIG_ALLOCATION_SEQUENTIAL, CONFIG_ALLOCATION_RANDOM };
enum config_database { CONFIG_DATABASE_SQLITE };
enum config_policy_mode { CONFIG_POLICY_FILE, CONFIG_POLICY_DATABASE };
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };

/* Strings are never null and belong to the configuration; "" means not set. Relative paths in the file have been
 * resolved against the file's directory. Durations are milliseconds. */
struct config {
    const char *server_url; /* scheme://host[:port], no trailing slash */
    struct config_listen listen_addr;
    struct config_listen metrics_listen_addr;
    const char *state_dir;
    const char *unix_socket;
    int64_t unix_socket_permission; /* mode bits */
    int64_t workers;                /* 0 = one per CPU */
    const char *tls_cert_path;      /* both or none */
    const char *tls_key_path;
    struct config_prefixes trusted_proxies;
    struct config_strings allowed_hosts; /* names, besides those of server_url and of the relay */

    const char *noise_private_key_path;

    struct config_prefix prefix_v4; /* at least one of both is set */
    struct config_prefix prefix_v6;
    int64_t prefix_allocation; /* enum config_allocation */

    bool derp_server_enabled;
    bool derp_server_verify_clients;
    bool derp_server_add_region; /* put the embedded relay into the DERP map */
    int64_t derp_server_region_id;
    const char *derp_server_region_code;
    const char *derp_server_region_name;
    const char *derp_server_hostname;             /* default: the host of server_url */
    struct config_listen derp_server_listen_addr; /* off: the relay is at listen_addr */
    uint16_t derp_public_port;                    /* of derp_server_hostname, where clients reach the relay; no key */
    struct config_listen derp_server_stun_listen_addr;
    const char *derp_server_private_key_path;
    const char *derp_server_tls_cert_path; /* made (self-signed) when absent */
    const char *derp_server_tls_key_path;
    const char *derp_server_ipv4; /* "" or an address */
    const char *derp_server_ipv6;
    const char *derp_server_mesh_key_path;       /* "" or a file; set when derp_server_mesh_with is not empty */
    struct config_strings derp_server_mesh_with; /* host[:port][/dial][/sha256-raw:<hex>]; see relay/mesh.h */
    bool derp_verify_unauthenticated;            /* POST /verify answers without authentication */
    bool relay_fail_open;
    int64_t relay_drain_ms;
    struct config_strings derp_urls;
    int64_t derp_limits_connections;
    int64_t derp_limits_accepts_per_address; /* 1/s; 0 = no limit */
    int64_t derp_limits_client_rate_bytes;   /* 1/s; 0 = no limit */
    int64_t derp_limits_client_burst_bytes;
    int64_t derp_limits_client_queue_bytes;
    int64_t derp_limits_write_timeout_ms; /* 0 = never */
    int64_t derp_limits_login_timeout_ms;
    struct config_strings derp_paths;
    bool derp_auto_update_enabled;
    int64_t derp_update_frequency_ms;

    int64_t database_type; /* enum config_database */
    const char *database_sqlite_path;
    int64_t database_sqlite_wal_autocheckpoint; /* pages */

    bool dns_magic_dns;
    bool dns_override_local_dns;
    const char *dns_base_domain; /* no trailing dot */
    struct config_strings dns_nameservers_global;
    struct config_splits dns_nameservers_split;
    struct config_strings dns_search_domains;
    struct config_records dns_extra_records;

    int64_t policy_mode;     /* enum config_policy_mode */
    const char *policy_path; /* of the file; "": no policy, all nodes reach each other */

    int64_t node_expiry_ms; /* 0 = never */
    int64_t node_ephemeral_inactivity_timeout_ms;
    int64_t auth_keys_alarm_joins;            /* nodes that join with one key within an hour; 0: no alarm */
    int64_t node_routes_ha_probe_interval_ms; /* 0 = off */
    int64_t node_routes_ha_probe_timeout_ms;

    int64_t log_level;  /* enum log_level */
    int64_t log_format; /* enum config_log_format */

    bool logtail_enabled;
    bool taildrop_enabled;
    bool auto_update_enabled;
    bool randomize_client_port;

    int64_t limits_connections; /* per listener */
    int64_t limits_strangers_per_address;
    int64_t limits_connections_per_key;
    int64_t limits_accepts_per_address;    /* 1/s, where TLS is spoken; 0 = no limit */
    int64_t limits_handshakes_per_address; /* Noise handshakes a second; 0 = no limit */
    int64_t limits_handshake_timeout_ms;
    int64_t limits_idle_timeout_ms;
    int64_t limits_body_bytes;
};

/* What the loader takes from outside. config_source_system fills it; tests fill it by hand. Pointers are borrowed. */
struct config_source {
    const char *path;               /* --config, or null */
    const char *const *env;         /* like environ, or null */
    char primary_ip[ADDR_TEXT_CAP]; /* for the default server_url at the first start; "" = 127.0.0.1 */
    char checkout_path[512]; /* the configuration that `make run` serves in the checkout of this program; "": none */
    bool is_root;            /* chooses the default state_dir and unix_socket */
    bool is_client;          /* files that only the server reads are not checked */
    bool is_relay;           /* for `fullscale relay`: server_url is not used, so it is not checked */
};

/* `path` may be null. Looks at the interfaces of this machine. */
void config_source_system(const char *path, struct config_source *out);

/* Finds, reads and checks the file. On error `err` names file, line, column and the fix. */
MUST_CHECK enum rc config_load(const struct config_source *src, struct config **out, struct err *err);
/* The same with the file's text given. `file` is its name for messages and for relative paths. */
MUST_CHECK enum rc config_parse(const struct config_source *src, struct str yaml, const char *file, struct config **out,
                                struct err *err);
/* Null is fine; nulls the pointer. */
void config_destroy(struct config **cfg);

/* In state_dir: {"server_url","guessed"...} of the last start. A server_url that is not set is guessed once, and then
 * taken from this file: nodes keep using the one that they were given. */
#define CONFIG_LAST_START "last_start.json"

enum { CONFIG_HOST_CAP = 256 };
/* Writes the host of an http(s) URL, NUL-terminated; "" when `url` is none. */
void config_url_host(const char *url, char out[CONFIG_HOST_CAP]);
/* Whether a host is meant to be reached from the whole internet, as far as its name or address shows. */
bool config_is_public_host(const char *host);
/* The file that was read, "" when there was none. Borrowed. */
const char *config_path(const struct config *cfg);
/* Warnings for the operator at start, by number from 0: unknown and obsolete keys, and settings that will cause trouble
 * (such as plain http:// on a public name). Borrowed; null after the last. */
const char *config_warning(const struct config *cfg, size_t i);

/* Whether the key (a name of the reference) was set by the file or the environment. */
bool config_is_set(const struct config *cfg, const char *key);
/* Whether clients speak to a TLS proxy in front: https:// in server_url, and no certificate here. */
bool config_is_behind_proxy(const struct config *cfg);
/* Fills `err` with "KEY ..." and the position where the key was set, or the file where it can be set. Returns
 * `code`. */
enum rc config_err(const struct config *cfg, const char *key, enum rc code, struct err *err, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

/* Checks the file as `fullscale config check` does: every error and warning, one line each, into `report`. RC_OK or
 * RC_INVALID (some error). */
MUST_CHECK enum rc config_check(const struct config_source *src, struct buf *report);

enum config_reference_format {
    CONFIG_REFERENCE_TEXT,
    CONFIG_REFERENCE_MARKDOWN,
    CONFIG_REFERENCE_YAML,
    CONFIG_REFERENCE_JSON
};
/* Appends every key with type, default, unit and meaning. YAML is an example file with everything commented out. */
void config_reference(enum config_reference_format format, struct buf *out);
/* Appends the values in force, as YAML, secrets replaced by "(secret)". */
void config_dump(const struct config *cfg, struct buf *out);

#endif
