/* The connection from `fullscale relay` to its control server: it announces that the relay is there, receives what
 * the relay must know (neighbours, revoked keys), and asks which clients may use it.
 *
 * While the server does not answer, clients that it has admitted before stay and can come back; others are refused,
 * unless `fail_open` lets them in. When the server no longer knows the relay, all clients are disconnected.
 * src: docs/protocol/derp-stun.md 4.4, 4.6 */
#ifndef ANNOUNCE_ANNOUNCER_H
#define ANNOUNCE_ANNOUNCER_H

#include "announce/announcement.h"
#include "fetch/fetch.h"
#include "net/loop.h"
#include "relay/relay.h"

struct announcer;

struct announcer_opts {
    const char *server_url;    /* copied; http:// or https://, no trailing slash */
    const char *key;           /* copied; the output of `fullscale relays create` */
    struct announcement about; /* its texts are borrowed for life; news and flags are ignored */
    bool fail_open;
    /* Logins that wait to be asked about; for one more, the oldest unknown one is refused. 0: 4,096. */
    unsigned max_waiting;
    /* The neighbours in the mesh from now on; borrowed for the call. On the loop. */
    void (*neighbours)(void *ctx, const struct relay_neighbour *all, size_t n);
    /* The server has the certificate name that announcer_set_cert_name set; may be null. On the loop. */
    void (*cert_announced)(void *ctx);
    void *ctx;
};

/* Sends nothing yet. `fetch` is borrowed. */
struct announcer *announcer_create(const struct announcer_opts *opts, struct fetch *fetch);
/* After fetch_destroy, and after its loop has stopped and has run what was posted to it last. Null is fine; nulls
 * the pointer. */
void announcer_destroy(struct announcer **a);

/* Asks for the settings of the relay (name, region, mesh key), before it is created. Blocks until the server
 * answers, at most 10 s. RC_DENIED when the server does not know the key, RC_INVALID when it is no such server, else
 * why there was no answer; with a sentence in `err`. */
MUST_CHECK enum rc announcer_ask(struct announcer *a, struct announcement_reply *out, struct err *err);

/* Announces `relay` from now on, on this loop, which does not run yet. `relay` is borrowed; `cert_name`:
 * DERPNode.CertName, copied. */
void announcer_start(struct announcer *a, struct relay *relay, struct loop *loop, const char *cert_name);
/* The relay will have another certificate; announces it at once, since nodes have to know it. On the loop. */
void announcer_set_cert_name(struct announcer *a, const char *cert_name);
/* A relay_ops.admit; `ctx` is a struct announcer. */
void announcer_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from);
/* Announces that the relay stops, so that nodes leave it. Nothing is announced afterwards. Blocks for at most 3 s; not
 * on the loop. */
void announcer_leave(struct announcer *a);

#endif
