/* The table of the commands that have code. Where Headscale has the same command, names, aliases and flags are the same
 * (src: Headscale 0.30-dev cmd/headscale/cli). */
#include "cli/cli_internal.h"

#define OUTPUT_FORMATS "table json json-line yaml"
#define END {0}

static const struct cli_option global_options[] = {
    {"config", 'c', "FILE", "FILE", false,
     "configuration file (default: $FULLSCALE_CONFIG, in a checkout that of `make run`, "
     "/etc/fullscale/config.yaml, ./config.yaml)"},
    {"output", 'o', "FORMAT", OUTPUT_FORMATS, false, "table, json, json-line or yaml"},
    {"socket", 0, "FILE", "FILE", false, "socket of the server (default: unix_socket of the configuration)"},
    {"force", 0, NULL, NULL, false, "do not ask for confirmation; required where there is no terminal"},
    {"help", 'h', NULL, NULL, false, "show help"},
    {"version", 0, NULL, NULL, false, "show the version"},
    END,
};

static const struct cli_option no_options[] = {END};

static const struct cli_option relay_run_options[] = {
    {"server", 's', "URL", NULL, false, "control server that this relay belongs to; remembered for the next start"},
    {"key", 'k', "KEY", NULL, false,
     "key that `relays create` printed there; - reads it from standard input; remembered for the next start"},
    {"key-file", 0, "FILE", "FILE", false, "file that holds the key (default: the key in $FULLSCALE_RELAY_KEY)"},
    END,
};

static const struct cli_option user_options[] = {
    {"identifier", 'i', "ID", NULL, false, "the user's id"},
    {"name", 'n', "NAME", NULL, false, "the user's name"},
    END,
};

static const struct cli_option user_rename_options[] = {
    {"identifier", 'i', "ID", NULL, false, "the user's id"},
    {"name", 'n', "NAME", NULL, false, "the user's current name"},
    {"new-name", 'r', "NAME", NULL, false, "the new name"},
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
    {"tags", 't', "TAGS", NULL, true, "all tags the node should have: tag:web,tag:prod", true},
    END,
};

static const struct cli_option node_approve_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    {"routes", 'r', "ROUTES", NULL, true, "all routes the node may serve: 10.0.0.0/8,192.168.0.0/24; '' for none",
     true},
    END,
};

static const struct cli_option node_expire_options[] = {
    {"identifier", 'i', "NODE", NULL, false, "the node's id or name"},
    {"expiry", 'e', "TIME", NULL, false,
     "when the key expires: 2026-12-31T00:00:00Z, or a duration such as 30d (default: now)"},
    {"disable", 'd', NULL, NULL, false, "the key never expires"},
    END,
};

static const struct cli_option key_create_options[] = {
    {"user", 'u', "USER", NULL, false, "user who will own the nodes (name or id)"},
    {"reusable", 0, NULL, NULL, false, "any number of nodes may use the key, not only one"},
    {"ephemeral", 0, NULL, NULL, false, "nodes that use the key are deleted some time after they go offline"},
    {"expiration", 'e', "DURATION", NULL, false,
     "how long the key can be used: 30m, 24h, 90d; 0 for ever (default 1h)"},
    {"tags", 't', "TAGS", NULL, true, "tags for the nodes that use the key: tag:web,tag:prod", true},
    {"max-nodes", 0, "N", NULL, false, "with --reusable: at most this many nodes in all"},
    {"source", 0, "NETWORKS", NULL, true, "only nodes that connect from these networks: 10.0.0.0/8,203.0.113.7", true},
    END,
};

static const struct cli_option key_options[] = {
    {"id", 'i', "ID", NULL, false, "the key's id"},
    {"user", 'u', "USER", NULL, false, "accepted for old scripts, not needed"},
    END,
};

static const struct cli_option relay_create_options[] = {
    {"region-id", 0, "NUMBER", NULL, false,
     "number of the relay's region, 1 to 65535 (default: a new one from 901 on)"},
    {"region-code", 0, "CODE", NULL, false, "short name of the region (default: the region's existing one, else NAME)",
     true},
    {"region-name", 0, "TEXT", NULL, false, "name of the region to display (default: likewise)", true},
    END,
};

static const struct cli_option policy_get_options[] = {
    {"version-number", 'n', "N", NULL, false, "a version from the history (default: the policy in force)"},
    END,
};

static const struct cli_option policy_file_options[] = {
    {"file", 'f', "FILE", "FILE", false, "file with the policy (HuJSON); - for standard input"},
    END,
};

static const struct cli_option policy_set_options[] = {
    {"file", 'f', "FILE", "FILE", false, "file with the policy (HuJSON); - for standard input"},
    {"message", 'm', "TEXT", NULL, false, "reason for the change, kept in the history", true},
    END,
};

