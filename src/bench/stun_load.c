#include "bench/bench.h"

enum rc bench_stun(const struct bench_stun_opts *opts, const struct report_target *target, struct err *err)
{
    (void)opts;
    (void)target;
    return err_set(err, RC_UNSUPPORTED, "not there yet");
}
