/* The clients of the tests: from TCP through Noise to HTTP/2, and what they ask; see testing.h. */
#include "control/testing.h"

static struct reply *client_reply(struct client *c, int32_t id)
{
    size_t i = (size_t)id / 2;
    return i < ARRAY_LEN(c->replies) ? c->replies[i] : NULL;
}

static void client_on_response(void *ctx, int32_t id, int status)
{
    struct reply *r = client_reply(ctx, id);
    if (r != NULL)
        r->status = status;
    control_rig_wake(((struct client *)ctx)->rig);
}

/* Takes one whole frame off the body. */
static bool reply_cut_frame(struct reply *r)
{
    static struct zstd_ctx zstd;
    struct buf json = {0};
    const uint8_t *p = buf_at(&r->body);
    if (buf_len(&r->body) < 4)
        return false;
    size_t n = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (buf_len(&r->body) < 4 + n)
        return false;
    assert_true(n > 0);
    if (r->is_zstd)
        assert_int_equal(zstd_decompress(&zstd, p + 4, n, 64 * 1024 * 1024, &json), RC_OK);
    else
        buf_append(&json, p + 4, n);
    assert_true(r->frame_n < ARRAY_LEN(r->frames));
    r->frames[r->frame_n++] = arena_str(&r->client->rig->arena, buf_str(&json)).p;
    buf_consume(&r->body, 4 + n);
    buf_fini(&json);
    zstd_ctx_fini(&zstd);
    zstd = (struct zstd_ctx){0};
    return true;
}

static void client_on_data(void *ctx, int32_t id, const uint8_t *p, size_t n)
{
    struct client *c = ctx;
    struct reply *r = client_reply(c, id);
    if (r == NULL)
        return;
    buf_append(&r->body, p, n);
    r->bytes += n;
    while (r->is_poll && r->status == 200 && reply_cut_frame(r)) {
    }
    if (c->is_manual && !r->is_stalled)
        h2_client_consume(c->h2, id, n);
    control_rig_wake(c->rig);
}

static void client_on_ended(void *ctx, int32_t id, uint32_t error)
{
    struct client *c = ctx;
    struct reply *r = client_reply(c, id);
    if (r != NULL) {
        r->is_ended = true;
        r->error = error;
    }
    control_rig_wake(c->rig);
}

static void client_on_goaway(void *ctx, uint32_t error)
{
    (void)error;
    ((struct client *)ctx)->is_goaway = true;
    control_rig_wake(((struct client *)ctx)->rig);
}

static void client_on_closed(void *ctx, enum rc why)
{
    (void)why;
    ((struct client *)ctx)->is_closed = true;
    control_rig_wake(((struct client *)ctx)->rig);
}

/* Inside Noise, before HTTP/2: the early payload. src: docs/protocol/control.md 3.7 */
static void client_on_early(void *ctx, const uint8_t *p, size_t n)
{
    static const struct h2_client_events events = {.response = client_on_response,
                                                   .data = client_on_data,
                                                   .ended = client_on_ended,
                                                   .goaway = client_on_goaway,
                                                   .closed = client_on_closed};
    struct client *c = ctx;
    buf_append(&c->in, p, n);
    if (buf_len(&c->in) < 9 || c->stays_raw)
        return;
    const uint8_t *head = buf_at(&c->in);
    assert_memory_equal(head, "\xff\xff\xffTS", 5);
    size_t len = (size_t)head[7] << 8 | head[8];
    if (buf_len(&c->in) < 9 + len)
        return;
    buf_consume(&c->in, 9 + len);
    struct stream *noise = c->s;
    c->s = NULL;
    c->h2 = h2_client_create(noise, c->is_manual, &events, c);
    if (buf_len(&c->in) > 0)
        stream_emit_data(noise, buf_at(&c->in), buf_len(&c->in));
    buf_fini(&c->in);
    control_rig_wake(c->rig);
}

/* The answer to the upgrade, and message 2. */
static void client_on_upgrade(void *ctx, const uint8_t *p, size_t n)
{
    static const struct stream_events events = {client_on_early, NULL, client_on_closed};
    struct client *c = ctx;
    struct noise_result keys;
    struct str error;
    size_t used;
    buf_append(&c->in, p, n);
    const char *end = strstr(buf_cstr(&c->in), "\r\n\r\n");
    if (end == NULL || buf_len(&c->in) < (size_t)(end + 4 - (const char *)buf_at(&c->in)) + NOISE_RESPONSE_BYTES)
        return;
    assert_true(str_starts(buf_str(&c->in), STR("HTTP/1.1 101 ")));
    buf_consume(&c->in, (size_t)(end + 4 - (const char *)buf_at(&c->in)));
    assert_int_equal(noise_initiate_finish(&c->hs, buf_at(&c->in), buf_len(&c->in), &keys, &used, &error), 1);
    buf_consume(&c->in, used);
    struct stream *tcp = c->s;
    ts2021_stream_client(tcp, &keys, buf_at(&c->in), buf_len(&c->in), &c->s);
    buf_clear(&c->in);
    stream_set_events(c->s, &events, c);
    c->is_noise = true;
    control_rig_wake(c->rig);
}

