/* Reports to the service manager. src: sd_notify(3): datagrams of VARIABLE=value lines to the socket in
 * NOTIFY_SOCKET. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/show.h"
#include "daemon/daemon_internal.h"

LOG_MODULE("daemon");

/* False: no service manager waits for reports. "@name" is a socket of the abstract namespace. */
static bool find_socket(struct sockaddr_un *out, socklen_t *len_out)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || (path[0] != '/' && path[0] != '@'))
        return false;
    size_t n = strlen(path);
    if (n < 2 || n >= sizeof(out->sun_path))
        return false;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, n);
    if (path[0] == '@')
        out->sun_path[0] = '\0';
    *len_out = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    return true;
}

static void send_text(struct str text)
{
    struct sockaddr_un to;
    socklen_t len;
    if (!find_socket(&to, &len))
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_sent = fd >= 0 && sendto(fd, text.p, text.len, MSG_NOSIGNAL, (struct sockaddr *)&to, len) >= 0;
    if (fd >= 0)
        close(fd);
    if (!is_sent)
        log_warn("the outcome of the start cannot be reported to the service manager",
                 LOG_S("socket", getenv("NOTIFY_SOCKET")));
}

void notify_manager(enum notify_state state, const char *status)
{
    static const char *const lines[] = {"", "READY=1\n", "STOPPING=1\n"};
    struct buf text = {0};
    buf_printf(&text, "%sSTATUS=", lines[state]);
    show_append(&text, str_c(status), SHOW_LINE);
    send_text(buf_str(&text));
    buf_fini(&text);
}
