/* News of a tailnet for its relays on other machines, numbered: node keys that may not use relays any more, and changes
 * of their neighbours. Core's thread only. */
#ifndef CONTROL_RELAYS_NEWS_H
#define CONTROL_RELAYS_NEWS_H

#include "codec/json_write.h"
#include "crypto/keys.h"

enum { RELAYS_NEWS_MAX = 4096 }; /* a relay that has missed more than these must ask about all its clients anew */

struct relays_news {
    uint64_t next;     /* the number that the next one gets */
    uint64_t oldest;   /* that is still known */
    node_key *revoked; /* owned; RELAYS_NEWS_MAX, by number; zero: news of another kind. Null: there were none yet */
};

/* Its numbers begin above all that a server before this one gave out. */
void relays_news_init(struct relays_news *news, int64_t now_ms);
/* Frees what it holds. */
void relays_news_fini(struct relays_news *news);
/* Adds one; a key of zero is news of another kind. */
void relays_news_add(struct relays_news *news, const node_key *revoked);
/* Writes the keys that must go since the news number `seen`, or `resync`: some news was missed. */
void relays_news_write(struct json_writer *w, const struct relays_news *news, uint64_t seen);

#endif
