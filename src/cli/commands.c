/* The one table. Names, aliases and flags are Headscale's where the command is (src: Headscale 0.30-dev cmd/headscale/cli). */
#include "cli/cli_internal.h"

#define OUTPUT_FORMATS "table json json-line yaml"
#define END {0}

static const struct cli_option global_options[] = {
    {"config", 'c', "FILE", "FILE", false,
     "configuration file (default: $FULLSCALE_CONFIG, that of `make run` for the program of a checkout, "
     "/etc/fullscale/config.yaml, ./config.yaml)"},
    {"output", 'o', "FORMAT", OUTPUT_FORMATS, false, "table, json, json-line or yaml"},
    {"socket", 0, "FILE", "FILE", false, "socket of the server (default: unix_socket of the configuration)"},
    {"force", 0, NULL, NULL, false, "do not ask before deleting; needed where there is no terminal to ask on"},
    {"help", 'h', NULL, NULL, false, "show help"},
    {"version", 0, NULL, NULL, false, "show the version"},
    END,
};

static const struct cli_option no_options[] = {END};

static const struct cli_option relay_run_options[] = {
    {"server", 's', "URL", NULL, false, "control server that this relay belongs to; kept for the next start"},
    {"key", 'k', "KEY", NULL, false,
     "what `relays create` showed there; - reads it from standard input; kept for the next start"},
    {"key-file", 0, "FILE", "FILE", false, "the same from a file (default: $FULLSCALE_RELAY_KEY)"},
    END,
};

static const struct cli_option user_create_options[] = {
    {"display-name", 'd', "TEXT", NULL, false, "name for people", true},
    {"email", 'e', "ADDRESS", NULL, false, "e-mail address", true},
    {"picture-url", 'p', "URL", NULL, false, "picture for clients to show", true},
    END,
};

static const struct cli_option user_list_options[] = {
    {"identifier", 'i', "ID", NULL, false, "only the user with this id"},
    {"name", 'n', "NAME", NULL, false, "only the user of this name"},
    {"email", 'e', "ADDRESS", NULL, false, "only the users with this address"},
    END,
};

static const struct cli_option user_options[] = {
    {"identifier", 'i', "ID", NULL, false, "the user's id"},
    {"name", 'n', "NAME", NULL, false, "the user's name"},
    END,
};

static const struct cli_option user_rename_options[] = {
    {"identifier", 'i', "ID", NULL, false, "the user's id"},
    {"name", 'n', "NAME", NULL, false, "the user's name now"},
    {"new-name", 'r', "NAME", NULL, false, "the name to be"},
    END,
};

static const struct cli_option of_user_options[] = {
    {"user", 'u', "USER", NULL, false, "only those of this user (name or id)"},
    END,
};

static const struct cli_option node_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    END,
};

static const struct cli_option node_tag_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    {"tags", 't', "TAGS", NULL, true, "all that it is to have: tag:web,tag:prod", true},
    END,
};

static const struct cli_option node_approve_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    {"routes", 'r', "ROUTES", NULL, true, "all that it may serve: 10.0.0.0/8,192.168.0.0/24; '' for none", true},
    END,
};

static const struct cli_option node_expire_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    {"expiry", 'e', "TIME", NULL, false, "when: 2026-12-31T00:00:00Z, or a duration such as 30d (default: now)"},
    {"disable", 'd', NULL, NULL, false, "never"},
    END,
};

static const struct cli_option key_create_options[] = {
    {"user", 'u', "USER", NULL, false, "whose nodes join with it (name or id)"},
    {"reusable", 0, NULL, NULL, false, "for any number of nodes, not only one"},
    {"ephemeral", 0, NULL, NULL, false, "nodes that join with it vanish when they go offline"},
    {"expiration", 'e', "DURATION", NULL, false, "how long it can be used: 30m, 24h, 90d; 0 for ever (default 1h)"},
    {"tags", 't', "TAGS", NULL, true, "tags of the nodes that join with it: tag:web,tag:prod", true},
    {"max-nodes", 0, "N", NULL, false, "with --reusable: for so many nodes in all"},
    {"source", 0, "NETWORKS", NULL, true, "only for nodes that come from there: 10.0.0.0/8,203.0.113.7", true},
    END,
};

