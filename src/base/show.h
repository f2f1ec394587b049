/* Text from other parties, made safe to print. Names, host names, notes and errors may hold characters that control a
 * terminal, forge a line or reorder text: all of them are escaped, so that they are seen and have no effect. Every line
 * that the program prints or logs goes through here. Any thread; nothing blocks. */
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

/* Whether the character is neither a control character (C0, DEL, C1), nor one that reorders, separates or hides text,
 * nor a noncharacter. */
bool show_is_plain(uint32_t code);

/* Appends `text`: plain characters as they are, all others as \n \t \r \xHH (bytes), \uXXXX or \UXXXXXXXX. */
void show_append(struct buf *out, struct str text, enum show how);

/* How many bytes at the end of `text` begin a character that goes on behind it, 0..3: for text that comes in parts. */
unsigned show_open_tail(struct str text);

#endif
