/* Instead of ws.c in programs that are built without wslay: requests for a WebSocket are refused in words. */
#ifdef FULLSCALE_NO_WEBSOCKET

#include "http/ws.h"

bool ws_is_upgrade(const struct http_request *req)
{
    return http_header_has_token(req, "upgrade", "websocket");
}

bool ws_offers(const struct http_request *req, const char *subprotocol)
{
    return http_header_has_token(req, "sec-websocket-protocol", subprotocol);
}

enum rc ws_accept(struct http_exchange *ex, const struct ws_opts *opts, struct stream **out)
{
    (void)opts;
    *out = NULL;
    http_respond_text(ex, 501, "this program was built without WebSockets");
    return RC_UNSUPPORTED;
}

#endif
