/* STUN: any datagram as a request and as a response; what is accepted must be answered with what was asked. */
#include <assert.h>
#include <string.h>

#include "base/fuzz_bounds.h"
#include "proto/stun.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t txid[STUN_TXID_BYTES];
    uint8_t ip[16] = {192, 0, 2, 7};
    uint8_t got_ip[16];
    uint16_t port;
    bool is_ipv6;
    fuzz_bounds_mark();
    if (stun_check_request(data, size, txid) == STUN_OK) {
        uint8_t out[STUN_RESPONSE_CAP_BYTES], got_txid[STUN_TXID_BYTES];
        size_t n = stun_build_response(txid, (data[0] & 1) != 0, ip, 41641, out);
        assert(size >= STUN_REQUEST_BYTES && n <= STUN_RESPONSE_CAP_BYTES);
        assert(stun_build_response(txid, false, ip, 41641, out) < size);
        assert(stun_parse_response(out, n, got_txid, &is_ipv6, got_ip, &port) == RC_OK);
        assert(memcmp(txid, got_txid, sizeof(txid)) == 0 && port == 41641 && memcmp(ip, got_ip, 4) == 0);
    }
    (void)!stun_parse_response(data, size, txid, &is_ipv6, got_ip, &port);
    fuzz_bounds_check(size, 0, 0);
    fuzz_bounds_check_steps(size, 1000, 8);
    return 0;
}
