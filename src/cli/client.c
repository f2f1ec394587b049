/* HTTP/1.1 over the server's unix socket. */
#include "cli/cli_internal.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { REPLY_MAX_BYTES = 256 << 20, TIMEOUT_S = 60, CONNECT_TIMEOUT_S = 5 };

const char *cli_socket_path(struct cli_run *run)
{
    static const char system_socket[] = "/run/fullscale/fullscale.sock";
    const char *named = cli_value(run, "socket");
    if (named != NULL)
        return named;
    if (!cli_need_config(run, true))
        return NULL;
    /* A member of the socket's group without a configuration file means the server of this machine. */
    if (config_path(run->cfg)[0] == '\0' && access(run->cfg->unix_socket, F_OK) != 0 &&
        access(system_socket, F_OK) == 0)
        return system_socket;
    return run->cfg->unix_socket;
}

static size_t take_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct buf *reply = ctx;
    if (buf_len(reply) + size * n > REPLY_MAX_BYTES)
        return 0;
    buf_append(reply, p, size * n);
    return size * n;
}

static enum cli_exit exit_of_status(long status)
{
    if (status == 404)
        return CLI_EXIT_NOT_FOUND;
    return status == 401 || status == 403 ? CLI_EXIT_DENIED : CLI_EXIT_ERROR;
}

static enum cli_exit fail_connect(struct cli_run *run, const char *socket, CURLcode code, long os_error)
{
    if (os_error == EACCES || os_error == EPERM)
        return cli_fail(run, CLI_EXIT_DENIED,
                        "no permission to open %s: run this as root, or as a member of the socket's group", socket);
    if (code == CURLE_COULDNT_CONNECT)
        return cli_fail(
            run, CLI_EXIT_ERROR,
            "no server answers at %s: start one with `fullscale serve`, or name its configuration with --config",
            socket);
    return cli_fail(run, CLI_EXIT_ERROR, "the server at %s did not answer: %s", socket, curl_easy_strerror(code));
}

static const char *name_of(enum http_method method)
{
    switch (method) {
    case HTTP_GET: return "GET";
    case HTTP_POST: return "POST";
    case HTTP_PUT: return "PUT";
    case HTTP_PATCH: return "PATCH";
    case HTTP_DELETE: return "DELETE";
    default: return "OPTIONS";
    }
}

static CURLcode transfer(const char *socket, const char *url, enum http_method method, const struct buf *body,
                         struct buf *reply, long *status, long *os_error)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, name_of(method));
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* a name may be ".." */
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* not even from the environment */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body != NULL || method == HTTP_POST) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(body != NULL ? buf_len(body) : 0));
        curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body != NULL ? (const char *)buf_at(body) : "");
    }
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, os_error);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return code;
}

/* "http://localhost" and the path; in the run's arena. */
static const char *url_of(struct cli_run *run, const char *path)
{
    return arena_printf(&run->arena, "http://localhost%s", path);
}

bool cli_is_answered(struct cli_run *run, enum http_method method, const char *path)
{
    struct buf reply = {0};
    long status = 0;
    long os_error = 0;
    const char *socket = cli_socket_path(run);
    bool is_here = socket != NULL &&
                   transfer(socket, url_of(run, path), method, NULL, &reply, &status, &os_error) == CURLE_OK;
    buf_fini(&reply);
    return is_here;
}

enum cli_exit cli_request(struct cli_run *run, enum http_method method, const char *path, const struct buf *body,
                          const struct json **reply_out)
{
    static const struct json *const none;
    struct buf reply = {0};
    long status = 0;
    long os_error = 0;
    *reply_out = none;
    const char *socket = cli_socket_path(run);
    if (socket == NULL)
        return CLI_EXIT_ERROR;
    CURLcode code = transfer(socket, url_of(run, path), method, body, &reply, &status, &os_error);
    struct str text = arena_str(&run->arena, buf_str(&reply));
    buf_fini(&reply);
    if (code != CURLE_OK)
        return fail_connect(run, socket, code, os_error);
    bool is_json = json_parse(&run->arena, text, &json_limits_trusted, reply_out, NULL) == RC_OK;
    if (!is_json)
        *reply_out = none;
    if (!is_json && status == 200)
        return cli_fail(run, CLI_EXIT_ERROR, "the program that answers at %s is not a Fullscale server", socket);
    if (status != 200 && cli_text(run, *reply_out, "detail")[0] == '\0') {
        *reply_out = none;
        return cli_fail(run, exit_of_status(status), "the server answered with status %ld", status);
    }
    return status == 200 ? CLI_EXIT_OK : exit_of_status(status);
}

const char *cli_escape(struct cli_run *run, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    const char *copy = arena_str(&run->arena, str_c(escaped)).p;
    curl_free(escaped);
    return copy;
}
