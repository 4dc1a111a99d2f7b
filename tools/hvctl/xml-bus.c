/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the domain's XML says of VMBus, as libvirt with VMBus reads it. */
#include <string.h>

#include "xml.h"

#define HOLD_MAX 86400 /* seconds; libvirt's limit */

const HvctlXmlService hvctl_xml_services[HVCTL_XML_SERVICES] = {
    {"heartbeat", "hv-heartbeat"},
    {"shutdown", "hv-shutdown"},
    {"timesync", "hv-timesync"},
    {"vss", "hv-vss"},
    {"kvp", "hv-kvp"},
    {"filecopy", "hv-fcopy"},
};

/* Without synic and vpindex there is no VMBus; Windows wants the others. */
static const char *const enlightenments[] = {
    "relaxed", "vapic", "vpindex", "runtime", "synic", "stimer",
};

static int find_service(const char *name)
{
    for (int i = 0; i < HVCTL_XML_SERVICES; i++) {
        if (!g_strcmp0(name, hvctl_xml_services[i].name)) {
            return i;
        }
    }
    return -1;
}

static bool read_hold(const xmlNode *service, const char *name,
                      HvctlXmlBus *bus, GError **error)
{
    g_autofree char *text = hvctl_xml_get(service, "hold");

    if (!text) {
        return true;
    }
    if (strcmp(name, "vss") != 0) {
        return hvctl_xml_fail(error,
                              "VMBus service '%s' has no setting 'hold'; only "
                              "'vss' has it.",
                              name);
    }
    if (!hvctl_xml_number(service, "hold", &bus->hold, error)) {
        return false;
    }
    if (bus->hold == 0 || bus->hold > HOLD_MAX) {
        return hvctl_xml_fail(error,
                              "VMBus service 'vss' can hold a guest frozen for "
                              "1 to %d seconds, not %u.",
                              HOLD_MAX, bus->hold);
    }
    return true;
}

static bool read_service(const xmlNode *service, HvctlXmlBus *bus, bool *seen,
                         GError **error)
{
    g_autofree char *name = hvctl_xml_get(service, "name");
    g_autofree char *state = hvctl_xml_get(service, "state");
    int index = find_service(name);

    if (!name) {
        return hvctl_xml_fail(error, "a <service> of <vmbus> has no name.");
    }
    if (index < 0) {
        return hvctl_xml_fail(error, "there is no VMBus service '%s'.", name);
    }
    if (seen[index]) {
        return hvctl_xml_fail(
            error, "VMBus service '%s' is given more than once.", name);
    }
    if (state && strcmp(state, "on") != 0 && strcmp(state, "off") != 0) {
        return hvctl_xml_fail(
            error, "VMBus service '%s' can be 'on' or 'off', not '%s'.", name,
            state);
    }
    seen[index] = true;
    bus->on[index] = !state || !strcmp(state, "on");
    return read_hold(service, name, bus, error);
}

bool hvctl_xml_read_bus(const xmlNode *vmbus, HvctlXmlBus *bus, GError **error)
{
    bool seen[HVCTL_XML_SERVICES] = {false};
    const xmlNode *service;

    bus->hold = 0;
    for (int i = 0; i < HVCTL_XML_SERVICES; i++) {
        bus->on[i] = true;
    }
    for (service = hvctl_xml_first(vmbus, NULL, "service"); service;
         service = hvctl_xml_next(service, NULL, "service")) {
        if (!read_service(service, bus, seen, error)) {
            return false;
        }
    }
    return true;
}

void hvctl_xml_added(xmlNode *record, const char *name)
{
    hvctl_xml_add(record, record->ns, "added", "name", name, NULL);
}

bool hvctl_xml_was_added(const xmlNode *record, const char *name)
{
    const xmlNode *added = hvctl_xml_first(record, HVCTL_XML_OWN_NS, "added");

    while (added && !hvctl_xml_has(added, "name", name)) {
        added = hvctl_xml_next(added, HVCTL_XML_OWN_NS, "added");
    }
    return added;
}

/* As hvctl_xml_ensure(), told in @record. */
static xmlNode *ensure(xmlNode *parent, const char *name, xmlNode *record)
{
    bool made;
    xmlNode *node = hvctl_xml_ensure(parent, name, &made);

    if (made) {
        hvctl_xml_added(record, name);
    }
    return node;
}

