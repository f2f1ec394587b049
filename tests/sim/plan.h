/* The policies of the simulation, as data: written as text for the server, and read as data by the reference, so that
 * the two have nothing in common but these structs. */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include "base/addr.h"
#include "base/buf.h"
#include "support/test_random.h"

enum {
    PLAN_USERS = 240,
    PLAN_GROUPS = 40,
    PLAN_GROUP_USERS = 7,
    PLAN_TAGS = 40,
    PLAN_TAG_MONITOR = PLAN_TAGS, /* few nodes, which see all others */
    PLAN_TAG_PUBLIC,
    PLAN_TAGS_N,
    PLAN_RULES_MAX = 128,
    PLAN_LIST_MAX = 4,
    PLAN_SSH_MAX = 16,
    PLAN_ATTRS_MAX = 8,
    PLAN_PORTS_MAX = 3,
    PLAN_NETS = 20, /* 10.N.0.0/16 and fd00:N::/32 */
    PLANS = 7,
};

enum pick_kind {
    PICK_USER, /* by login name */
    PICK_EMAIL,
    PICK_GROUP,
    PICK_MEMBER,
    PICK_TAGGED,
    PICK_ADMIN,
    PICK_TAG,
    PICK_STAR,
    PICK_DANGER,
    PICK_ADDRS,
    PICK_SELF,
    PICK_INTERNET,
};

struct pick {
    enum pick_kind kind;
    unsigned index;       /* user, group, tag */
    struct prefix prefix; /* PICK_ADDRS */
};

struct plan_ports {
    unsigned proto; /* 0: the usual ones */
    unsigned first, last;
};

struct plan_rule {
    struct pick src[PLAN_LIST_MAX], dst[PLAN_LIST_MAX];
    size_t src_n, dst_n;
    struct plan_ports ports[PLAN_PORTS_MAX];
    size_t port_n; /* 0: only an application */
    bool is_acl;   /* written in "acls" */
    bool has_app;
    bool has_posture; /* sources must have OS version 1 */
    int via;          /* tag; -1: none */
};

struct plan_ssh {
    struct pick src[PLAN_LIST_MAX], dst[PLAN_LIST_MAX];
    size_t src_n, dst_n;
    bool is_check, has_root, has_nonroot, has_deploy;
};

struct plan_attr {
    struct pick target;
    char name[32];
};

struct plan {
    struct plan_rule rules[PLAN_RULES_MAX]; /* grants first, then acls, as they are compiled */
    size_t rule_n;
    struct plan_ssh ssh[PLAN_SSH_MAX];
    size_t ssh_n;
    struct plan_attr attrs[PLAN_ATTRS_MAX];
    size_t attr_n;
    bool hides_all_ipv4;
    unsigned groups[PLAN_GROUPS][PLAN_GROUP_USERS]; /* users */
    size_t users;                                   /* that there are */
};

/* The `kind`th of PLANS policies for `users` users, of which each node sees about a hundred. */
void plan_make(struct plan *p, unsigned kind, size_t users, struct test_random *random);
/* Appends the policy as HuJSON. */
void plan_write(const struct plan *p, struct buf *out);
/* The name of a tag: "tag:monitor". */
void plan_tag_name(unsigned tag, char out[16]);
/* "u17", "u17@example.net" */
void plan_user_name(unsigned user, char out[32]);
void plan_user_email(unsigned user, char out[32]);
/* Those below 2 * PLAN_NETS are such that policies name; those above are not. */
struct prefix plan_net(unsigned index);

#endif
