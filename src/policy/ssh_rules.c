/* The sections ssh and sshTests. src: docs/protocol/policy.md 8.1, 12.2 */
#include <stdio.h>
#include <string.h>

#include "codec/json_write.h"
#include "policy/reader_internal.h"

enum {
    SSH_SOURCES = SEL_BIT(SEL_USER) | SEL_BIT(SEL_DOMAIN) | SEL_BIT(SEL_GROUP) | SEL_BIT(SEL_TAG) |
                  SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED) | SEL_BIT(SEL_ROLE) | SEL_BIT(SEL_SHARED),
    SSH_DESTINATIONS = SEL_BIT(SEL_USER) | SEL_BIT(SEL_TAG) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_TAGGED) |
                       SEL_BIT(SEL_SELF),
    TAGGED_KINDS = SEL_BIT(SEL_TAG) | SEL_BIT(SEL_TAGGED),
    OWNED_KINDS = SEL_BIT(SEL_USER) | SEL_BIT(SEL_MEMBER) | SEL_BIT(SEL_SELF),
    CHECK_PERIOD_DEFAULT_S = 12 * 3600,
    CHECK_PERIOD_MAX_S = 168 * 3600,
};

#define NS_PER_S INT64_C(1000000000)
#define FOREIGN_DOMAIN "%.*s is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"

/* --- durations, as Go writes them. src: Go time.ParseDuration, Duration.String --- */

static const struct {
    const char *name;
    int64_t ns;
} duration_units[] = {
    {"ns", 1},       {"us", 1000},    {"\xc2\xb5s", 1000},  {"\xce\xbcs", 1000},
    {"ms", 1000000}, {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S},
};

static bool is_digit(struct str s)
{
    return s.len > 0 && s.p[0] >= '0' && s.p[0] <= '9';
}

/* Takes digits into `*value`, and multiplies `*scale` by ten for each. False when one of them overflows. */
static bool take_digits(struct str *s, int64_t *value, int64_t *scale)
{
    for (; is_digit(*s); *s = str_n(s->p + 1, s->len - 1)) {
        if (__builtin_mul_overflow(*value, 10, value) || __builtin_add_overflow(*value, s->p[0] - '0', value) ||
            __builtin_mul_overflow(*scale, 10, scale))
            return false;
    }
    return true;
}

