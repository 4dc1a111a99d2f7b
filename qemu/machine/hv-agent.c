/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protocol of the QEMU guest agent. */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-error.h"
#include "qemu-version.h"
#include "qobject/json-parser.h"
#include "qobject/qbool.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "hv-agent.h"

/* Stands in no UTF-8: the other side drops what it has read before it. */
#define SENTINEL 0xff

struct HvAgent {
    const HvAgentCommand *commands;
    const HvAgentOps *ops;
    void *opaque;
    JSONMessageParser parser;
    size_t command_len; /* bytes of the command that is being read */
    bool skipping;      /* the rest of one that was too long */
    GByteArray *input;  /* taken, and not looked at yet */
    const HvAgentCommand *current;
    QObject *id; /* the client's mark of the current command, or NULL */
    bool blocked, delimited;
    int turn; /* answers that may still be given in this turn */
};

static void parsed(void *opaque, QObject *json, Error *err);

static void drop_command(HvAgent *agent)
{
    json_message_parser_destroy(&agent->parser);
    json_message_parser_init(&agent->parser, parsed, agent, NULL);
    agent->command_len = 0;
    agent->skipping = false;
}

static void send_answer(HvAgent *agent, QDict *answer)
{
    GString *text;

    if (agent->id) {
        qdict_put_obj(answer, "id", agent->id);
        agent->id = NULL;
    }
    text = qobject_to_json(QOBJECT(answer));
    if (agent->delimited) {
        g_string_prepend_c(text, (char)SENTINEL);
        agent->delimited = false;
    }
    g_string_append_c(text, '\n');
    agent->ops->send(agent->opaque, text->str, text->len);
    g_string_free(text, true);
    qobject_unref(answer);
}

/* The protocol's clients know of two classes. */
static void send_error(HvAgent *agent, Error *err)
{
    ErrorClass class = error_get_class(err);
    QDict *error = qdict_new(), *answer = qdict_new();

    if (class != ERROR_CLASS_COMMAND_NOT_FOUND) {
        class = ERROR_CLASS_GENERIC_ERROR;
    }
    qdict_put_str(error, "class", QapiErrorClass_str(class));
    qdict_put_str(error, "desc", error_get_pretty(err));
    qdict_put(answer, "error", error);
    error_free(err);
    send_answer(agent, answer);
}

static void end_command(HvAgent *agent)
{
    agent->current = NULL;
    qobject_unref(agent->id);
    agent->id = NULL;
    agent->ops->wake(agent->opaque);
}

void hv_agent_return(HvAgent *agent, QObject *value)
{
    QDict *answer = qdict_new();

    assert(agent->current);
    qdict_put_obj(answer, "return", value ?: QOBJECT(qdict_new()));
    send_answer(agent, answer);
    end_command(agent);
}

void hv_agent_fail(HvAgent *agent, Error *err)
{
    assert(agent->current);
    send_error(agent, err);
    end_command(agent);
}

/* Commands of the protocol itself. */

static void start_sync(HvAgent *agent, void *opaque, const QDict *args)
{
    hv_agent_return(agent, qobject_ref(qdict_get(args, "id")));
}

static void start_sync_delimited(HvAgent *agent, void *opaque,
                                 const QDict *args)
{
    agent->delimited = true;
    start_sync(agent, opaque, args);
}

static void start_info(HvAgent *agent, void *opaque, const QDict *args);

static const HvAgentCommand own_commands[] = {
    {"guest-sync", {"id", HV_AGENT_INT}, .start = start_sync},
    {"guest-sync-delimited",
     {"id", HV_AGENT_INT},
     .start = start_sync_delimited},
    {"guest-info", .start = start_info},
    {},
};

static bool enabled(HvAgent *agent, const HvAgentCommand *command)
{
    return !command->needs ||
           agent->ops->has_device(agent->opaque, command->needs);
}

static void describe(HvAgent *agent, QList *list,
                     const HvAgentCommand *commands)
{
    for (; commands->name; commands++) {
        QDict *one = qdict_new();

        qdict_put_str(one, "name", commands->name);
        qdict_put_bool(one, "enabled", enabled(agent, commands));
        qdict_put_bool(one, "success-response", true);
        qlist_append(list, one);
    }
}