const char *control_rig_client_upgrade(struct client *c, const machine_key *server)
{
    uint8_t msg1[NOISE_INITIATION_BYTES], ephemeral[32];
    char text[256];
    rng_bytes(ephemeral, sizeof(ephemeral));
    assert_int_equal(noise_initiate(&c->hs, &c->machine, ephemeral, server, c->version, msg1), RC_OK);
    base64_encode(msg1, sizeof(msg1), text);
    return arena_printf(&c->rig->arena,
                        "POST /ts2021 HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: upgrade\r\n"
                        "Upgrade: tailscale-control-protocol\r\nX-Tailscale-Handshake: %s\r\n\r\n",
                        strstr(c->rig->tailnet->server_url, "://") + 3, text);
}

void control_rig_client_init(struct client *c, struct rig *r)
{
    uint8_t random[KEY_BYTES];
    *c = (struct client){.rig = r, .version = RIG_VERSION};
    rng_bytes(random, sizeof(random));
    private_key_from_bytes(random, &c->machine);
    private_key_public(&c->machine, c->public.b);
}

void control_rig_client_begin(struct client *c, unsigned worker)
{
    static const struct stream_events events = {client_on_upgrade, NULL, client_on_closed};
    const char *request = control_rig_client_upgrade(c, &c->rig->server);
    assert_int_equal(tcp_connect(c->rig->loop, &c->rig->at[worker], &c->s), RC_OK);
    c->is_open = true;
    c->rig->open_n++;
    stream_set_events(c->s, &events, c);
    stream_write(c->s, request, strlen(request));
}

void control_rig_client_dial(struct client *c, unsigned worker)
{
    control_rig_client_begin(c, worker);
    RIG_WAIT(c->rig, c->h2 != NULL || c->is_closed);
    assert_non_null(c->h2);
}

void control_rig_client_open(struct client *c, struct rig *r, unsigned worker)
{
    control_rig_client_init(c, r);
    control_rig_client_dial(c, worker);
}

void control_rig_client_open_same(struct client *c, const struct client *first, unsigned worker)
{
    *c = (struct client){
        .rig = first->rig, .version = first->version, .machine = first->machine, .public = first->public};
    control_rig_client_dial(c, worker);
}

void control_rig_client_close(struct client *c)
{
    if (c->is_open)
        c->rig->open_n--;
    c->is_open = false;
    h2_client_destroy(&c->h2);
    stream_close(&c->s, false);
    buf_fini(&c->in);
    for (size_t i = 0; i < ARRAY_LEN(c->replies); i++)
        c->replies[i] = NULL;
}

void reply_fini(struct reply *r)
{
    struct client *c = r->client;
    if (c != NULL && client_reply(c, r->id) == r)
        c->replies[r->id / 2] = NULL;
    buf_fini(&r->body);
    r->client = NULL;
}

void control_rig_client_send(struct client *c, struct reply *r, const char *method, const char *path, const char *body)
{
    *r = (struct reply){.client = c};
    r->id = h2_client_request(c->h2, method, "127.0.0.1:8080", path, str_c(body));
    assert_true(r->id > 0 && (size_t)r->id / 2 < ARRAY_LEN(c->replies));
    c->replies[r->id / 2] = r;
}

int control_rig_client_call(struct client *c, const char *method, const char *path, const char *body,
                            const char **text_out)
{
    struct reply *r = MEM_NEW(struct reply);
    control_rig_client_send(c, r, method, path, body);
    RIG_WAIT(c->rig, r->is_ended);
    int status = r->error == 0 ? r->status : -1;
    if (text_out != NULL)
        *text_out = arena_str(&c->rig->arena, buf_str(&r->body)).p;
    reply_fini(r);
    mem_free(r);
    return status;
}

void device_init(struct device *d, const char *name)
{
    *d = (struct device){.name = name};
    rng_bytes(&d->key, sizeof(d->key));
    rng_bytes(&d->disco, sizeof(d->disco));
}

const char *key_text(struct rig *r, const node_key *k)
{
    char text[KEY_TEXT_CAP];
    node_key_format(k, text);
    return arena_str(&r->arena, str_c(text)).p;
}

struct key_request {
    struct rig *rig;
    struct auth_key_spec spec;
    char text[AUTH_KEY_TEXT_CAP];
};

static void control_rig_make_key(struct state *st, int64_t now_ms, void *ctx)
{
    struct key_request *k = ctx;
    const struct auth_key *out;
    uint8_t random[AUTH_KEY_RANDOM_BYTES];
    struct err err;
    rng_bytes(random, sizeof(random));
    k->spec.user = k->rig->user;
    RIG_CHECK(state_key_create(st, &k->spec, random, now_ms, &out, k->text, &err) == RC_OK);
}

