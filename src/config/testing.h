/* For the tests of this module: configurations from text, and the warnings and errors about them. */
#ifndef CONFIG_TESTING_H
#define CONFIG_TESTING_H

#include "config/config.h"

/* A source without environment, as root, on a machine with the address 192.168.1.5. */
extern const struct config_source testing_source;

/* Parses `yaml` as the file /etc/fs/c.yaml; the test fails when it is refused. The caller destroys the result. */
struct config *testing_parse(const struct config_source *src, const char *yaml);
/* Whether one of the warnings contains `text`. */
bool testing_warns(const struct config *cfg, const char *text);
/* The test fails unless `yaml` is refused at this position with a message that contains `text`. `line`, `col`: -1 for
 * any.
 */
void testing_refused(const struct config_source *src, const char *yaml, int line, int col, const char *text);

#endif
