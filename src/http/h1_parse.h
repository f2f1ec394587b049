/* HTTP/1.1 requests from bytes: the head, and chunked bodies. Pure: no I/O, no clock, nothing allocated; any thread.
 *
 * Strict on purpose. Two parsers in a row that disagree about where a request ends are how requests are smuggled, so
 * whatever has two readings is refused: lines that do not end in CR LF, folded lines, white space around names, several
 * lengths, codings other than exactly "chunked", chunk extensions, trailers.
 * src: RFC 9112 2.2, 3, 5, 6, 7; RFC 9110 5, 7.2 */
#ifndef HTTP_H1_PARSE_H
#define HTTP_H1_PARSE_H

#include "http/http.h"

/* name, status to answer with, sentence */
#define H1_REFUSAL_LIST(X)                                                                                             \
    X(OK, 200, "ok")                                                                                                   \
    X(LINE_END, 400, "every line must end with CR LF, and CR and LF must not occur elsewhere")                         \
    X(NUL, 400, "NUL in the head")                                                                                     \
    X(HEAD_TOO_LARGE, 431, "the head is too large")                                                                    \
    X(TOO_MANY_HEADERS, 431, "too many headers")                                                                       \
    X(REQUEST_LINE, 400, "malformed request line")                                                                     \
    X(METHOD, 400, "malformed method")                                                                                 \
    X(TARGET, 400, "malformed request target")                                                                         \
    X(VERSION, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here")                                                      \
    X(HEADER_NAME, 400, "malformed header name")                                                                       \
    X(HEADER_VALUE, 400, "control character in a header")                                                              \
    X(FOLDED, 400, "folded header lines are not allowed")                                                              \
    X(HOST, 400, "exactly one valid Host header is required")                                                          \
    X(LENGTH, 400, "malformed or repeated Content-Length")                                                             \
    X(CODING, 400, "the only transfer coding is chunked, in HTTP/1.1 and without Content-Length")                      \
    X(EXPECT, 417, "unknown expectation")                                                                              \
    X(CHUNK, 400, "malformed chunk")

enum h1_refusal {
#define X(name, status, text) H1_##name,
    H1_REFUSAL_LIST(X)
#undef X
};

/* 200 for H1_OK. */
int h1_refusal_status(enum h1_refusal r);
/* Static. */
const char *h1_refusal_text(enum h1_refusal r);

/* Looks for the end of a head in bytes that come piecemeal, without reading any twice. Zero-initialise per head. */
struct h1_scan {
    size_t at;         /* scanned so far */
    size_t line_start; /* of the line that `at` is in */
};
/* `p`: the head from its first byte, `n` of it here; earlier bytes as in the calls before.
 * 1: `*head_len_out` bytes are the head with its final empty line. 0: more is needed. Negative: *why_out is set. */
int h1_scan_head(struct h1_scan *scan, const uint8_t *p, size_t n, size_t *head_len_out, enum h1_refusal *why_out);

struct h1_head {
    enum http_method method;
    struct str method_name;
    struct str path;
    struct str query;
    struct str authority;
    unsigned version;        /* 10 or 11 */
    uint64_t content_length; /* 0 when there is none */
    bool is_chunked;
    bool keep_alive;
    bool expects_continue;
    size_t headers_n;
    struct http_header headers[HTTP_MAX_HEADERS];
};
/* Parses a whole head as h1_scan_head found it. Header names are turned to lower case in place; `out` points into
 * `p`. */
enum h1_refusal h1_parse_head(char *p, size_t n, struct h1_head *out);

/* Shared with HTTP/2, whose library checks less. */
bool h1_is_token(struct str s);
bool h1_is_authority(struct str s);
/* Splits an origin-form target; false when it is none. */
bool h1_split_target(struct str target, struct str *path, struct str *query);
enum http_method h1_method(struct str name);

/* A chunked body, piece by piece. Zero-initialise per body. */
struct h1_chunked {
    enum {
        H1_CHUNK_SIZE,
        H1_CHUNK_SIZE_LF,
        H1_CHUNK_DATA,
        H1_CHUNK_DATA_CR,
        H1_CHUNK_DATA_LF,
        H1_CHUNK_END_CR,
        H1_CHUNK_END_LF,
        H1_CHUNK_DONE,
    } state;
    unsigned digits;
    uint64_t left;
};
/* Consumes some of `p`: `*used_out` bytes, of which `*data_out` (may be empty) is body. Call until used is 0 or the
 * state is H1_CHUNK_DONE. */
enum h1_refusal h1_chunked_next(struct h1_chunked *c, const uint8_t *p, size_t n, size_t *used_out,
                                struct str *data_out);

#endif