static const struct cli_option policy_why_options[] = {
    {"proto", 'p', "PROTOCOL", NULL, false,
     "tcp, udp, icmp, ipv6-icmp, sctp or a number (default: any of the first four)"},
    END,
};

static const struct cli_option check_options[] = {
    {"fetch", 0, NULL, NULL, false, "also fetch the DERP maps of derp.urls"},
    END,
};
static const struct cli_option reference_options[] = {
    {"output", 'o', "FORMAT", "table markdown yaml json", false, "table, markdown, yaml (an example file) or json"},
    END,
};

static const struct cli_option dump_options[] = {
    {"secrets", 0, NULL, NULL, false, "with the hashes of keys"},
    END,
};

static const struct cli_group groups[] = {
    {"users", "user", "People who own nodes"},
    {"nodes", "node n", "Machines of the network"},
    {"preauthkeys", "preauthkey authkeys authkey pre", "Auth keys: machines join with them, without a login"},
    {"relays", "relay-servers derp", "Relays (DERP) on other machines"},
    {"policy", "acl", "Who may reach whom"},
    {"config", "", "The configuration file"},
    {"database", "db", "What the server keeps, while it does not run"},
    {"log", "", "What the running server logs"},
    {0},
};

static const struct cli_command commands[] = {
    {"", "serve", "", "", 0, 0, NULL, "run the server",
     "Runs until it receives SIGINT or SIGTERM. Without a configuration file it listens on port 8080 and keeps "
     "everything below /var/lib/fullscale (or ./fullscale-data when not root).",
     "fullscale serve\nfullscale serve --config /etc/fullscale/config.yaml\n# without a file\n"
     "FULLSCALE_SERVER_URL=https://hs.example.com fullscale serve",
     no_options, cli_serve, false},

    {"", "relay", "", "", 0, 0, NULL, "run only a relay (DERP and STUN), for a control server elsewhere",
     "Makes its own certificate and announces itself to the control server; nodes use the relay for as long as it "
     "runs. They reach it at derp.server.hostname, or else at the address from which it connects to the control "
     "server. TCP 8443 and UDP 3478 must be open. On SIGTERM the relay drains: nodes move to other relays before it "
     "exits. A second SIGTERM ends it at once.",
     "# on the control server\nfullscale relays create frankfurt\n# here, once\n"
     "fullscale relay --server https://hs.example.com --key -\n# or\n"
     "fullscale relay --server https://hs.example.com --key-file /root/relay.key\n# and from then on\nfullscale relay",
     relay_run_options, cli_relay, false},

    {"users", "rename", "mv", "[USER NEW-NAME]", 0, 2, NULL, "change a user's name", NULL,
     "fullscale users rename anna anna.nowak\nfullscale users rename --identifier 1 --new-name anna.nowak",
     user_rename_options, cli_users_rename, false},
    {"users", "set-role", "role", "[USER] ROLE", 1, 2, NULL, "set a user's role",
     "ROLE is owner, admin, network-admin, it-admin, billing-admin, auditor or member. A policy names roles as "
     "autogroup:owner, autogroup:admin and so on. The first user of a network is its owner. Owners, admins and "
     "network admins may apply every tag.",
     "fullscale users set-role anna admin\nfullscale users set-role --identifier 2 auditor", user_options,
     cli_users_set_role, false},
    {"users", "delete", "destroy", "[USER]", 0, 1, NULL, "delete a user who has no nodes",
     "The user's auth keys are deleted as well. Delete the user's nodes, or give them to another user, first.",
     "fullscale users delete anna\nfullscale users delete --identifier 1 --force", user_options, cli_users_delete,
     false},

    {"nodes", "list", "ls", "", 0, 0, NULL, "list nodes", NULL,
     "fullscale nodes list\nfullscale nodes list --user anna -o json", of_user_options, cli_nodes_list, false},
    {"nodes", "show", "get", "[NODE]", 0, 1, NULL, "show one node", "NODE is an id, a name or an address.",
     "fullscale nodes show laptop\nfullscale nodes show 100.64.0.1 -o yaml", node_options, cli_nodes_show, false},
    {"nodes", "rename", "mv", "[NODE] NEW-NAME", 1, 2, NULL, "change a node's name",
     "NEW-NAME becomes the node's MagicDNS name: letters, digits and hyphens. It no longer follows the machine's host"
     " name.",
     "fullscale nodes rename laptop annas-laptop\nfullscale nodes rename --identifier 3 annas-laptop", node_options,
     cli_nodes_rename, false},
    {"nodes", "expire", "logout exp e", "[NODE]", 0, 1, NULL, "expire a node's key, now or later",
     "A node whose key has expired reaches nobody until somebody logs in on it again.",
     "fullscale nodes expire laptop\nfullscale nodes expire laptop --expiry 30d\n"
     "fullscale nodes expire laptop --disable",
     node_expire_options, cli_nodes_expire, false},
    {"nodes", "tag", "tags t", "[NODE] [TAGS]", 0, 2, NULL, "replace a node's tags",
     "A tagged node has no owner: the policy's rules for its tags apply to it instead of those for a user, and its "
     "key does not expire. The last tag cannot be removed. When there is a policy, its tagOwners must name the tags.",
     "fullscale nodes tag web-1 tag:web,tag:prod\nfullscale nodes tag -i 3 -t tag:web", node_tag_options, cli_nodes_tag,
     false},
    {"nodes", "list-routes", "lsr routes", "[NODE]", 0, 1, NULL, "list the routes that nodes advertise and serve",
     "SERVING lists the routes for which other nodes send their traffic to this node now. When several nodes may "
     "serve a route, one of them does; another takes over when that one is offline or its key has expired.",
     "fullscale nodes list-routes\nfullscale nodes list-routes -i router -o json", node_options, cli_nodes_list_routes,
     false},
    {"nodes", "approve-routes", "approve", "[NODE] [ROUTES]", 0, 2, NULL, "approve routes that a node may serve",
     "ROUTES replaces the routes that were approved before. 0.0.0.0/0 or ::/0 makes the node an exit node, for IPv4 "
     "and IPv6.",
     "fullscale nodes approve-routes -i router -r 10.0.0.0/8,192.168.0.0/24\n"
     "fullscale nodes approve-routes -i gateway -r 0.0.0.0/0\n# withdraw all approvals\n"
     "fullscale nodes approve-routes -i router -r ''",
     node_approve_options, cli_nodes_approve_routes, false, true},
    {"nodes", "delete", "del rm", "[NODE]", 0, 1, NULL, "delete a node", "The node is logged out and forgotten.",
     "fullscale nodes delete laptop\nfullscale nodes delete --identifier 3 --force", node_options, cli_nodes_delete,
     false},

    {"preauthkeys", "create", "c new", "", 0, 0, NULL, "create an auth key",
     "The key is printed once; the server stores only its hash. --user may be left out when there is only one user, "
     "and with --tags, since tagged nodes have no owner.",
     "fullscale preauthkeys create --user anna\nfullscale preauthkeys create --user anna --reusable --expiration 24h\n"
     "# use it on the other machine\ntailscale up --login-server http://SERVER:8080 --auth-key KEY",
     key_create_options, cli_preauthkeys_create, false},
    {"preauthkeys", "expire", "revoke exp e", "[KEY]", 0, 1, NULL, "make an auth key unusable",
     "KEY is an id, or the key itself (- reads it from standard input). Nodes that joined with the key stay in the "
     "network.",
     "fullscale preauthkeys expire 3\nfullscale preauthkeys expire --id 3", key_options, cli_preauthkeys_expire, false},
    {"preauthkeys", "delete", "del rm d", "[KEY]", 0, 1, NULL, "delete an auth key",
     "KEY is an id, or the key itself (- reads it from standard input). Nodes that joined with the key stay in the "
     "network.",
     "fullscale preauthkeys delete 3", key_options, cli_preauthkeys_delete, false},

    {"relays", "create", "c new add", "NAME", 1, 1, NULL, "enrol a relay on another machine",
     "Prints the relay's key, which is not shown again: start `fullscale relay` with it on the other machine. While "
     "that runs, the relay is in every node's DERP map. Relays of the same region forward packets to each other.",
     "fullscale relays create frankfurt\nfullscale relays create tokyo-2 --region-id 902\n"
     "# then, on the other machine, which asks for the key\nfullscale relay --server https://hs.example.com --key -",
     relay_create_options, cli_relays_create, false},

    {"policy", "get", "show view fetch", "", 0, 0, NULL, "print the policy in force", NULL,
     "fullscale policy get > policy.hujson\n# an earlier version\nfullscale policy get --version-number 3",
     policy_get_options, cli_policy_get, false},
    {"policy", "set", "put update", "[FILE]", 0, 1, "FILE", "apply a policy (policy.mode: database)",
     "The policy must parse, and its own tests must pass with the present users and nodes. Otherwise nothing changes,"
     " and every error is reported with line and column. Connected nodes are updated at once.",
     "fullscale policy set -f policy.hujson\nfullscale policy set -f policy.hujson -m \"web servers for anna\"",
     policy_set_options, cli_policy_set, false},
    {"policy", "check", "test", "[FILE]", 0, 1, "FILE", "check a policy without applying it",
     "When a server runs here, the policy's own tests are run with its users and nodes. Exits with 1 when `policy "
     "set` would refuse the policy.",
     "fullscale policy check -f policy.hujson", policy_file_options, cli_policy_check, false},
    {"policy", "diff", "", "[FILE]", 0, 1, "FILE", "show what a policy would grant and revoke",
     "Compares the file with the policy in force, for all addresses. Nothing is applied.",
     "fullscale policy diff -f policy.hujson", policy_file_options, cli_policy_diff, false},
    {"policy", "why", "explain", "SRC DST[:PORT]", 2, 2, NULL, "explain why a connection is allowed or denied",
     "SRC and DST are the name of a node, an address, a user (anna@example.com), a tag or a host of the policy. Lists"
     " the rules that allow the connection. When none does, names the rule that comes closest, and exits with 1.",
     "fullscale policy why laptop server:443\nfullscale policy why anna@example.com tag:web:22\n"
     "fullscale policy why laptop [fd7a:115c:a1e0::7]:53 --proto udp",
     policy_why_options, cli_policy_why, false},
    {"policy", "history", "log versions", "", 0, 0, NULL, "list the versions of the policy (policy.mode: database)",
     NULL, "fullscale policy history", no_options, cli_policy_history, false},
    {"policy", "rollback", "revert", "N", 1, 1, NULL, "apply an earlier version of the policy (policy.mode: database)",
     "The text of version N becomes the newest version. The same checks apply as for `policy set`.",
     "fullscale policy history\nfullscale policy rollback 3", no_options, cli_policy_rollback, false},

    {"config", "check", "test", "", 0, 0, NULL, "check the configuration and this machine",
     "Does what the server does before it listens, and changes nothing: reads certificates, keys, policy, DERP maps "
     "and database, and checks folders and addresses. Exits with 1 when the server would not start, or clients could "
     "not reach it.",
     "fullscale config check\nfullscale config check -c ./config.yaml\n# including DERP maps of other servers\n"
     "fullscale config check --fetch",
     check_options, cli_config_check, false},
    {"config", "reference", "", "", 0, 0, NULL, "list all configuration keys: type, default, unit, meaning", NULL,
     "fullscale config reference\n# an example file to start from\nfullscale config reference -o yaml > config.yaml",
     reference_options, cli_config_reference, false},
    {"config", "show", "dump", "", 0, 0, NULL, "print the configuration in force", NULL, "fullscale config show",
     no_options, cli_config_show, false},

    {"database", "dump", "export", "[FILE]", 0, 1, NULL, "write all rows as lines of JSON",
     "Without FILE to standard output. FILE must not exist yet. The hashes of auth keys and relay keys are left out, "
     "unless --secrets asks for them: only such a dump can be imported. The server must not be running.",
     "fullscale database dump --secrets backup.json\nfullscale database dump | grep '\"node\"'", dump_options,
     cli_database_dump, false},
    {"database", "import", "", "FILE", 1, 1, NULL, "read a dump into an empty database",
     "All of it or, if a line cannot be used, nothing: that line is named. The database of the configuration is made "
     "if there is none. The server must not be running.",
     "fullscale database import backup.json", no_options, cli_database_import, false},

    {"log", "level", "", "[[MODULE] LEVEL]", 0, 2, NULL, "show or change log levels of the running server",
     "LEVEL is trace, debug, info, warn, error or off. Without MODULE it applies to all.",
     "fullscale log level\nfullscale log level debug\nfullscale log level relay trace", no_options, cli_log_level,
     false},

    {"", "health", "", "", 0, 0, NULL, "check that the running server works", "Exits with 0 when it does.",
     "fullscale health", no_options, cli_health, false},
    {"", "version", "", "", 0, 0, NULL, "show the version", NULL, "fullscale version", no_options, cli_version, false},
    {"", "completion", "", "SHELL", 1, 1, "bash zsh fish", "print a completion script for bash, zsh or fish", NULL,
     "# bash\nfullscale completion bash > /etc/bash_completion.d/fullscale\n# zsh\n"
     "fullscale completion zsh > /usr/share/zsh/site-functions/_fullscale\n# fish\n"
     "fullscale completion fish > ~/.config/fish/completions/fullscale.fish",
     no_options, cli_completion_run, false},
    {"", "man", "", "", 0, 0, NULL, "print the manual page", NULL, "fullscale man > fullscale.1 && man ./fullscale.1",
     no_options, cli_man_run, false},
    {"", "configtest", "", "", 0, 0, NULL, "the same as config check", NULL, "fullscale configtest", check_options,
     cli_config_check, true},
    {0},
};

const struct cli_spec cli_by_code = {
    .name = "fullscale",
    .summary = "the server side of a Tailscale network in one program",
    .start = "fullscale serve\nfullscale users create anna\nfullscale preauthkeys create --user anna",
    .groups = groups,
    .commands = commands,
    .options = global_options,
};