/* Reads "1h30m", "-1.5h" or "0": a sign, then numbers with a unit each, which are added up. */
static bool parse_duration(struct str s, int64_t *ns_out)
{
    bool is_negative = s.len > 0 && s.p[0] == '-';
    if (s.len > 0 && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_n(s.p + 1, s.len - 1);
    *ns_out = 0;
    if (str_eq(s, STR("0")))
        return true;
    if (s.len == 0)
        return false;
    while (s.len > 0) {
        int64_t whole = 0, no_scale = 0, fraction = 0, scale = 1, unit = 0, part;
        bool has_digits = is_digit(s);
        if (!take_digits(&s, &whole, &no_scale))
            return false;
        if (s.len > 0 && s.p[0] == '.') {
            s = str_n(s.p + 1, s.len - 1);
            has_digits = has_digits || is_digit(s);
            if (!take_digits(&s, &fraction, &scale))
                return false;
        }
        /* The longest unit that matches: "ms" is not "m". */
        size_t unit_len = 0;
        for (size_t i = 0; i < ARRAY_LEN(duration_units); i++) {
            struct str name = str_c(duration_units[i].name);
            if (name.len > unit_len && str_starts(s, name)) {
                unit_len = name.len;
                unit = duration_units[i].ns;
            }
        }
        s = str_n(s.p + unit_len, s.len - unit_len);
        if (!has_digits || unit_len == 0 || __builtin_mul_overflow(whole, unit, &part) ||
            __builtin_add_overflow(part, (int64_t)((double)fraction * ((double)unit / (double)scale)), &part) ||
            __builtin_add_overflow(*ns_out, part, ns_out))
            return false;
    }
    if (is_negative)
        *ns_out = -*ns_out;
    return true;
}

static const char *format_duration(struct reader *r, int64_t ns)
{
    struct arena *a = &r->errors->arena;
    const char *sign = ns < 0 ? "-" : "";
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    uint64_t s = v / (uint64_t)NS_PER_S;
    char fraction[16] = "";
    unsigned rest = (unsigned)(v % (uint64_t)NS_PER_S);
    int digits = 9;
    for (; rest > 0 && rest % 10 == 0; rest /= 10)
        digits--;
    if (rest > 0)
        snprintf(fraction, sizeof(fraction), ".%0*u", digits, rest);
    if (s >= 3600)
        return arena_printf(a, "%s%lluh%llum%llu%ss", sign, (unsigned long long)(s / 3600),
                            (unsigned long long)(s / 60 % 60), (unsigned long long)(s % 60), fraction);
    if (s >= 60)
        return arena_printf(a, "%s%llum%llu%ss", sign, (unsigned long long)(s / 60), (unsigned long long)(s % 60),
                            fraction);
    return arena_printf(a, "%s%llu%ss", sign, (unsigned long long)s, fraction);
}

/* --- fields --- */

static void read_action(struct reader *r, const struct json *rule, const struct json *node, struct ssh_rule *out)
{
    struct str raw = STR_EMPTY;
    struct str action = reader_string(r, node, "action");
    json_str(node, &raw);
    out->is_check = str_eq(action, STR("check"));
    if (action.len == 0)
        reader_fail(r, node != NULL ? node : rule, "action must be specified");
    else if (!out->is_check && !str_eq(action, STR("accept")))
        reader_fail(r, node, "%s is not a valid action", reader_quote(r, raw));
}

static void read_check_period(struct reader *r, const struct json *node, struct ssh_rule *out)
{
    int64_t ns;
    out->check_period_s = CHECK_PERIOD_DEFAULT_S;
    if (json_is_null(node))
        return;
    struct str text = reader_string(r, node, "checkPeriod");
    if (str_eq(text, STR("always"))) {
        ns = 0;
    } else if (!parse_duration(text, &ns)) {
        reader_fail(r, node, "time: invalid duration %s", reader_quote(r, text));
        return;
    }
    if (ns < 0)
        reader_fail(r, node, "checkPeriod %s must be a positive duration", format_duration(r, ns));
    else if (ns > CHECK_PERIOD_MAX_S * NS_PER_S)
        reader_fail(r, node, "checkPeriod %s is above the max (168h)", format_duration(r, ns));
    else if (!out->is_check)
        reader_fail(r, node, "checkPeriod needs the action \"check\"");
    out->check_period_s = ns / NS_PER_S;
}

/* The domain of "localpart:*@DOMAIN". Any other text that begins so is a login name. */
static bool localpart_domain(struct str text, struct str *domain_out)
{
    struct str prefix = STR("localpart:*@");
    if (!str_starts(text, prefix) || text.len == prefix.len)
        return false;
    *domain_out = str_n(text.p + prefix.len, text.len - prefix.len);
    return str_index(*domain_out, '@') < 0;
}

bool policy_login_is_misread(struct str name)
{
    size_t digits = 0;
    while (digits < name.len && name.p[digits] >= '0' && name.p[digits] <= '9')
        digits++;
    return name.len > 0 && (name.p[0] == '-' || name.p[0] == '+' || digits == name.len);
}

/* Maps misread login names to "", which admits no user. There are more than can be listed: these are root as a
 * number, and options alone. */
static void deny_misread(struct json_writer *w)
{
    static const char *const names[] = {"0",   "00", "000", "0000", "00000", "+0",     "-0",      "+00",
                                        "-00", "--", "-",   "-i",   "-f",    "-froot", "-f root", "-p",
                                        "-h",  "-l", "-s",  "-c",   "-m",    "-u",     "-e",      "--login"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_w_kv_cstr(w, names[i], "");
}

/* The base map. src: docs/protocol/policy.md 8.2 step 2. `is_old`: for clients before 1.98.10. */
static struct str users_map(struct reader *r, const struct ssh_rule *rule, bool is_old)
{
    struct buf out = {0};
    struct json_writer w;
    struct map seen;
    bool has_root = false;
    map_init(&seen, NULL);
    for (size_t i = 0; i < rule->login_n; i++)
        has_root = has_root || str_eq(rule->login[i], STR("root"));
    json_w_init(&w, &out);
    json_w_object(&w);
    json_w_kv_cstr(&w, "root", has_root ? "root" : "");
    if (rule->has_nonroot)
        json_w_kv_cstr(&w, "*", "=");
    if (rule->has_nonroot && is_old)
        deny_misread(&w);
    for (size_t i = 0; i < rule->login_n; i++) {
        struct str name = rule->login[i];
        if (str_eq(name, STR("root")) || map_put(&seen, name.p, name.len, &seen) != NULL)
            continue;
        json_w_key_str(&w, name);
        json_w_str(&w, name);
    }
    json_w_end_object(&w);
    struct str text = arena_str(&r->doc->arena, buf_str(&out));
    buf_fini(&out);
    map_fini(&seen);
    return text;
}

/* In a stored text the name is left out, which admits no user: a server that does not start would be worse. */
static void report_misread(struct reader *r, const struct json *at, struct str name)
{
    static const char why[] = "to some clients a number or a sign in front means another user";
    if (r->opts->is_stored)
        reader_warn(r, at, "user %s is left out, nobody gets in by it: %s", reader_quote(r, name), why);
    else
        reader_fail(r, at, "user %s is not valid: %s", reader_quote(r, name), why);
}

static void read_users(struct reader *r, const struct json *rule, const struct json *node, struct ssh_rule *out)
{
    struct read_items items = reader_strings(r, node, "users");
    if (items.n == 0) {
        reader_fail(r, json_is_null(node) ? rule : node, "users must be specified");
        return;
    }
    out->local_domain = arena_zalloc(&r->doc->arena, items.n, sizeof(*out->local_domain));
    out->login = arena_zalloc(&r->doc->arena, items.n, sizeof(*out->login));
    for (size_t i = 0; i < items.n; i++) {
        struct str name = items.v[i].text, domain;
        if (name.len == 0 || str_eq(name, STR("*"))) {
            reader_fail(r, items.v[i].at, "user %s is not valid", reader_quote(r, name));
        } else if (localpart_domain(name, &domain)) {
            out->local_domain[out->local_domain_n++] = domain;
            if (!reader_domain_is_ours(r, domain))
                reader_fail(r, items.v[i].at, FOREIGN_DOMAIN, STR_ARG(domain));
        } else if (policy_login_is_misread(name)) {
            report_misread(r, items.v[i].at, name);
        } else if (str_eq(name, STR("autogroup:nonroot"))) {
            out->has_nonroot = true;
        } else {
            out->login[out->login_n++] = name;
        }
    }
    out->users = users_map(r, out, false);
    out->users_old = out->has_nonroot ? users_map(r, out, true) : out->users;
}

static void read_accept_env(struct reader *r, const struct json *node, struct ssh_rule *out)
{
    struct read_items items = reader_strings(r, node, "acceptEnv");
    if (items.n == 0)
        return;
    struct buf text = {0};
    struct json_writer w;
    json_w_init(&w, &text);
    json_w_array(&w);
    for (size_t i = 0; i < items.n; i++) {
        if (items.v[i].text.len == 0)
            reader_fail(r, items.v[i].at, "acceptEnv values cannot be empty");
        json_w_str(&w, items.v[i].text);
    }
    json_w_end_array(&w);
    out->accept_env = arena_str(&r->doc->arena, buf_str(&text));
    buf_fini(&text);
}

static struct sel_list read_destinations(struct reader *r, const struct json *node)
{
    struct read_items items = reader_strings(r, node, "dst");
    struct sel_list list = {arena_zalloc(&r->doc->arena, items.n, sizeof(*list.v)), 0};
    for (size_t i = 0; i < items.n; i++) {
        sel_id id = 0;
        enum sel_fault fault = reader_selector(r, &items.v[i], &id);
        if (fault != SEL_FINE && fault != SEL_NO_ADDRESS)
            reader_fail(r, items.v[i].at, "%s", reader_fault_text(r, fault, items.v[i].text));
        else if (fault != SEL_FINE || (SSH_DESTINATIONS & SEL_BIT(r->doc->sel[id].kind)) == 0)
            reader_fail(r, items.v[i].at, "invalid dst %s", reader_quote(r, items.v[i].text));
        else
            list.v[list.n++] = id;
    }
    return list;
}

static bool has_kind(const struct policy_doc *doc, const struct sel_list *list, unsigned kinds)
{
    for (size_t i = 0; i < list->n; i++) {
        if ((kinds & SEL_BIT(doc->sel[list->v[i]].kind)) != 0)
            return true;
    }
    return false;
}

/* Reports combinations that are not allowed. src: docs/protocol/policy.md 8.1 */
static void check_ssh_rule(struct reader *r, const struct json *node, const struct ssh_rule *rule)
{
    const struct policy_doc *doc = r->doc;
    bool is_same_user = rule->src.n == 1 && rule->dst.n == 1 && rule->src.v[0] == rule->dst.v[0];
    if (has_kind(doc, &rule->dst, SEL_BIT(SEL_USER)) && !is_same_user)
        reader_fail(r, node, "a user can be the dst of an ssh rule only when it is the only src as well");
    if (!has_kind(doc, &rule->src, TAGGED_KINDS))
        return;
    if (has_kind(doc, &rule->dst, OWNED_KINDS))
        reader_fail(r, node, "tags cannot reach nodes of users by ssh");
    if (rule->is_check)
        reader_fail(r, node, "the action \"check\" needs sources that are users: a tag cannot log in");
}

static void read_ssh_rule(struct reader *r, const struct json *node, struct ssh_rule *rule)
{
    static const char *const names[] = {"action",    "src",        "dst",      "users",          "checkPeriod",
                                        "acceptEnv", "srcPosture", "recorder", "enforceRecorder"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_KNOWN, f);
    read_action(r, node, f[0], rule);
    rule->src = reader_selectors(r, f[1], "src", SSH_SOURCES, "[ssh] ", "the src of an ssh rule");
    rule->dst = read_destinations(r, f[2]);
    read_users(r, node, f[3], rule);
    read_check_period(r, f[4], rule);
    read_accept_env(r, f[5], rule);
    rule->posture = reader_posture_list(r, f[6], "srcPosture");
    rule->recorder = reader_selectors(r, f[7], "recorder", SEL_BIT(SEL_TAG) | SEL_BIT(SEL_ADDRS),
                                      "recorder=", "a recorder");
    rule->is_recorder_enforced = reader_bool(r, f[8], "enforceRecorder");
    check_ssh_rule(r, node, rule);
}

void reader_ssh(struct reader *r)
{
    const struct json *section = r->section[SECTION_SSH];
    if (!reader_is(r, section, JSON_ARRAY, "ssh") ||
        !reader_counted(r, section, &r->rules_read, json_len(section), r->limits->rules, "rules"))
        return;
    r->doc->ssh = arena_zalloc(&r->doc->arena, json_len(section), sizeof(*r->doc->ssh));
    JSON_EACH (it, section) {
        if (!reader_is(r, it, JSON_OBJECT, "an ssh rule"))
            continue;
        struct ssh_rule *rule = &r->doc->ssh[r->doc->ssh_n++];
        rule->offset = reader_offset(r, it);
        read_ssh_rule(r, it, rule);
    }
}

/* --- sshTests --- */

/* src: docs/protocol/policy.md 12.2 */
static void check_test_dst(struct reader *r, const struct read_item *item)
{
    struct str text = item->text;
    sel_id id = 0;
    enum sel_fault fault = reader_selector(r, item, &id);
    const struct selector *s = fault == SEL_FINE ? &r->doc->sel[id] : NULL;
    bool is_wide = s != NULL && s->kind == SEL_ADDRS &&
                   (s->range_n != 1 || !range_is_single(&r->doc->range[s->range_first].range));
    if (fault == SEL_NO_TAG)
        reader_fail(r, item->at, "SSH tests dst contains unknown tag %s", reader_quote(r, text));
    else if (is_wide || (s != NULL && (s->kind == SEL_INTERNET || s->kind == SEL_STAR || s->kind == SEL_DANGER_ALL)))
        reader_fail(r, item->at, "SSH tests dst contains disallowed element %s", reader_quote(r, text));
}

static void read_ssh_test(struct reader *r, const struct json *node, struct ssh_test *t)
{
    static const char *const names[] = {"src", "dst", "accept", "check", "deny", "srcPostureAttrs"};
    const struct json *f[ARRAY_LEN(names)];
    reader_fields(r, node, names, ARRAY_LEN(names), FIELDS_LOOSE, f);
    t->offset = reader_offset(r, node);
    t->src = reader_string(r, f[0], "src");
    struct read_items dst = reader_strings(r, f[1], "dst");
    struct read_items accept = reader_strings(r, f[2], "accept");
    struct read_items check = reader_strings(r, f[3], "check");
    struct read_items deny = reader_strings(r, f[4], "deny");
    for (size_t i = 0; i < dst.n; i++)
        check_test_dst(r, &dst.v[i]);
    t->dst = reader_keep(r, &dst);
    t->accept = reader_keep(r, &accept);
    t->check = reader_keep(r, &check);
    t->deny = reader_keep(r, &deny);
    t->attr = reader_posture_attrs(r, f[5], &t->attr_n);
}

void reader_ssh_tests(struct reader *r)
{
    const struct json *section = r->section[SECTION_SSH_TESTS];
    size_t count = r->doc->test_n;
    if (!reader_is(r, section, JSON_ARRAY, "sshTests") ||
        !reader_counted(r, section, &count, json_len(section), r->limits->tests, "tests"))
        return;
    r->doc->ssh_test = arena_zalloc(&r->doc->arena, json_len(section), sizeof(*r->doc->ssh_test));
    JSON_EACH (it, section) {
        if (reader_is(r, it, JSON_OBJECT, "an ssh test"))
            read_ssh_test(r, it, &r->doc->ssh_test[r->doc->ssh_test_n++]);
    }
}
