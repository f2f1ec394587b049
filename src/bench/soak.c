#include "bench/fleet.h"

enum rc fleet_soak(struct fleet *f, struct err *err)
{
    (void)f;
    return err_set(err, RC_UNSUPPORTED, "not there yet");
}
