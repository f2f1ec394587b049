/* Where the DERP map comes from, and how it reaches the nodes; only for this folder.
 *
 *   derp.urls, derp.paths, policy, own region, contributions  ->  map  ->  settings  ->  core  ->  nodes
 *
 * A later source replaces the region of the same number, and null removes it (src: Headscale 0.30-dev hscontrol/derp);
 * only contributions of other parts of this program add nodes to a region of another source. Each source keeps its last
 * good document, a URL's also on disk (state_dir/derpmap): the start does not wait for another server, and an error
 * removes no relay. Regions are ordered by number, nodes as their source has them; a map with the same bytes is not
 * sent.
 *
 * A map is always sent whole: clients replace all regions by those of a message whose Regions is not null, which is how
 * removed ones go (src: tailscale 1.102 control/controlclient/map.go, 1.80 likewise). A client closes its connection
 * to a region whose definition changed and reconnects (wgengine/magicsock/derp.go), so no needless change is made. */
#ifndef DAEMON_DERPMAP_INTERNAL_H
#define DAEMON_DERPMAP_INTERNAL_H

#include "config/config.h"
#include "fetch/fetch.h"
#include "derpmap/derpmap.h"
#include "state/model.h"
#include "tls/tls.h"

/* --- derpmap_sources.c: the documents, and the map that they make. Not thread-safe; blocks on files. --- */
struct daemon_derpmap_sources;

/* Sources without documents; `cfg` is borrowed. */
struct daemon_derpmap_sources *daemon_derpmap_sources_create(const struct config *cfg);
/* Null is fine; nulls the pointer. */
void daemon_derpmap_sources_destroy(struct daemon_derpmap_sources **s);
/* At the start: reads the files, which must be valid, and the copies of URLs from last time. */
MUST_CHECK enum rc daemon_derpmap_sources_load(struct daemon_derpmap_sources *s, struct err *err);
/* Reads the files again: an invalid one is logged, and its last valid content stays. */
void daemon_derpmap_sources_reread(struct daemon_derpmap_sources *s);
/* Drops the documents of URLs; their copies on disk stay. */
void daemon_derpmap_sources_forget_urls(struct daemon_derpmap_sources *s);
/* How many URLs there are, and each of them; borrowed. */
size_t daemon_derpmap_sources_url_n(const struct daemon_derpmap_sources *s);
const char *daemon_derpmap_sources_url(const struct daemon_derpmap_sources *s, size_t i);
/* The ETag of the document of URL number `i`; null: none. */
const char *daemon_derpmap_sources_etag(const struct daemon_derpmap_sources *s, size_t i);
/* Whether the last answer of some URL was no valid map. */
bool daemon_derpmap_sources_is_failing(const struct daemon_derpmap_sources *s);
/* Appends why sources gave no valid map when they were read last, a line each. */
void daemon_derpmap_sources_faults(const struct daemon_derpmap_sources *s, struct buf *out);
/* Takes the answer of URL number `i`. A valid document is kept and saved; anything else is logged once, and changes
 * nothing. */
void daemon_derpmap_sources_take(struct daemon_derpmap_sources *s, size_t i, const struct fetch_reply *reply);
/* Sets the `derpMap` of the policy, empty: none; with OmitDefaultRegions URLs are left out. False: nothing has changed,
 * also because the text is no valid map, which is logged. */
bool daemon_derpmap_sources_set_policy(struct daemon_derpmap_sources *s, struct str text);
/* Replaces what the part of the program called `name` contributed before; takes the content of `map` over. */
void daemon_derpmap_sources_contribute(struct daemon_derpmap_sources *s, const char *name, struct derpmap *map);

/* The map as JSON, references owned by the holder. */
struct daemon_derpmap_texts {
    struct rcbuf *pinned;
    struct rcbuf *unpinned; /* for clients that know no pins; null: no difference */
    unsigned region_n;
};
/* Drops the references. */
void daemon_derpmap_texts_fini(struct daemon_derpmap_texts *t);
/* Builds the map. `pin`: SHA-256 of the relay's certificate in hex, "" for one that needs no pin. RC_INVALID: the
 * sources contradict each other, or name no relay at all (which is accepted while no URL has ever answered, and if it
 * `may_be_empty`). */
MUST_CHECK enum rc daemon_derpmap_sources_build(const struct daemon_derpmap_sources *s, const char *pin,
                                                bool may_be_empty, struct daemon_derpmap_texts *out, struct err *err);

