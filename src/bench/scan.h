/* Reads a map response as it comes, in pieces cut anywhere, and reports which peers it adds, changes and removes.
 * Only the record that is being read is kept: a simulated node needs no netmap, only a bit for each peer.
 *
 * The whole document is checked to be JSON (RFC 8259, but for the bytes inside strings), at most 64 deep. Lists of
 * peers that are no lists, and ids that are no integers, are refused too. The bytes come from the server under test
 * and are treated as hostile.
 *
 * Between two records, the state of a scanner is one number (scan_mark). What a piece of a document says depends on
 * that number and the piece's bytes alone: frame_cache.h rests on this.
 * src: docs/protocol/control.md 6.7-6.9 (checked against tailscale 1.80-1.103) */
#ifndef BENCH_SCAN_H
#define BENCH_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rc.h"
#include "base/str.h"

enum {
    SCAN_TEXT_MAX = 95, /* of a string whose text matters; longer ones are cut */
    SCAN_ADDRESSES_MAX = 4,
    SCAN_ALLOWED_MAX = 32,
};

/* What Node, an element of Peers or PeersChanged, or one of PeersChangedPatch says. Digests: scan_digest of the
 * text. */
struct scan_record {
    int64_t id;
    bool has_endpoints; /* there is a list, maybe an empty one */
    bool has_name;      /* Name and */
    bool has_stable_id; /* StableID are there and not empty */
    bool has_user;      /* User is there and not 0 */
    bool is_refused;    /* MachineAuthorized: false; peers are shown without it */
    uint8_t online;     /* 0: absent, 1: false, 2: true */
    bool has_hostinfo;
    uint16_t endpoint_n;
    uint8_t address_n;
    uint8_t allowed_n;
    uint32_t endpoints;      /* sum of the digests of all endpoints: their order does not matter */
    uint32_t endpoints_mark; /* x.y.z of an endpoint 10.x.y.z; 0: none */
    uint32_t hostinfo_mark;  /* the number behind SCAN_HOST_MARK in Hostinfo.OSVersion; 0: none */
    uint32_t hostinfo_os;    /* digest of Hostinfo.OS; 0: none */
    uint32_t machine;        /* digests of the texts of these keys; 0: none */
    uint32_t disco;
    uint32_t derp;                          /* HomeDERP or DERPRegion; 0: absent */
    uint32_t addresses[SCAN_ADDRESSES_MAX]; /* digests */
    uint32_t allowed[SCAN_ALLOWED_MAX];
    uint8_t key_n;
    char key[SCAN_TEXT_MAX + 1]; /* "nodekey:..."; not terminated */
};

#define SCAN_HOST_MARK "lgmark"

/* Sums over all that was scanned since they were set to zero. */
struct scan_counts {
    uint32_t keep_alive, node, ping; /* documents in which these are there */
    uint32_t full, changed, patched, removed;
    uint64_t peer_bytes; /* of all elements of Peers and PeersChanged */
};

/* In the order of the document. */
struct scan_events {
    void (*self)(void *ctx, const struct scan_record *r);
    /* `replaces`: it is the first of Peers, which replace all peers that were known. */
    void (*peer)(void *ctx, const struct scan_record *r, bool replaces);
    void (*patch)(void *ctx, const struct scan_record *r);
    void (*removed)(void *ctx, int64_t id);
};

/* Zero-initialised: at the start of a document. Nothing to free. */
struct scan {
    uint8_t state;                 /* of the tokens */
    uint8_t where;                 /* in which part of the document */
    uint8_t list;                  /* whose elements the records are */
    uint8_t field;                 /* the last key of the document whose value matters */
    uint8_t member;                /* the same of a record or its Hostinfo */
    uint8_t depth;                 /* open containers */
    uint8_t skip_depth, skip_back; /* where the part that is skipped began, and what contains it */
    uint8_t literal, literal_at;
    bool is_key, wants_text;
    bool is_first; /* the record is the first of its list */
    uint8_t text_n;
    uint64_t objects; /* bit d: the container at depth d is an object */
    uint64_t at;      /* bytes of the document so far */
    uint64_t record_at;
    char text[SCAN_TEXT_MAX];
    struct scan_record record;
    struct scan_counts counts;
};

/* Reads the next bytes. After RC_INVALID (no JSON, or no map response) or RC_TOO_DEEP the scanner must not be used
 * again. */
MUST_CHECK enum rc scan_feed(struct scan *s, const void *p, size_t n, const struct scan_events *events, void *ctx);
/* Whether a whole document has been read. */
bool scan_is_done(const struct scan *s);
/* Sets the state to the start of a document (0), or to that for which scan_mark gave `mark`. The counts stay. */
void scan_restart(struct scan *s, uint32_t mark);
/* The state as a number, 0 at the start. False in the middle of a record, of a token, or of a part that is skipped. */
bool scan_mark(const struct scan *s, uint32_t *mark_out);

/* A 32-bit hash of a text; never 0. */
uint32_t scan_digest(struct str text);

#endif
