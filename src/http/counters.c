/* What is counted of requests. */
#include "base/metric.h"
#include "http/http_internal.h"

METRIC_COUNTER(requests_2xx, "fullscale_http_requests_total", "class=\"2xx\"",
               "Requests answered, by class of status.");
METRIC_COUNTER(requests_3xx, "fullscale_http_requests_total", "class=\"3xx\"", "");
METRIC_COUNTER(requests_4xx, "fullscale_http_requests_total", "class=\"4xx\"", "");
METRIC_COUNTER(requests_5xx, "fullscale_http_requests_total", "class=\"5xx\"", "");
METRIC_COUNTER(refused_head, "fullscale_http_refused_total", "reason=\"head\"",
               "Requests and connections refused before any handler saw them, by reason.");
METRIC_COUNTER(refused_body, "fullscale_http_refused_total", "reason=\"body\"", "");
METRIC_COUNTER(refused_timeout, "fullscale_http_refused_total", "reason=\"timeout\"", "");
METRIC_COUNTER(refused_flood, "fullscale_http_refused_total", "reason=\"flood\"", "");
METRIC_COUNTER(refused_stalled, "fullscale_http_refused_total", "reason=\"stalled\"", "");
METRIC_COUNTER(refused_protocol, "fullscale_http_refused_total", "reason=\"protocol\"", "");

void http_count_refusal(enum http_refusal why)
{
    static struct metric *const counters[] = {
        [HTTP_REFUSED_HEAD] = &refused_head,       [HTTP_REFUSED_BODY] = &refused_body,
        [HTTP_REFUSED_TIMEOUT] = &refused_timeout, [HTTP_REFUSED_FLOOD] = &refused_flood,
        [HTTP_REFUSED_STALLED] = &refused_stalled, [HTTP_REFUSED_PROTOCOL] = &refused_protocol,
    };
    metric_inc(counters[why]);
}

void http_count_request(int status)
{
    static struct metric *const counters[] = {&requests_2xx, &requests_3xx, &requests_4xx, &requests_5xx};
    metric_inc(counters[status / 100 - 2]);
}
