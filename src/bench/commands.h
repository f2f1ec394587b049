/* The command line of `fullscale-bench`, made from a table by the engine of `fullscale` (cli/command.h). */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

#include "cli/command.h"

/* commands.c */
extern const struct cli_spec bench_spec;

/* run.c: what its commands do. */
enum cli_exit bench_run_fleet(struct cli_run *run);
enum cli_exit bench_run_relay(struct cli_run *run);
enum cli_exit bench_run_stun(struct cli_run *run);

#endif