static bool turn_on_clock(xmlNode *domain, xmlNode *record, GError **error)
{
    xmlNode *clock = ensure(domain, "clock", record);
    xmlNode *timer = hvctl_xml_find(clock, "timer", "name", "hypervclock");

    if (!clock->properties) {
        hvctl_xml_set(clock, "offset", "utc"); /* libvirt's default */
    }
    if (!timer) {
        hvctl_xml_added(record, "timer");
        timer =
            hvctl_xml_add(clock, NULL, "timer", "name", "hypervclock", NULL);
    }
    if (hvctl_xml_has(timer, "present", "no")) {
        return hvctl_xml_fail(
            error, "VMBus needs the timer 'hypervclock', which is off.");
    }
    if (!hvctl_xml_given(timer, "present")) {
        hvctl_xml_added(record, "present");
        hvctl_xml_set(timer, "present", "yes");
    }
    return true;
}

bool hvctl_xml_enlighten(xmlNode *domain, xmlNode *record, GError **error)
{
    xmlNode *features = hvctl_xml_first(domain, NULL, "features");
    xmlNode *hyperv;

    if (!hvctl_xml_first(features, NULL, "acpi")) {
        return hvctl_xml_fail(error, "VMBus needs the feature <acpi/>: a guest "
                                     "finds the bus by ACPI.");
    }
    hyperv = ensure(features, "hyperv", record);
    /* This turns on whatever the host has. */
    if (hvctl_xml_has(hyperv, "mode", "passthrough")) {
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(enlightenments); i++) {
        xmlNode *feature = ensure(hyperv, enlightenments[i], record);

        if (!hvctl_xml_given(feature, "state")) {
            hvctl_xml_set(feature, "state", "on");
        }
        if (!hvctl_xml_has(feature, "state", "on")) {
            return hvctl_xml_fail(
                error, "VMBus needs the hyperv feature '%s', which is off.",
                enlightenments[i]);
        }
    }
    return turn_on_clock(domain, record, error);
}

static void undo_clock(xmlNode *domain, const xmlNode *record)
{
    xmlNode *clock = hvctl_xml_first(domain, NULL, "clock");
    xmlNode *timer = hvctl_xml_find(clock, "timer", "name", "hypervclock");

    if (timer && hvctl_xml_was_added(record, "timer")) {
        hvctl_xml_drop(timer);
    } else if (timer && hvctl_xml_was_added(record, "present")) {
        hvctl_xml_unset(timer, "present");
    }
    if (clock && hvctl_xml_was_added(record, "clock")) {
        hvctl_xml_drop_empty(clock);
    }
}

void hvctl_xml_undo_enlighten(xmlNode *domain, const xmlNode *record)
{
    xmlNode *features = hvctl_xml_first(domain, NULL, "features");
    xmlNode *hyperv = hvctl_xml_first(features, NULL, "hyperv");

    for (size_t i = 0; hyperv && i < G_N_ELEMENTS(enlightenments); i++) {
        xmlNode *feature = hvctl_xml_first(hyperv, NULL, enlightenments[i]);

        if (feature && hvctl_xml_was_added(record, enlightenments[i])) {
            hvctl_xml_drop(feature);
        }
    }
    if (hyperv && hvctl_xml_was_added(record, "hyperv")) {
        hvctl_xml_drop_empty(hyperv);
    }
    undo_clock(domain, record);
}

char *hvctl_xml_uuid(const char *text)
{
    char digits[33];
    int n = 0;

    for (; *text; text++) {
        if (*text == '-' || g_ascii_isspace(*text)) {
            continue;
        }
        if (!g_ascii_isxdigit(*text) || n == 32) {
            return NULL;
        }
        digits[n++] = g_ascii_tolower(*text);
    }
    digits[n] = '\0';
    if (n != 32 || strspn(digits, "0") == 32) {
        return NULL;
    }
    return g_strdup_printf("%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8,
                           digits + 12, digits + 16, digits + 20);
}

char *hvctl_xml_instance_id(const char *domain_uuid, const char *kind,
                            unsigned index, unsigned attempt)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree char *text =
        g_strdup_printf("vmbus %s %s %u %u", domain_uuid, kind, index, attempt);
    uint8_t digest[32];
    gsize length = sizeof(digest);
    GString *id = g_string_new(NULL);

    g_checksum_update(sum, (const uint8_t *)text, strlen(text));
    g_checksum_get_digest(sum, digest, &length);
    /* Version 8 and the variant of RFC 9562. */
    digest[6] = (digest[6] & 0x0f) | 0x80;
    digest[8] = (digest[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) {
        g_string_append_printf(id, "%s%02x",
                               i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                               digest[i]);
    }
    return g_string_free(id, FALSE);
}
