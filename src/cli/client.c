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

static CURLcode transfer(const char *socket, const char *url, const char *method, const struct buf *body,
                         struct buf *reply, long *status, long *os_error)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* not even from the environment */
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body != NULL || strcmp(method, "POST") == 0) {
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

bool cli_server_is_here(struct cli_run *run)
{
    struct buf reply = {0};
    long status = 0;
    long os_error = 0;
    const char *path = cli_socket_path(run);
    bool is_here = path != NULL && transfer(path, "http://localhost/api/v1/health", "GET", NULL, &reply, &status,
                                            &os_error) == CURLE_OK;
    buf_fini(&reply);
    return is_here;
}

enum cli_exit cli_api_answer(struct cli_run *run, const char *method, const char *path, const struct buf *body,
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
    const char *url = arena_printf(&run->arena, "http://localhost/api/v1%s", path);
    CURLcode code = transfer(socket, url, method, body, &reply, &status, &os_error);
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

enum cli_exit cli_api(struct cli_run *run, const char *method, const char *path, const struct buf *body,
                      const struct json **reply_out)
{
    enum cli_exit status = cli_api_answer(run, method, path, body, reply_out);
    if (status != CLI_EXIT_OK && *reply_out != NULL)
        return cli_fail(run, status, "%s", cli_text(run, *reply_out, "detail"));
    return status;
}

const char *cli_escape(struct cli_run *run, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    const char *copy = arena_str(&run->arena, str_c(escaped)).p;
    curl_free(escaped);
    return copy;
}

static bool is_text(struct cli_run *run, const struct json *object, const char *key, const char *text, bool with_case)
{
    struct str value = str_c(cli_text(run, object, key));
    return value.len > 0 && (with_case ? str_eq_c(value, text) : str_eq_ci(value, str_c(text)));
}

static unsigned count_text(struct cli_run *run, const struct json *list, const char *key, const char *text,
                           bool with_case, const struct json **out)
{
    unsigned n = 0;
    JSON_EACH (it, list) {
        if (is_text(run, it, key, text, with_case)) {
            *out = it;
            n++;
        }
    }
    return n;
}

/* The object of `list` of which one of `keys` is `text`, whatever its case; as it is written wins, and so do earlier
 * keys. */
static enum cli_exit pick(struct cli_run *run, const struct json *list, const char *const *keys, const char *text,
                          const char *what, const struct json **out)
{
    for (; *keys != NULL; keys++) {
        unsigned n = count_text(run, list, *keys, text, true, out);
        if (n == 0)
            n = count_text(run, list, *keys, text, false, out);
        if (n > 1)
            return cli_fail(run, CLI_EXIT_ERROR, "there are %u %ss with the %s \"%s\": name one by its id", n, what,
                            *keys, text);
        if (n == 1)
            return CLI_EXIT_OK;
    }
    return cli_fail(run, CLI_EXIT_NOT_FOUND, "there is no %s \"%s\": see `fullscale %ss list`", what, text, what);
}

enum cli_exit cli_find_user(struct cli_run *run, const char *text, const struct json **out)
{
    static const char *const keys[] = {"id", "name", "email", NULL};
    const struct json *reply;
    enum cli_exit status = cli_api(run, "GET", "/user", NULL, &reply);
    return status != CLI_EXIT_OK ? status : pick(run, json_get(reply, "users"), keys, text, "user", out);
}

static const struct json *node_with_address(struct cli_run *run, const struct json *nodes, const char *text)
{
    JSON_EACH (node, nodes) {
        JSON_EACH (ip, json_get(node, "ipAddresses")) {
            struct str address;
            if (json_str(ip, &address) && str_eq_c(address, text))
                return node;
        }
    }
    (void)run;
    return NULL;
}

enum cli_exit cli_find_node(struct cli_run *run, const char *text, const struct json **out)
{
    static const char *const keys[] = {"id", "givenName", "name", NULL};
    const struct json *reply;
    enum cli_exit status = cli_api(run, "GET", "/node", NULL, &reply);
    if (status != CLI_EXIT_OK)
        return status;
    *out = node_with_address(run, json_get(reply, "nodes"), text);
    return *out != NULL ? CLI_EXIT_OK : pick(run, json_get(reply, "nodes"), keys, text, "node", out);
}

void cli_write_list(struct json_writer *w, const char *list)
{
    struct str rest = str_c(list), item;
    json_w_array(w);
    while (rest.len > 0) {
        str_cut(rest, ',', &item, &rest);
        item = str_trim(item);
        if (item.len > 0)
            json_w_str(w, item);
    }
    json_w_end_array(w);
}
