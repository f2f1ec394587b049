/* The line from `fullscale relay` to its control server: says that the relay is there, learns what it must know (neighbours,
 * keys that must go), and asks who may use it.
 *
 * While the server does not answer, clients that it has admitted before stay and come back; others wait outside, unless
 * `fail_open` lets them in. A server that no longer knows the relay has its clients sent away.
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
    const char *key;           /* copied; what `fullscale relays create` showed */
    struct announcement about; /* texts are borrowed for life; news and flags are not looked at */
    bool fail_open;
    unsigned
        max_waiting; /* 0: 4,096. Logins that wait until the server is asked; for one more the oldest stranger is refused */
    /* The neighbours in the mesh from now on; borrowed for the call. On the loop. */
    void (*neighbours)(void *ctx, const struct relay_neighbour *all, size_t n);
    /* The server has heard of the certificate of announcer_set_cert_name; may be null. On the loop. */
    void (*cert_told)(void *ctx);
    void *ctx;
};

/* `fetch` is borrowed. */
struct announcer *announcer_create(const struct announcer_opts *opts, struct fetch *fetch);
/* After fetch_destroy, and after its loop has stopped and has run what was posted to it last. Null is fine; nulls the pointer. */
void announcer_destroy(struct announcer **a);

/* Asks what the relay is to be, before there is one. Blocks until the server answers, at most 10 s. RC_DENIED when the
 * server does not know the key, RC_INVALID when it is no such server, else why there was no answer; with a sentence. */
MUST_CHECK enum rc announcer_ask(struct announcer *a, struct announcement_reply *out, struct err *err);

/* From now on, on this loop: before it runs. `relay` is borrowed; `cert_name`: DERPNode.CertName, copied. */
void announcer_start(struct announcer *a, struct relay *relay, struct loop *loop, const char *cert_name);
/* It will have another certificate: nodes are to hear of it at once. On the loop. */
void announcer_set_cert_name(struct announcer *a, const char *cert_name);
/* A relay_ops.admit; `ctx` is a struct announcer. */
void announcer_admit(void *ctx, struct relay_admission *login, const node_key *key, const struct addr *from);
/* Tells the server that the relay goes: nodes leave it. The last that the server hears. Blocks for at most 3 s; not on the
 * loop. */
void announcer_leave(struct announcer *a);

#endif
