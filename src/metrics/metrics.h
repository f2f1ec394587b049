/* The Prometheus text format (version 0.0.4) of everything that base/metric.h knows, and of the process. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "base/buf.h"
#include "http/http.h"

/* Appends all metrics. `version`: of the program, for fullscale_build_info. Reads /proc; does not block. */
void metrics_write(struct buf *out, const char *version);

/* A route's handler; `app` is the version (const char *). */
void metrics_handle(void *app, struct http_exchange *ex);

#endif
