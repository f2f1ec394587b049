#include "daemon/port_holder_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the kernel's table. src: proc(5), /proc/net/tcp: addresses are words in the machine's byte order, in hex --- */

enum { LISTENING = 0x0a, LINE_CAP = 512 };

static struct addr parse_address(const char *hex, int family)
{
    size_t words = family == 4 ? 1 : 4;
    struct addr a = {.family = (uint8_t)family};
    for (size_t i = 0; i < words; i++) {
        char word[9] = "";
        memcpy(word, hex + 8 * i, 8);
        uint32_t v = (uint32_t)strtoul(word, NULL, 16);
        memcpy(a.ip + 4 * i, &v, 4);
    }
    return a;
}

static bool is_wildcard(const struct addr *a)
{
    static const uint8_t any[16];
    return memcmp(a->ip, any, a->family == 4 ? 4 : 16) == 0;
}

static bool covers(const struct addr *a, const struct addr *b)
{
    if (is_wildcard(a) && (a->family == 6 || b->family == 4))
        return true;
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

/* Finds the first socket of the table that takes the address and port of `at`. */
static bool find_socket(const char *table, int family, int type, const struct addr *at, unsigned *uid_out,
                        unsigned long *inode_out)
{
    char line[LINE_CAP], local[40];
    unsigned port, state;
    FILE *f = fopen(table, "re");
    bool is_found = false;
    while (f != NULL && !is_found && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, " %*u: %32[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %u %*s %lu", local, &port, &state,
                   uid_out, inode_out) != 5)
            continue;
        if ((type == SOCK_STREAM && state != LISTENING) || port != at->port ||
            strlen(local) != (family == 4 ? 8u : 32u))
            continue;
        struct addr a = parse_address(local, family);
        is_found = covers(&a, at) || covers(at, &a);
    }
    if (f != NULL)
        fclose(f);
    return is_found;
}

/* --- whose it is --- */

static bool has_socket(const char *pid, const char *wanted)
{
    char path[300], target[64];
    bool is_found = false;
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && !is_found; e = readdir(d)) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        is_found = strcmp(target, wanted) == 0;
    }
    if (d != NULL)
        closedir(d);
    return is_found;
}

static void read_name(const char *pid, char out[17])
{
    char path[300];
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    out[0] = '\0';
    if (f == NULL)
        return;
    if (fgets(out, 17, f) != NULL)
        out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

static void find_process(unsigned long inode, struct port_holder *out)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    DIR *d = opendir("/proc");
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && out->pid == 0; e = readdir(d)) {
        int64_t pid;
        if (str_to_i64(str_c(e->d_name), &pid) != RC_OK || !has_socket(e->d_name, wanted))
            continue;
        out->pid = (int)pid;
        read_name(e->d_name, out->name);
    }
    if (d != NULL)
        closedir(d);
}

bool port_holder_find(const struct addr *at, int type, struct port_holder *out)
{
    bool is_tcp = type == SOCK_STREAM;
    unsigned long inode = 0;
    *out = (struct port_holder){0};
    if (!find_socket(is_tcp ? "/proc/net/tcp" : "/proc/net/udp", 4, type, at, &out->uid, &inode) &&
        !find_socket(is_tcp ? "/proc/net/tcp6" : "/proc/net/udp6", 6, type, at, &out->uid, &inode))
        return false;
    find_process(inode, out);
    return true;
}

void port_holder_format(const struct port_holder *h, char out[PORT_HOLDER_TEXT_CAP])
{
    if (h->pid != 0)
        snprintf(out, PORT_HOLDER_TEXT_CAP, "process %d (%s)", h->pid, h->name);
    else
        snprintf(out, PORT_HOLDER_TEXT_CAP, "a process of user %u", h->uid);
}

/* --- in words --- */

enum rc port_holder_explain(const struct config *cfg, const char *key, const struct config_listen *listen, int type,
                            enum rc rc, struct err *err)
{
    struct port_holder h;
    char who[PORT_HOLDER_TEXT_CAP] = "another program";
    if (err == NULL || (rc != RC_IN_USE && rc != RC_DENIED))
        return rc;
    if (rc == RC_DENIED)
        return config_err(
            cfg, key, rc, err,
            "(%s): this user may not listen there. Ports below 1024 need root or CAP_NET_BIND_SERVICE; or "
            "choose another port",
            listen->text);
    if (port_holder_find(&listen->addr, type, &h))
        port_holder_format(&h, who);
    return config_err(cfg, key, rc, err, "(%s): the port is taken by %s. End that, or write another port", listen->text,
                      who);
}
