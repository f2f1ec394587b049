#ifndef CODEC_JSON_INTERNAL_H
#define CODEC_JSON_INTERNAL_H

/* Line and column (bytes) of `at` in the text that starts at `begin`, both from 1. */
void json_find_pos(const char *begin, const char *at, int *line_out, int *col_out);

#endif
