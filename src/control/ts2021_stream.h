/* Noise as a layer of streams (net/stream.h): plaintext above, records (proto/noise.h) below.
 *
 * What one iteration of the loop writes is sealed at its end into as few records as possible and handed down in one
 * write (one per 16 full records when it is much). While nothing waits, a stream holds no buffers: about 300 bytes
 * besides the two cipher contexts. A bad record ends the stream (`closed` with RC_INVALID, RC_TOO_LARGE or
 * RC_CRYPTO) and drops what was queued. Loop thread only; nothing blocks. */
#ifndef CONTROL_TS2021_STREAM_H
#define CONTROL_TS2021_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "net/stream.h"
#include "proto/noise.h"

/* `below` is taken over, its callbacks too; message 2 has been written to it already. `keys` is borrowed for the call
 * (wipe it afterwards). `early`: bytes that came after the handshake, copied; their plaintext is given at the end of
 * this iteration, so the owner sets its events before. */
void ts2021_stream_server(struct stream *below, const struct noise_result *keys, const uint8_t *early, size_t early_len,
                          struct stream **out);
/* The other end, for tests and tools. */
void ts2021_stream_client(struct stream *below, const struct noise_result *keys, const uint8_t *early, size_t early_len,
                          struct stream **out);

#endif