static const struct cli_option key_options[] = {
    {"id", 'i', "ID", NULL, false, "the key's id"},
    {"user", 'u', "USER", NULL, false, "accepted for old scripts, not needed"},
    END,
};

static const struct cli_option relay_create_options[] = {
    {"region-id", 0, "NUMBER", NULL, false, "number of its region, 1 to 65535 (default: a new one from 901 on)"},
    {"region-code", 0, "CODE", NULL, false, "short name of the region (default: that of the region, else NAME)", true},
    {"region-name", 0, "TEXT", NULL, false, "name of the region for people (default: the same)", true},
    END,
};

static const struct cli_option relay_options[] = {
    {"identifier", 'i', "RELAY", NULL, false, "the relay's id or name"},
    END,
};

static const struct cli_option policy_get_options[] = {
    {"version-number", 'n', "N", NULL, false, "a version of the history (default: what is at work)"},
    END,
};

static const struct cli_option policy_file_options[] = {
    {"file", 'f', "FILE", "FILE", false, "the policy, HuJSON; - for standard input"},
    END,
};

static const struct cli_option policy_set_options[] = {
    {"file", 'f', "FILE", "FILE", false, "the policy, HuJSON; - for standard input"},
    {"message", 'm', "TEXT", NULL, false, "why, for the history", true},
    END,
};

static const struct cli_option policy_why_options[] = {
    {"proto", 'p', "PROTOCOL", NULL, false,
     "tcp, udp, icmp, ipv6-icmp, sctp or a number (default: any of the first four)"},
    END,
};

static const struct cli_option check_options[] = {
    {"fetch", 0, NULL, NULL, false, "fetch derp.urls, too"},
    END,
};
static const struct cli_option reference_options[] = {
    {"output", 'o', "FORMAT", "table markdown yaml json", false, "table, markdown, yaml (an example file) or json"},
    END,
};

static const struct cli_group groups[] = {
    {"users", "user", "People who own nodes"},
    {"nodes", "node n", "Machines of the network"},
    {"preauthkeys", "preauthkey authkeys authkey pre", "Keys with which machines join without a login"},
    {"relays", "relay-servers derp", "Relays (DERP) on other machines"},
    {"policy", "acl", "Who may reach whom"},
    {"config", "", "The configuration file"},
    {"log", "", "What the running server logs"},
    {0},
};

