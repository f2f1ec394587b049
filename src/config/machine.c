/* What the loader takes from this machine: environment, addresses, the configuration of `make run`. */
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config.h"

/* The source address that the kernel would use towards the internet; nothing is sent. */
static bool ip_by_route(char out[ADDR_TEXT_CAP])
{
    struct addr to = {.family = 4, .port = 9, .ip = {192, 0, 2, 1}};
    struct sockaddr_storage ss;
    socklen_t len = addr_to_sockaddr(&to, &ss);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_found = fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0;
    len = sizeof(ss);
    is_found = is_found && getsockname(fd, (struct sockaddr *)&ss, &len) == 0;
    if (fd >= 0)
        close(fd);
    if (!is_found)
        return false;
    addr_from_sockaddr((struct sockaddr *)&ss, &to);
    addr_format(&to, false, out);
    return !addr_is_loopback(&to);
}

static bool ip_by_interface(int family, char out[ADDR_TEXT_CAP])
{
    struct ifaddrs *all = NULL;
    bool is_found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *it = all; it != NULL && !is_found; it = it->ifa_next) {
        if (it->ifa_addr == NULL || it->ifa_addr->sa_family != family || (it->ifa_flags & IFF_UP) == 0 ||
            (it->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        struct addr a;
        addr_from_sockaddr(it->ifa_addr, &a);
        if (a.family == 6 && a.ip[0] == 0xfe && (a.ip[1] & 0xc0) == 0x80)
            continue;
        addr_format(&a, false, out);
        is_found = true;
    }
    freeifaddrs(all);
    return is_found;
}

/* `make run` leaves a link to its data in the build folder: commands of the same checkout mean that server. */
static void find_checkout(char *out, size_t cap)
{
    static const char program[] = "/build/src/fullscale", config[] = "/build/data/config.yaml";
    char exe[512];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe));
    if (n <= 0 || (size_t)n >= sizeof(exe) || !str_ends(str_n(exe, (size_t)n), str_c(program)))
        return;
    int root_len = (int)((size_t)n - strlen(program));
    if (snprintf(out, cap, "%.*s%s", root_len, exe, config) >= (int)cap)
        out[0] = '\0';
}

void config_source_system(const char *path, struct config_source *out)
{
    *out = (struct config_source){.path = path, .env = (const char *const *)environ, .is_root = geteuid() == 0};
    if (!ip_by_route(out->primary_ip) && !ip_by_interface(AF_INET, out->primary_ip) &&
        !ip_by_interface(AF_INET6, out->primary_ip))
        out->primary_ip[0] = '\0';
    find_checkout(out->checkout_path, sizeof(out->checkout_path));
}