/* --- derp_certificate.c: the renewal of the self-signed certificate.
 *
 * Clients know it by its pin in the DERP map. A map with a new pin makes each client close its connection and come back
 * at once, expecting the new certificate; so the new one must be served no later than the first client can have the new
 * map. A client that connects with the old map fails until it has the new one, so it must not be served much earlier
 * either. Neither a second port (firewalls) nor the name in the handshake (absent for addresses) can tell both kinds of
 * clients apart, and a region cannot have two pins: a client takes the first node that accepts TCP. Hence both change
 * at one moment: the core hands the new map to the workers right after the listener has switched. A connection fails
 * only if it is begun in the milliseconds between the switch and its client's new map, and clients try again as soon.
 * Open connections live on, and clients before 1.82, which know no pins, are not affected.
 *
 *     files valid --check--> files renewed, prepared, pin in the map --published--> served
 *
 * The files are renewed when less than 30 days are left, when they are missing (delete them and send SIGHUP to force
 * it) or for another host. After a crash between the steps the next start uses the new files. --- */
struct derp_certificate {
    struct tls_server *tls; /* borrowed; null: the certificate is not made here */
    const char *cert_path, *key_path, *host;
    char pin[TLS_FINGERPRINT_CAP]; /* of the certificate that the map names */
    bool is_failing;               /* the failure is logged already */
};

/* Makes or renews the files if they need it and prepares the new pair. True: the pin has changed, and a map with it is
 * to be built. `now_s`: Unix time. Blocks on files. */
bool daemon_derp_certificate_check(struct derp_certificate *c, int64_t now_s);
/* To be called right before a map can reach a node: serves the prepared certificate if the map names it. Any thread;
 * never blocks on files. */
void daemon_derp_certificate_published(struct tls_server *tls, const struct rcbuf *map);

/* --- derpmap.c: timers, other servers, and the way to the core. Maps are built on a thread of its own ("derpmap"). ---
 */
struct daemon_derpmap;

struct daemon_derpmap_options {
    const struct config *cfg;       /* borrowed */
    struct fetch *fetch;            /* borrowed; null when there are no URLs */
    struct tls_server *renewed_tls; /* borrowed; the relay's, when its certificate is renewed here; else null */
    const char *pin;                /* of its certificate; "": none needed */
    /* Called for each map that differs from the last one, on this thread; the texts are borrowed. */
    void (*changed)(void *ctx, const struct daemon_derpmap_texts *texts);
    void *ctx;
};

/* Reads the documents and makes the first map. RC_INVALID, RC_IO, RC_TOO_LARGE for a file that is invalid or cannot be
 * read. */
MUST_CHECK enum rc daemon_derpmap_create(const struct daemon_derpmap_options *options, struct daemon_derpmap **out,
                                         struct err *err);
/* Adds a contribution to the first map, before daemon_derpmap_start. RC_INVALID: it contradicts the other sources. */
MUST_CHECK enum rc daemon_derpmap_contribute_first(struct daemon_derpmap *s, const char *name, struct derpmap *map,
                                                   struct err *err);
/* The same for the policy's derpMap. */
MUST_CHECK enum rc daemon_derpmap_set_policy_first(struct daemon_derpmap *s, struct str text, struct err *err);
/* The map at the start; borrowed, before daemon_derpmap_start. */
const struct daemon_derpmap_texts *daemon_derpmap_first(const struct daemon_derpmap *s);
/* Starts the thread: URLs are fetched at once, and then at intervals; after a failure, again after a growing delay. */
void daemon_derpmap_start(struct daemon_derpmap *s);
/* Appends what is wrong with the map's sources at the moment, a line each. Any thread; does not block. */
void daemon_derpmap_troubles(struct daemon_derpmap *s, struct buf *out);
/* Has files, URLs and the certificate read again now. Any thread; does not block. */
void daemon_derpmap_refresh(struct daemon_derpmap *s);
/* Adds regions, or nodes in regions of other sources, from a part of this program: replaces what `name` contributed
 * before, and takes the map's content over. Any thread; does not block. */
void daemon_derpmap_contribute(struct daemon_derpmap *s, const char *name, struct derpmap *map);
/* Sets another derpMap of the policy. Any thread; does not block; the text is copied. */
void daemon_derpmap_set_policy(struct daemon_derpmap *s, struct str text);
/* Ends the thread: while the core runs, and before fetch_destroy. Later calls have no effect. */
void daemon_derpmap_stop(struct daemon_derpmap *s);
/* Frees everything; after fetch_destroy. Null is fine; nulls the pointer. */
void daemon_derpmap_destroy(struct daemon_derpmap **s);

#endif