const char *control_rig_key(struct rig *r, const struct auth_key_spec *spec)
{
    struct key_request k = {.rig = r, .spec = *spec};
    control_rig_on_core(r, control_rig_make_key, &k);
    return arena_str(&r->arena, str_c(k.text)).p;
}

static const char *marker_of(const struct device *d)
{
    return d->marker != NULL ? d->marker : "";
}

const char *register_body(struct rig *r, const struct device *d, const char *auth_key, const char *expiry)
{
    return arena_printf(&r->arena,
                        "{\"Version\":142,\"NodeKey\":\"%s\",\"OldNodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},"
                        "\"Expiry\":\"%s\",\"Followup\":\"\",\"Hostinfo\":{\"BackendLogID\":\"b\",\"OS\":\"linux\","
                        "\"OSVersion\":\"%s\",\"Hostname\":\"%s\"}}",
                        key_text(r, &d->key), key_text(r, &d->old_key), auth_key,
                        expiry != NULL ? expiry : "0001-01-01T00:00:00Z", marker_of(d), d->name);
}

const char *map_body(struct rig *r, const struct device *d, unsigned flags)
{
    char disco[KEY_TEXT_CAP];
    struct buf endpoints = {0};
    disco_key_format(&d->disco, disco);
    for (unsigned i = 0; i < d->endpoints_n; i++)
        buf_printf(&endpoints, "%s\"192.0.2.%u:%u\"", i > 0 ? "," : "", i + 1, d->port != 0 ? d->port : 41641);
    const char *body = arena_printf(
        &r->arena,
        "{\"Version\":142,%s\"KeepAlive\":true,\"NodeKey\":\"%s\",\"DiscoKey\":\"%s\",\"Stream\":%s,\"OmitPeers\":%s,"
        "\"ReadOnly\":%s,\"Endpoints\":[%s],\"Hostinfo\":{\"OS\":\"linux\",\"OSVersion\":\"%s\",\"Hostname\":\"%s\","
        "\"NetInfo\":{\"PreferredDERP\":%u}}}",
        flags & MAP_ZSTD ? "\"Compress\":\"zstd\"," : "", key_text(r, &d->key), disco,
        flags & MAP_POLL ? "true" : "false", flags & MAP_OMIT_PEERS ? "true" : "false",
        flags & MAP_READ_ONLY ? "true" : "false", buf_cstr(&endpoints), marker_of(d), d->name, d->home_derp);
    buf_fini(&endpoints);
    return body;
}

const struct json *control_rig_json(struct rig *r, const char *text)
{
    const struct json *root;
    assert_int_equal(json_parse(&r->arena, str_c(text), NULL, &root, NULL), RC_OK);
    return root;
}

bool json_says(const struct json *obj, const char *key, const char *want)
{
    struct str got;
    return json_str(json_get(obj, key), &got) && str_eq_c(got, want);
}

bool json_is_true(const struct json *obj, const char *key)
{
    bool value = false;
    return json_bool(json_get(obj, key), &value) && value;
}

uint64_t json_number(const struct json *obj, const char *key)
{
    uint64_t value = 0;
    json_u64(json_get(obj, key), &value);
    return value;
}

const struct json *control_rig_client_register(struct client *c, const struct device *d, const char *auth_key,
                                               const char *expiry)
{
    const char *text;
    assert_int_equal(
        control_rig_client_call(c, "POST", "/machine/register", register_body(c->rig, d, auth_key, expiry), &text),
        200);
    return control_rig_json(c->rig, text);
}

void control_rig_join(struct rig *r, struct client *c, struct device *d, const char *name, unsigned worker)
{
    control_rig_client_open(c, r, worker);
    device_init(d, name);
    const struct json *answer = control_rig_client_register(c, d, control_rig_key(r, &(struct auth_key_spec){0}), NULL);
    assert_true(json_says(answer, "Error", ""));
    assert_true(json_is_true(answer, "MachineAuthorized"));
}

void control_rig_client_poll(struct client *c, struct reply *r, const struct device *d, unsigned flags)
{
    control_rig_client_send(c, r, "POST", "/machine/map", map_body(c->rig, d, MAP_POLL | flags));
    r->is_poll = true;
    r->is_zstd = (flags & MAP_ZSTD) != 0;
}

void reply_wait_frames(struct reply *r, size_t n)
{
    RIG_WAIT(r->client->rig, r->frame_n >= n || r->is_ended);
    assert_true(r->frame_n >= n);
}

const struct json *reply_frame(struct reply *r, size_t i)
{
    assert_true(i < r->frame_n);
    return control_rig_json(r->client->rig, r->frames[i]);
}

int control_rig_client_update(struct client *c, const struct device *d)
{
    return control_rig_client_call(c, "POST", "/machine/map", map_body(c->rig, d, MAP_OMIT_PEERS), NULL);
}
