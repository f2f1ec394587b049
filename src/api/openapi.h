/* The OpenAPI 3.1 document of the API, made from the table of operations and the tables of fields. Any thread. */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include "base/buf.h"
#include "base/str.h"

/* Appends the document of that version of the API (1 or 2) as one line of JSON: the same each time. */
void api_openapi_write(unsigned version, struct buf *out);
/* The document of version 1, which is encoded at the first call; static. */
struct str api_openapi(void);

#endif