static void start_info(HvAgent *agent, void *opaque, const QDict *args)
{
    QDict *info = qdict_new();
    QList *list = qlist_new();

    describe(agent, list, own_commands);
    describe(agent, list, agent->commands);
    qdict_put_str(info, "version", QEMU_VERSION);
    qdict_put(info, "supported_commands", list);
    hv_agent_return(agent, QOBJECT(info));
}

static const HvAgentCommand *find(const HvAgentCommand *commands,
                                  const char *name)
{
    for (; commands->name; commands++) {
        if (!strcmp(commands->name, name)) {
            return commands;
        }
    }
    return NULL;
}

/* Checks of what a client sent; each returns false and sets @errp. */

static bool is_of_type(QObject *value, HvAgentType type)
{
    const QListEntry *entry;

    switch (type) {
    case HV_AGENT_INT:
        return qobject_type(value) == QTYPE_QNUM &&
               qobject_to(QNum, value)->kind != QNUM_DOUBLE;
    case HV_AGENT_STRING:
        return qobject_type(value) == QTYPE_QSTRING;
    case HV_AGENT_STRINGS:
        if (qobject_type(value) != QTYPE_QLIST) {
            return false;
        }
        QLIST_FOREACH_ENTRY(qobject_to(QList, value), entry) {
            if (qobject_type(qlist_entry_obj(entry)) != QTYPE_QSTRING) {
                return false;
            }
        }
        return true;
    default:
        return false;
    }
}

static bool check_arguments(const HvAgentCommand *command, const QDict *args,
                            Error **errp)
{
    static const char *const types[] = {
        [HV_AGENT_INT] = "an integer",
        [HV_AGENT_STRING] = "a string",
        [HV_AGENT_STRINGS] = "a list of strings",
    };
    const HvAgentArgument *known = &command->argument;
    const QDictEntry *entry;

    for (entry = qdict_first(args); entry; entry = qdict_next(args, entry)) {
        if (!known->name || strcmp(qdict_entry_key(entry), known->name)) {
            error_setg(errp, "%s has no argument '%s'", command->name,
                       qdict_entry_key(entry));
            return false;
        }
        if (!is_of_type(qdict_entry_value(entry), known->type)) {
            error_setg(errp, "the argument '%s' of %s must be %s", known->name,
                       command->name, types[known->type]);
            return false;
        }
    }
    if (known->name && !known->optional && !qdict_haskey(args, known->name)) {
        error_setg(errp, "%s needs the argument '%s'", command->name,
                   known->name);
        return false;
    }
    return true;
}

static bool check_members(const QDict *request, Error **errp)
{
    const QDictEntry *entry;

    for (entry = qdict_first(request); entry;
         entry = qdict_next(request, entry)) {
        const char *key = qdict_entry_key(entry);
        QType type = qobject_type(qdict_entry_value(entry));

        if (!strcmp(key, "execute")) {
            if (type != QTYPE_QSTRING) {
                error_setg(errp, "'execute' must be a string");
                return false;
            }
        } else if (!strcmp(key, "arguments")) {
            if (type != QTYPE_QDICT) {
                error_setg(errp, "'arguments' must be an object");
                return false;
            }
        } else if (strcmp(key, "id")) {
            error_setg(errp, "a command has no member '%s'", key);
            return false;
        }
    }
    if (!qdict_haskey(request, "execute")) {
        error_setg(errp, "a command needs the member 'execute'");
        return false;
    }
    return true;
}

static const HvAgentCommand *check_command(HvAgent *agent, const QDict *request,
                                           Error **errp)
{
    const char *name = qdict_get_str(request, "execute");
    const HvAgentCommand *command =
        find(own_commands, name) ?: find(agent->commands, name);

    if (!command) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
                  "this agent has no command '%s'", name);
        return NULL;
    }
    if (!enabled(agent, command)) {
        error_set(errp, ERROR_CLASS_COMMAND_NOT_FOUND,
                  "%s is disabled: the machine has no %s device", name,
                  command->needs);
        return NULL;
    }
    return command;
}

