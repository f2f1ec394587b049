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

/* "[2001:db8::1]:443" with the port, "2001:db8::1" without; terminated. */
#define ADDR_TEXT_CAP 64
void addr_format(const struct addr *a, bool with_port, char out[ADDR_TEXT_CAP]);
/* "1.2.3.4", "::1", and with a port "1.2.3.4:80", "[::1]:80". RC_INVALID otherwise. */
MUST_CHECK enum rc addr_parse_ip(struct str text, struct addr *out);
MUST_CHECK enum rc addr_parse(struct str text, struct addr *out);
/* A listen address: also ":8080" (all addresses: the IPv6 wildcard, dual stack) and "localhost:80". */
MUST_CHECK enum rc addr_parse_listen(struct str text, struct addr *out);
void addr_from_sockaddr(const struct sockaddr *sa, struct addr *out);
/* Returns the length. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
bool addr_eq(const struct addr *a, const struct addr *b);
/* Loopback, RFC 1918, link-local, unique local or 100.64.0.0/10: an address that is not of the public internet. */
bool addr_is_private(const struct addr *a);
/* The first `bits` are those of `prefix`, which is of the same family. */
bool addr_in_prefix(const struct addr *a, const struct addr *prefix, unsigned bits);
bool addr_is_loopback(const struct addr *a);
/* Which of the networks that examples use and nobody has; 0: none of them. src: RFC 5737, RFC 3849, RFC 9637 */
unsigned addr_documentation_net(const struct addr *a);

/* A network. Host bits and port are zero. */
struct prefix {
    struct addr ip;
    uint8_t bits;
};
enum { PREFIX_TEXT_CAP = ADDR_TEXT_CAP + 4 };
/* "10.0.0.0/8"; terminated. */
void prefix_format(const struct prefix *p, char out[PREFIX_TEXT_CAP]);
/* "10.0.0.0/8", "fd00::/8". Bits of the host become zero; `*had_host_bits` (may be null) tells. RC_INVALID. */
MUST_CHECK enum rc prefix_parse(struct str text, struct prefix *out, bool *had_host_bits);
/* Orders by family, address and bits: negative, 0, positive. */
int prefix_compare(const struct prefix *a, const struct prefix *b);

#endif
