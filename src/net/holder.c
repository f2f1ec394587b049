#include "net/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

enum { INODES_MAX = 64, STATE_LISTEN = 0x0a, LINE_CAP = 512 };

struct inodes {
    uint64_t v[INODES_MAX];
    size_t n;
};

/* A line of /proc/net/tcp and its like: "sl: local:port remote:port st queues timer retrans uid timeout inode ...", numbers in hex
 * but for the last four. src: proc(5) */
static void read_line(const char *line, bool is_udp, uint16_t port, struct inodes *out)
{
    unsigned local_port, state;
    uint64_t inode;
    if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %" SCNu64, &local_port,
               &state, &inode) != 3)
        return;
    if (local_port == port && (is_udp || state == STATE_LISTEN) && out->n < INODES_MAX)
        out->v[out->n++] = inode;
}

static void read_table(const char *path, bool is_udp, uint16_t port, struct inodes *out)
{
    char line[LINE_CAP];
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        read_line(line, is_udp, port, out);
    if (f != NULL)
        (void)fclose(f);
}

/* Is this descriptor, which links to "socket:[INODE]", one of them? */
static bool is_one_of(int folder, const char *name, const struct inodes *inodes)
{
    char target[64];
    uint64_t inode;
    ssize_t n = readlinkat(folder, name, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    if (sscanf(target, "socket:[%" SCNu64 "]", &inode) != 1)
        return false;
    for (size_t i = 0; i < inodes->n; i++)
        if (inodes->v[i] == inode)
            return true;
    return false;
}

static bool process_has(const char *pid, const struct inodes *inodes)
{
    char path[64];
    bool has = false;
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    for (struct dirent *e; fds != NULL && !has && (e = readdir(fds)) != NULL;)
        has = is_one_of(dirfd(fds), e->d_name, inodes);
    if (fds != NULL)
        closedir(fds);
    return has;
}

/* A process calls itself what it likes: only what can be printed is kept. */
static void describe(const char *pid, char out[PORT_HOLDER_CAP])
{
    char path[64], name[32] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f != NULL && fgets(name, sizeof(name), f) == NULL)
        name[0] = '\0';
    if (f != NULL)
        (void)fclose(f);
    name[strcspn(name, "\n")] = '\0';
    for (char *p = name; *p != '\0'; p++)
        *p = *p >= ' ' && *p < 0x7f ? *p : '?';
    snprintf(out, PORT_HOLDER_CAP, "%s (process %s)", name[0] != '\0' ? name : "a program", pid);
}

static bool is_pid(const char *name)
{
    return isdigit((unsigned char)name[0]) && strlen(name) < 12;
}

bool port_holder_find(bool is_udp, uint16_t port, char out[PORT_HOLDER_CAP])
{
    struct inodes inodes = {.n = 0};
    bool is_found = false;
    out[0] = '\0';
    read_table(is_udp ? "/proc/net/udp" : "/proc/net/tcp", is_udp, port, &inodes);
    read_table(is_udp ? "/proc/net/udp6" : "/proc/net/tcp6", is_udp, port, &inodes);
    DIR *all = inodes.n > 0 ? opendir("/proc") : NULL;
    for (struct dirent *e; all != NULL && !is_found && (e = readdir(all)) != NULL;) {
        is_found = is_pid(e->d_name) && process_has(e->d_name, &inodes);
        if (is_found)
            describe(e->d_name, out);
    }
    if (all != NULL)
        closedir(all);
    return is_found;
}
