#include "base/addr.h" /* moved there: leave soon */
