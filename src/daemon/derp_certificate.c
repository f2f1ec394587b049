#include <string.h>

#include "base/log.h"
#include "base/metric.h"
#include "daemon/derpmap_internal.h"
#include "tls/selfsigned.h"

LOG_MODULE("derpmap");
METRIC_COUNTER(renewals_ok, "fullscale_derp_certificate_renewals_total", "result=\"ok\"",
               "Renewals of the relay's certificate, by result.");
METRIC_COUNTER(renewals_failed, "fullscale_derp_certificate_renewals_total", "result=\"failed\"", "");

bool daemon_derp_certificate_check(struct derp_certificate *c, int64_t now_s)
{
    char pin[TLS_FINGERPRINT_CAP];
    struct err err = {0};
    if (c->tls == NULL)
        return false;
    enum rc rc = selfsigned_ensure(c->cert_path, c->key_path, c->host, now_s, pin, NULL, &err);
    if (rc == RC_OK && strcmp(pin, c->pin) == 0) {
        c->is_failing = false;
        return false;
    }
    /* The prepared pair is read again: its pin counts, also if another process has changed the files meanwhile. */
    if (rc == RC_OK)
        rc = tls_server_prepare(c->tls, pin, &err);
    if (rc != RC_OK) {
        metric_inc(&renewals_failed);
        if (!c->is_failing)
            log_error("the relay's certificate cannot be renewed; the old one stays", LOG_S("why", err.text));
        c->is_failing = true;
        return false;
    }
    metric_inc(&renewals_ok);
    c->is_failing = false;
    memcpy(c->pin, pin, sizeof(c->pin));
    return true;
}

void daemon_derp_certificate_published(struct tls_server *tls, const struct rcbuf *map)
{
    char pin[TLS_FINGERPRINT_CAP];
    if (!tls_server_prepared(tls, pin) || memmem(map->data, map->len, pin, strlen(pin)) == NULL)
        return;
    tls_server_use_prepared(tls, pin);
    log_info("the relay's certificate is renewed", LOG_S("sha256", pin));
}
