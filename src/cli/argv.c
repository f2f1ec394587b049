/* Secrets on the command line are overwritten there: everyone on the machine can read it in the list of processes. */
#include <string.h>

#include "base/mem.h"
#include "cli/cli_internal.h"

static void hide(char *text)
{
    if (strcmp(text, "-") != 0)
        memset(text, '*', strlen(text));
}

/* Options may be abbreviated: every prefix of a secret option counts. */
static bool is_secret_option(struct str word)
{
    static const char *const names[] = {"--key", "--authkey"};
    for (size_t i = 0; i < ARRAY_LEN(names) && word.len > 2; i++) {
        if (str_starts(str_c(names[i]), word))
            return true;
    }
    return str_eq_c(word, "-k");
}

const char *cli_key_in(const char *word)
{
    static const char *const prefixes[] = {"fskey-", "hskey-", "tskey-"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        const char *at = strstr(word, prefixes[i]);
        if (at != NULL)
            return at + strlen(prefixes[i]);
    }
    return NULL;
}

static void hide_in_word(char *word, bool is_value)
{
    char *value = strchr(word, '=');
    const char *key = cli_key_in(word);
    if (is_value)
        hide(word);
    else if (value != NULL && is_secret_option(str_n(word, (size_t)(value - word))))
        hide(value + 1);
    else if (strncmp(word, "-k", 2) == 0 && word[2] != '\0')
        hide(word + 2);
    else if (key != NULL)
        hide(word + (key - word));
}

char **cli_argv_take(int argc, char **argv)
{
    char **copy = mem_zalloc((size_t)argc + 1, sizeof(*copy));
    bool is_value = false;
    for (int i = 0; i < argc; i++) {
        copy[i] = mem_strdup(argv[i]);
        bool is_option = is_secret_option(str_c(argv[i]));
        hide_in_word(argv[i], is_value);
        is_value = is_option;
    }
    return copy;
}

void cli_argv_drop(char ***at)
{
    char **copy = *at;
    *at = NULL;
    for (size_t i = 0; copy[i] != NULL; i++)
        mem_free_secret(copy[i], strlen(copy[i]));
    mem_free(copy);
}