static void dispatch(HvAgent *agent, const QDict *request)
{
    const HvAgentCommand *command;
    Error *err = NULL;
    QDict *args;

    agent->id = qobject_ref(qdict_get(request, "id"));
    if (!check_members(request, &err) ||
        !(command = check_command(agent, request, &err))) {
        send_error(agent, err);
        return;
    }
    args = qdict_haskey(request, "arguments")
               ? qobject_ref(qdict_get_qdict(request, "arguments"))
               : qdict_new();
    if (check_arguments(command, args, &err)) {
        agent->current = command;
        command->start(agent, agent->opaque, args);
    } else {
        send_error(agent, err);
    }
    qobject_unref(args);
}

static void parsed(void *opaque, QObject *json, Error *err)
{
    HvAgent *agent = opaque;

    agent->command_len = 0;
    agent->turn--;
    if (!err && qobject_type(json) != QTYPE_QDICT) {
        error_setg(&err, "a command must be a JSON object");
    }
    if (err) {
        send_error(agent, err);
    } else {
        dispatch(agent, qobject_to(QDict, json));
    }
    qobject_unref(json);
}

static void refuse_long_command(HvAgent *agent)
{
    Error *err = NULL;

    drop_command(agent);
    agent->skipping = true;
    agent->turn--;
    error_setg(&err,
               "a command may have %d bytes; what follows is skipped "
               "until the end of a line",
               HV_AGENT_MAX_COMMAND);
    send_error(agent, err);
}

static void take_byte(HvAgent *agent, uint8_t byte)
{
    if (byte == SENTINEL) {
        drop_command(agent);
        return;
    }
    if (agent->skipping) {
        agent->skipping = byte != '\n';
        return;
    }
    if (!agent->command_len && g_ascii_isspace(byte)) {
        return;
    }
    agent->command_len++;
    json_message_parser_feed(&agent->parser, (char *)&byte, 1);
    if (agent->command_len >= HV_AGENT_MAX_COMMAND) {
        refuse_long_command(agent);
    }
}

static bool may_go_on(const HvAgent *agent)
{
    return agent->input->len && !agent->current && !agent->blocked;
}

void hv_agent_run(HvAgent *agent)
{
    guint used = 0;

    agent->turn = HV_AGENT_MAX_TURN;
    while (used < agent->input->len && !agent->current && !agent->blocked &&
           agent->turn > 0) {
        take_byte(agent, agent->input->data[used++]);
    }
    g_byte_array_remove_range(agent->input, 0, used);
    if (may_go_on(agent)) {
        agent->ops->wake(agent->opaque);
    }
}

size_t hv_agent_room(const HvAgent *agent)
{
    return agent->input->len || agent->current || agent->blocked
               ? 0
               : HV_AGENT_MAX_INPUT;
}

void hv_agent_input(HvAgent *agent, const void *bytes, size_t len)
{
    assert(len <= hv_agent_room(agent));
    g_byte_array_append(agent->input, bytes, len);
    hv_agent_run(agent);
}

void hv_agent_set_blocked(HvAgent *agent, bool blocked)
{
    agent->blocked = blocked;
    if (may_go_on(agent)) {
        agent->ops->wake(agent->opaque);
    }
}

void hv_agent_disconnect(HvAgent *agent)
{
    drop_command(agent);
    g_byte_array_set_size(agent->input, 0);
    agent->blocked = agent->delimited = false;
    qobject_unref(agent->id);
    agent->id = NULL;
    if (agent->current) {
        agent->current = NULL;
        agent->ops->abandon(agent->opaque);
    }
}

bool hv_agent_busy(const HvAgent *agent)
{
    return agent->current;
}

HvAgent *hv_agent_new(const HvAgentCommand *commands, const HvAgentOps *ops,
                      void *opaque)
{
    HvAgent *agent = g_new0(HvAgent, 1);

    agent->commands = commands;
    agent->ops = ops;
    agent->opaque = opaque;
    agent->input = g_byte_array_new();
    json_message_parser_init(&agent->parser, parsed, agent, NULL);
    return agent;
}

void hv_agent_free(HvAgent *agent)
{
    if (agent) {
        hv_agent_disconnect(agent);
        json_message_parser_destroy(&agent->parser);
        g_byte_array_unref(agent->input);
        g_free(agent);
    }
}
