/* Text of others on its way to a person. Names, host names, notes and errors may hold what drives a terminal, forges a
 * line or turns the order of letters around: all of it is shown escaped, so that it is seen and does nothing. Every
 * line that the program prints or logs goes through here. Any thread; nothing blocks. */
#ifndef BASE_SHOW_H
#define BASE_SHOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum show {
    SHOW_LINE, /* part of a line: line ends and tabs are escaped too */
    SHOW_TEXT, /* lines: those stay */
    SHOW_JSON, /* as SHOW_TEXT, and JSON stays JSON with the same value: \uXXXX is the only escape; for bytes that are
                  no UTF-8, which JSON cannot hold, U+FFFD */
};

/* Is it no control character (C0, DEL, C1), no mark that reorders, separates or hides text, and no noncharacter? */
bool show_is_plain(uint32_t code);

/* Appends `text`: what is plain as it is, else \n \t \r \xHH (bytes), \uXXXX or \UXXXXXXXX. */
void show_append(struct buf *out, struct str text, enum show how);

/* How many bytes at the end of `text` begin a character that goes on behind it, 0..3: for text that comes in parts. */
unsigned show_open_tail(struct str text);

#endif
