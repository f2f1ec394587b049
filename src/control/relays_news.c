/* News for relays on other machines, numbered: node keys that may not use relays any more, and changes of their
 * neighbours. Core's thread. */
#include <stdio.h>
#include <string.h>

#include "codec/json_write.h"
#include "control/relays_internal.h"

void relays_news_init(struct relays_news *news, int64_t now_ms)
{
    /* Above all numbers that a server before this one gave out. */
    news->next = (uint64_t)now_ms * 1000;
    news->oldest = news->next;
}

/* However much news comes before a worker looks, it gets one message. */
static void wake_announcements(struct control *c)
{
    for (unsigned i = 0; i < c->worker_n; i++) {
        struct control_worker *w = c->workers[i];
        if (!atomic_exchange(&w->is_news_posted, true))
            loop_post(w->loop, &w->news_msg);
    }
}

void control_key_revoked(struct control *c, const node_key *key)
{
    struct relays_news *news = &c->news;
    news->revoked[news->next % RELAYS_NEWS_MAX] = *key;
    news->next++;
    if (news->next - news->oldest > RELAYS_NEWS_MAX)
        news->oldest = news->next - RELAYS_NEWS_MAX;
    wake_announcements(c);
}

void control_relays_changed(struct control *c)
{
    node_key none = {{0}};
    control_key_revoked(c, &none);
}

void control_own_relay_renewed(struct control *c, const char *cert_name)
{
    struct relay_report *r = &c->options.own_relay;
    if (r->host_name[0] == '\0' || strcmp(r->cert_name, cert_name) == 0)
        return;
    snprintf(r->cert_name, sizeof(r->cert_name), "%s", cert_name);
    control_relays_changed(c);
}

/* Writes the keys that must go, or `resync` when some were missed. */
void relays_news_write(struct json_writer *w, const struct relays_news *news, uint64_t seen)
{
    bool is_current = seen >= news->oldest && seen <= news->next;
    json_w_kv_bool(w, "resync", !is_current);
    json_w_key(w, "revoked");
    json_w_array(w);
    for (uint64_t i = is_current ? seen : news->next; i < news->next; i++) {
        char text[KEY_TEXT_CAP];
        const node_key *key = &news->revoked[i % RELAYS_NEWS_MAX];
        if (key_is_zero(key->b))
            continue;
        node_key_format(key, text);
        json_w_cstr(w, text);
    }
    json_w_end_array(w);
}
