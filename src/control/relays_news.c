#include "control/relays_news.h"

#include "base/mem.h"

void relays_news_init(struct relays_news *news, int64_t now_ms)
{
    *news = (struct relays_news){.next = (uint64_t)now_ms * 1000};
    news->oldest = news->next;
}

void relays_news_fini(struct relays_news *news)
{
    mem_free(news->revoked);
}

void relays_news_add(struct relays_news *news, const node_key *revoked)
{
    if (news->revoked == NULL)
        news->revoked = mem_zalloc(RELAYS_NEWS_MAX, sizeof(*news->revoked));
    news->revoked[news->next % RELAYS_NEWS_MAX] = *revoked;
    news->next++;
    if (news->next - news->oldest > RELAYS_NEWS_MAX)
        news->oldest = news->next - RELAYS_NEWS_MAX;
}

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