static const struct cli_command commands[] = {
    {"", "serve", "", "", 0, 0, NULL, "run the server",
     "Serves until it gets SIGINT or SIGTERM. Without a configuration file it listens on port 8080 and keeps everything "
     "below /var/lib/fullscale (or ./fullscale-data when not root).",
     "fullscale serve\nfullscale serve --config /etc/fullscale/config.yaml\n# without a file\nFULLSCALE_SERVER_URL=https://hs.example.com fullscale serve",
     no_options, cli_serve, false},

    {"", "relay", "", "", 0, 0, NULL, "run a relay (DERP and STUN) alone, for a control server elsewhere",
     "Makes a certificate of its own and announces itself to the control server: nodes use it from then on, until it ends. "
     "They reach it at derp.server.hostname, or where the control server sees it come from; TCP 8443 and UDP 3478 must be "
     "open. SIGTERM drains it: nodes move to other relays before it ends; a second SIGTERM ends it at once.",
     "# on the control server\nfullscale relays create frankfurt\n# here, once\nfullscale relay --server https://hs.example.com --key -\n# or\nfullscale relay --server https://hs.example.com --key-file /root/relay.key\n# and from then on\nfullscale relay",
     relay_run_options, cli_relay, false},

    {"users", "create", "c new", "NAME", 1, 1, NULL, "make a user", NULL,
     "fullscale users create anna\nfullscale users create anna --display-name 'Anna Nowak' --email anna@example.com",
     user_create_options, cli_users_create, false},
    {"users", "list", "ls show", "", 0, 0, NULL, "show users", NULL,
     "fullscale users list\nfullscale users list -o json", user_list_options, cli_users_list, false},
    {"users", "rename", "mv", "[USER NEW-NAME]", 0, 2, NULL, "change a user's name", NULL,
     "fullscale users rename anna anna.nowak\nfullscale users rename --identifier 1 --new-name anna.nowak",
     user_rename_options, cli_users_rename, false},
    {"users", "set-role", "role", "[USER] ROLE", 1, 2, NULL, "say what a user is in the policy's role groups",
     "ROLE is owner, admin, network-admin, it-admin, billing-admin, auditor or member. The first user of a network is its "
     "owner. Owners, admins and network admins may apply every tag.",
     "fullscale users set-role anna admin\nfullscale users set-role --identifier 2 auditor", user_options,
     cli_users_set_role, false},
    {"users", "delete", "destroy", "[USER]", 0, 1, NULL, "delete a user without nodes",
     "The user's auth keys go with it. Delete or move the nodes first.",
     "fullscale users delete anna\nfullscale users delete --identifier 1 --force", user_options, cli_users_delete,
     false},

    {"nodes", "list", "ls", "", 0, 0, NULL, "show nodes", NULL,
     "fullscale nodes list\nfullscale nodes list --user anna -o json", of_user_options, cli_nodes_list, false},
    {"nodes", "show", "get", "[NODE]", 0, 1, NULL, "show one node", "NODE is an id, a name or an address.",
     "fullscale nodes show laptop\nfullscale nodes show 100.64.0.1 -o yaml", node_options, cli_nodes_show, false},
    {"nodes", "rename", "mv", "[NODE] NEW-NAME", 1, 2, NULL, "change a node's name",
     "The name is the node's MagicDNS name: letters, digits and hyphens. It no longer follows the machine's host name then.",
     "fullscale nodes rename laptop annas-laptop\nfullscale nodes rename --identifier 3 annas-laptop", node_options,
     cli_nodes_rename, false},
    {"nodes", "expire", "logout exp e", "[NODE]", 0, 1, NULL, "make a node log in again, now or later", NULL,
     "fullscale nodes expire laptop\nfullscale nodes expire laptop --expiry 30d\nfullscale nodes expire laptop --disable",
     node_expire_options, cli_nodes_expire, false},
    {"nodes", "tag", "tags t", "[NODE] [TAGS]", 0, 2, NULL, "replace a node's tags",
     "A tagged node is nobody's: rules for its tags apply to it instead of those for its user, and its key does not expire. It "
     "keeps at least one tag. When there is a policy, its tagOwners must have the tags.",
     "fullscale nodes tag web-1 tag:web,tag:prod\nfullscale nodes tag -i 3 -t tag:web", node_tag_options, cli_nodes_tag,
     false},
    {"nodes", "list-routes", "lsr routes", "[NODE]", 0, 1, NULL, "show which routes nodes advertise and serve",
     "SERVING: what others send to it now. Of several nodes that serve the same route one does, until it cannot: it is offline, or its key has expired.",
     "fullscale nodes list-routes\nfullscale nodes list-routes -i router -o json", node_options, cli_nodes_list_routes,
     false},
    {"nodes", "approve-routes", "approve", "[NODE] [ROUTES]", 0, 2, NULL, "let a node serve routes",
     "ROUTES replaces what was approved before. 0.0.0.0/0 or ::/0 makes an exit node, for both families.",
     "fullscale nodes approve-routes -i router -r 10.0.0.0/8,192.168.0.0/24\nfullscale nodes approve-routes -i gateway -r 0.0.0.0/0\n# take all back\nfullscale nodes approve-routes -i router -r ''",
     node_approve_options, cli_nodes_approve_routes, false, true},
    {"nodes", "delete", "del rm", "[NODE]", 0, 1, NULL, "remove a node", "A connected node is logged out.",
     "fullscale nodes delete laptop\nfullscale nodes delete --identifier 3 --force", node_options, cli_nodes_delete,
     false},

    {"preauthkeys", "create", "c new", "", 0, 0, NULL, "make an auth key",
     "The key is shown this once; the server keeps only its hash. Without --user it belongs to the only user there is; "
     "with --tags it needs none, since nodes with tags are nobody's.",
     "fullscale preauthkeys create --user anna\nfullscale preauthkeys create --user anna --reusable --expiration 24h\n# use it on the other machine\ntailscale up --login-server http://SERVER:8080 --auth-key KEY",
     key_create_options, cli_preauthkeys_create, false},
    {"preauthkeys", "list", "ls show", "", 0, 0, NULL, "show auth keys", NULL,
     "fullscale preauthkeys list\nfullscale preauthkeys list --user anna", of_user_options, cli_preauthkeys_list,
     false},
    {"preauthkeys", "expire", "revoke exp e", "[KEY]", 0, 1, NULL, "make an auth key unusable",
     "KEY is an id, or the key itself (- reads it from standard input). Nodes that joined with it stay.",
     "fullscale preauthkeys expire 3\nfullscale preauthkeys expire --id 3", key_options, cli_preauthkeys_expire, false},
    {"preauthkeys", "delete", "del rm d", "[KEY]", 0, 1, NULL, "delete an auth key",
     "KEY is an id, or the key itself (- reads it from standard input). Nodes that joined with it stay.",
     "fullscale preauthkeys delete 3", key_options, cli_preauthkeys_delete, false},

    {"relays", "create", "c new add", "NAME", 1, 1, NULL, "enrol a relay on another machine",
     "Shows the relay's key this once: start `fullscale relay` with it on the other machine. As long as that runs, the "
     "relay is in every node's DERP map. Relays of the same region pass packets on to each other.",
     "fullscale relays create frankfurt\nfullscale relays create tokyo-2 --region-id 902\n# then, on the other machine, which asks for the key\nfullscale relay --server https://hs.example.com --key -",
     relay_create_options, cli_relays_create, false},
    {"relays", "list", "ls show", "", 0, 0, NULL, "show enrolled relays", NULL,
     "fullscale relays list\nfullscale relays list -o json", no_options, cli_relays_list, false},
    {"relays", "delete", "del rm", "[RELAY]", 0, 1, NULL, "remove a relay",
     "RELAY is an id or a name. It leaves the DERP map at once, and its key is worth nothing any more.",
     "fullscale relays delete frankfurt", relay_options, cli_relays_delete, false},

    {"policy", "get", "show view fetch", "", 0, 0, NULL, "show the policy at work", NULL,
     "fullscale policy get > policy.hujson\n# as it was before\nfullscale policy get --version-number 3",
     policy_get_options, cli_policy_get, false},
    {"policy", "set", "put update", "[FILE]", 0, 1, "FILE", "put a policy to work (policy.mode: database)",
     "It must parse, and its own tests must pass with the users and nodes there are: else nothing changes, and every error is "
     "shown with line and column. Every connected node gets it at once.",
     "fullscale policy set -f policy.hujson\nfullscale policy set -f policy.hujson -m \"web servers for anna\"",
     policy_set_options, cli_policy_set, false},
    {"policy", "check", "test", "[FILE]", 0, 1, "FILE", "say what is wrong with a policy, and change nothing",
     "With a server here also with its users and nodes: the policy's own tests are run. Exits with 1 when `policy set` would "
     "refuse it.",
     "fullscale policy check -f policy.hujson", policy_file_options, cli_policy_check, false},
    {"policy", "diff", "", "[FILE]", 0, 1, "FILE", "show what reach a policy would give and take",
     "Compared with the policy at work, over all addresses, before anything is applied.",
     "fullscale policy diff -f policy.hujson", policy_file_options, cli_policy_diff, false},
    {"policy", "why", "explain", "SRC DST[:PORT]", 2, 2, NULL, "name the rules by which one reaches another",
     "SRC and DST are a node's name, an address, a user (anna@example.com), a tag or a host of the policy. Says which rule "
     "comes closest when none allows it, and exits with 1 then.",
     "fullscale policy why laptop server:443\nfullscale policy why anna@example.com tag:web:22\nfullscale policy why laptop [fd7a:115c:a1e0::7]:53 --proto udp",
     policy_why_options, cli_policy_why, false},
    {"policy", "history", "log versions", "", 0, 0, NULL, "list the versions of the policy (policy.mode: database)",
     NULL, "fullscale policy history", no_options, cli_policy_history, false},
    {"policy", "rollback", "revert", "N", 1, 1, NULL, "put an earlier version to work again (policy.mode: database)",
     "Its text becomes the newest version, under the same conditions as for `policy set`.",
     "fullscale policy history\nfullscale policy rollback 3", no_options, cli_policy_rollback, false},

    {"config", "check", "test", "", 0, 0, NULL, "say what is wrong with the configuration",
     "Reads all that the server reads before it listens: certificates, keys, policy, DERP maps, database; looks at folders and "
     "addresses; and changes nothing. Exits with 1 when the server would not start, or clients would not get to it.",
     "fullscale config check\nfullscale config check -c ./config.yaml\n# also what is on other servers\nfullscale config check --fetch",
     check_options, cli_config_check, false},
    {"config", "reference", "", "", 0, 0, NULL, "list every key with type, default, unit and meaning", NULL,
     "fullscale config reference\n# an example file to start from\nfullscale config reference -o yaml > config.yaml",
     reference_options, cli_config_reference, false},
    {"config", "show", "dump", "", 0, 0, NULL, "show the values in force", NULL, "fullscale config show", no_options,
     cli_config_show, false},

    {"log", "level", "", "[[MODULE] LEVEL]", 0, 2, NULL, "show or change log levels of the running server",
     "LEVEL is trace, debug, info, warn, error or off. Without MODULE it applies to all.",
     "fullscale log level\nfullscale log level debug\nfullscale log level relay trace", no_options, cli_log_level,
     false},

    {"", "health", "", "", 0, 0, NULL, "ask the running server whether it works", "Exits with 0 when it does.",
     "fullscale health", no_options, cli_health, false},
    {"", "version", "", "", 0, 0, NULL, "show the version", NULL, "fullscale version", no_options, cli_version, false},
    {"", "completion", "", "SHELL", 1, 1, "bash zsh fish", "write a completion script for bash, zsh or fish", NULL,
     "# bash\nfullscale completion bash > /etc/bash_completion.d/fullscale\n# zsh\nfullscale completion zsh > /usr/share/zsh/site-functions/_fullscale\n# fish\nfullscale completion fish > ~/.config/fish/completions/fullscale.fish",
     no_options, cli_completion_run, false},
    {"", "man", "", "", 0, 0, NULL, "write the manual page", NULL, "fullscale man > fullscale.1 && man ./fullscale.1",
     no_options, cli_man_run, false},
    {"", "configtest", "", "", 0, 0, NULL, "the same as config check", NULL, "fullscale configtest", check_options,
     cli_config_check, true},
    {0},
};

const struct cli_spec cli_fullscale = {
    .name = "fullscale",
    .summary = "the server side of a Tailscale network in one program",
    .start = "fullscale serve\nfullscale users create anna\nfullscale preauthkeys create --user anna",
    .groups = groups,
    .commands = commands,
    .options = global_options,
};
