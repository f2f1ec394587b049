/* Folders that are written to, sockets and addresses. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/daemon_internal.h"
#include "daemon/port_holder_internal.h"
#include "daemon/preflight_internal.h"
#include "net/tcp.h"

/* --- folders --- */

static void report_folder(struct preflight *p, const char *key, const char *folder, const char *at, const char *why)
{
    if (strcmp(folder, at) == 0)
        preflight_report(p, FINDING_ERROR, RC_INVALID, key, "(%.200s) %s", folder, why);
    else
        preflight_report(p, FINDING_ERROR, RC_INVALID, key, "(%.150s) cannot be made: %.150s %s", folder, at, why);
}

/* Whether the folder exists and can be written to, or can be made. */
static void check_folder(struct preflight *p, const char *key, const char *folder)
{
    char at[PATH_MAX], parent[PATH_MAX];
    struct stat st;
    snprintf(at, sizeof(at), "%s", folder);
    while (stat(at, &st) != 0 && errno == ENOENT && strcmp(at, ".") != 0 && strcmp(at, "/") != 0) {
        file_directory(at, parent);
        memcpy(at, parent, sizeof(at));
    }
    if (stat(at, &st) != 0)
        report_folder(p, key, folder, at, strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        report_folder(p, key, folder, at, "is a file, and must be a folder");
    else if (access(at, W_OK | X_OK) != 0)
        report_folder(p, key, folder, at,
                      errno == EROFS ? "is on a file system that is read-only"
                                     : "may not be written to by this user (the server needs it): choose another, or "
                                       "start as the user that owns it");
}

static void check_folder_of(struct preflight *p, const char *key, const char *file)
{
    char folder[PATH_MAX];
    struct stat st;
    file_directory(file, folder);
    /* An existing file needs no writable folder; the file itself is checked elsewhere. */
    if (stat(file, &st) != 0 && strcmp(folder, p->cfg->state_dir) != 0)
        check_folder(p, key, folder);
}

/* These folders are made by `serve`, but not their parents. */
static void check_existing_folder_of(struct preflight *p, const char *key, const char *file)
{
    char folder[PATH_MAX];
    file_directory(file, folder);
    if (strcmp(folder, p->cfg->state_dir) == 0 || access(file, F_OK) == 0)
        return;
    if (access(folder, F_OK) != 0)
        preflight_report(p, FINDING_ERROR, RC_INVALID, key,
                         "(%.150s) is to be made in a folder that is not there: %.150s", file, folder);
    else
        check_folder(p, key, folder);
}

void preflight_folders(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    check_folder(p, "state_dir", cfg->state_dir);
    check_folder_of(p, "database.sqlite.path", cfg->database_sqlite_path);
    check_existing_folder_of(p, "noise.private_key_path", cfg->noise_private_key_path);
    if (cfg->derp_server_enabled)
        check_existing_folder_of(p, "derp.server.private_key_path", cfg->derp_server_private_key_path);
}

/* --- a copy, or what was moved --- */

static bool is_same_folder(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* A folder that holds configuration and data was copied or moved, and the configuration still names the old folder. */
void preflight_moved(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    const char *path = config_path(cfg);
    char beside[PATH_MAX], used[PATH_MAX], here[2 * PATH_MAX];
    const char *slash = strrchr(cfg->database_sqlite_path, '/');
    if (path[0] == '\0')
        return;
    file_directory(path, beside);
    file_directory(cfg->database_sqlite_path, used);
    snprintf(here, sizeof(here), "%s/%s", beside, slash != NULL ? slash + 1 : cfg->database_sqlite_path);
    if (access(here, F_OK) != 0 || is_same_folder(beside, used))
        return;
    if (access(cfg->database_sqlite_path, F_OK) != 0)
        preflight_report(
            p, FINDING_ERROR, RC_INVALID, "state_dir",
            "(%.120s) has no database, but there is one beside this configuration: %.120s. Was the folder moved? "
            "Write `state_dir: .` to go on with that one; to start an empty tailnet, move it away",
            cfg->state_dir, here);
    else
        preflight_report(
            p, FINDING_WARNING, RC_INVALID, "state_dir",
            "(%.120s) lies elsewhere than this configuration, and the database beside it is not used: %.120s. Was "
            "the folder copied? Write `state_dir: .` to use what is here",
            cfg->state_dir, here);
}

/* --- the socket --- */

void preflight_socket(struct preflight *p)
{
    const char *path = p->cfg->unix_socket;
    char folder[PATH_MAX];
    struct stat st;
    file_directory(path, folder);
    if (strcmp(folder, p->cfg->state_dir) != 0)
        check_folder(p, "unix_socket", folder);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        preflight_report(p, FINDING_ERROR, RC_INVALID, "unix_socket",
                         "(%.200s) is there and is no socket: move it away, or choose another path", path);
}

/* --- addresses --- */

static bool is_wildcard(const struct addr *a)
{
    static const uint8_t any[16];
    return memcmp(a->ip, any, a->family == 4 ? 4 : 16) == 0;
}

static int try_bind(const struct addr *at, int type)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(at, &sa);
    int fd = socket(sa.ss_family, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int why = bind(fd, (struct sockaddr *)&sa, len) == 0 ? 0 : errno;
    close(fd);
    return why;
}

/* Binds any free port of the address, so that a running server is not disturbed. */
static void check_address(struct preflight *p, const char *key, const struct config_listen *listen, int type)
{
    struct addr at;
    if (listen->addr.family == 0 || is_wildcard(&listen->addr))
        return;
    net_usable_addr(&listen->addr, &at);
    at.port = 0;
    int why = try_bind(&at, type);
    if (why == EADDRNOTAVAIL)
        preflight_report(p, FINDING_ERROR, RC_INVALID, key,
                         "(%s) is not an address of this machine: write one that it has, or [::] for all of them",
                         listen->text);
    else if (why != 0)
        preflight_report(p, FINDING_ERROR, RC_IO, key, "(%s) cannot be listened at: %s", listen->text, strerror(why));
}

/* server_url was guessed at the first start, and the machine has another address now. */
static void check_guessed_url(struct preflight *p)
{
    struct addr at;
    char host[CONFIG_HOST_CAP], memory[PATH_MAX];
    config_url_host(p->cfg->server_url, host);
    snprintf(memory, sizeof(memory), "%s/%s", p->cfg->state_dir, CONFIG_LAST_START);
    if (access(memory, F_OK) != 0 || config_is_set(p->cfg, "server_url") || addr_parse_ip(str_c(host), &at) != RC_OK)
        return;
    at.port = 0;
    if (try_bind(&at, SOCK_STREAM) == EADDRNOTAVAIL)
        preflight_report(
            p, FINDING_WARNING, RC_INVALID, "server_url",
            "is not set, and %s as at the first start, which is no address of this machine any more: nodes that have "
            "joined go on calling it. Give the machine that address again; or set server_url, and on each node: "
            "tailscale up --force-reauth --login-server URL",
            p->cfg->server_url);
}

void preflight_listeners(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    check_guessed_url(p);
    check_address(p, "listen_addr", &cfg->listen_addr, SOCK_STREAM);
    check_address(p, "metrics_listen_addr", &cfg->metrics_listen_addr, SOCK_STREAM);
    if (!cfg->derp_server_enabled)
        return;
    check_address(p, "derp.server.listen_addr", &cfg->derp_server_listen_addr, SOCK_STREAM);
    check_address(p, "derp.server.stun_listen_addr", &cfg->derp_server_stun_listen_addr, SOCK_DGRAM);
}

/* --- ports that are taken: mostly by a running server, which is no fault --- */

void preflight_ports(struct preflight *p)
{
    const struct config *cfg = p->cfg;
    const struct {
        const char *key;
        const struct config_listen *listen;
        int type;
    } all[] = {{"listen_addr", &cfg->listen_addr, SOCK_STREAM},
               {"metrics_listen_addr", &cfg->metrics_listen_addr, SOCK_STREAM},
               {"derp.server.listen_addr", &cfg->derp_server_listen_addr, SOCK_STREAM},
               {"derp.server.stun_listen_addr", &cfg->derp_server_stun_listen_addr, SOCK_DGRAM}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct port_holder h;
        if (all[i].listen->addr.family == 0 || !port_holder_find(&all[i].listen->addr, all[i].type, &h) ||
            strcmp(h.name, "fullscale") == 0)
            continue;
        char who[PORT_HOLDER_TEXT_CAP];
        port_holder_format(&h, who);
        preflight_report(p, FINDING_WARNING, RC_IN_USE, all[i].key,
                         "(%s): the port is taken by %s: end that, or choose another port", all[i].listen->text, who);
    }
}
