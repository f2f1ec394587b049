/* HTTP/1.1 server connections. Handlers use http.h; this is for http_server_accept and tests.
 * Strict (h1_parse.h): whatever two parsers could read differently is refused and the connection closed.
 * Pipelined requests are answered in order, one at a time; reading stops while much waits on either side.
 * src: RFC 9112 */
#ifndef HTTP_H1_H
#define HTTP_H1_H

#include "http/http.h"

/* Takes over `s`. The connection owns itself, and leaves the server's list when it ends. */
struct http_conn *h1_conn_create(struct http_server *server, struct stream *s);

#endif
