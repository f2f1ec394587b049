/* IP addresses, with or without a port, and prefixes: plain values. Pure; any thread. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/str.h"

/* A socket address. IPv4-mapped IPv6 addresses are turned into IPv4 where they enter. */
struct addr {
    uint8_t family; /* 0 none, 4, 6 */
    uint16_t port;
    uint8_t ip[16]; /* the first 4 for IPv4 */
};

#define ADDR_TEXT_CAP 64
/* Writes "[2001:db8::1]:443" with the port, "2001:db8::1" without; NUL-terminated. Family 0 gives "-". */
void addr_format(const struct addr *a, bool with_port, char out[ADDR_TEXT_CAP]);
/* "1.2.3.4", "::1", and with a port "1.2.3.4:80", "[::1]:80". RC_INVALID otherwise. */
MUST_CHECK enum rc addr_parse_ip(struct str text, struct addr *out);
MUST_CHECK enum rc addr_parse(struct str text, struct addr *out);
/* A listen address: also ":8080" (all addresses: the IPv6 wildcard, dual stack) and "localhost:80". */
MUST_CHECK enum rc addr_parse_listen(struct str text, struct addr *out);
/* Takes address and port of an IPv4 or IPv6 socket address; anything else gives family 0. */
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out);
/* Writes the socket address for `a`; returns its length. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
/* Whether family, port and address are the same. */
bool addr_eq(const struct addr *a, const struct addr *b);
/* Loopback, RFC 1918, link-local, unique local or 100.64.0.0/10: an address that is not of the public internet. */
bool addr_is_private(const struct addr *a);
/* Whether the first `bits` bits of `a` are those of `prefix`, and both are of one family. */
bool addr_in_prefix(const struct addr *a, const struct addr *prefix, unsigned bits);
/* 127.0.0.0/8 or ::1. */
bool addr_is_loopback(const struct addr *a);
/* The number (from 1) of the network reserved for documentation that `a` is in; 0: it is in none. src: RFC 5737, RFC
 * 3849, RFC 9637 */
unsigned addr_documentation_net(const struct addr *a);

/* A network. Host bits and port are zero. */
struct prefix {
    struct addr ip;
    uint8_t bits;
};
enum { PREFIX_TEXT_CAP = ADDR_TEXT_CAP + 4 };
/* Writes "10.0.0.0/8", NUL-terminated. */
void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_CAP]);
/* Reads "10.0.0.0/8", "fd00::/8". Host bits are cleared; `*had_host_bits` (may be null) says whether there were any.
 * RC_INVALID. */
MUST_CHECK enum rc prefix_parse(struct str text, struct prefix *out, bool *had_host_bits);
/* Negative, 0 or positive: the order is by family, then address, then length. */
int prefix_compare(const struct prefix *a, const struct prefix *b);

#endif
