/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl xml: the same domain for libvirt with VMBus and without. */
#include "xml.h"

#include <stdio.h>
#include <errno.h>
#include <string.h>

#include "hvctl.h"

static char *read_file(FILE *file, size_t *length, GError **error)
{
    GString *text = g_string_new(NULL);
    char buffer[65536];
    size_t n;

    /* One byte more than there may be shows that it is too long. */
    while (text->len <= HVCTL_XML_MAX_BYTES &&
           (n = fread(buffer, 1, sizeof(buffer), file)) > 0) {
        g_string_append_len(text, buffer, n);
    }
    if (ferror(file)) {
        g_set_error(error, HVCTL_ERROR, HVCTL_FILE,
                    "the domain's XML cannot be read: %s.", g_strerror(errno));
        g_string_free(text, TRUE);
        return NULL;
    }
    *length = text->len;
    return g_string_free(text, FALSE);
}

static char *read_input(const char *path, size_t *length, GError **error)
{
    FILE *file;
    char *text;

    if (!strcmp(path, "-")) {
        return read_file(stdin, length, error);
    }
    file = fopen(path, "re");
    if (!file) {
        g_set_error(error, HVCTL_ERROR, HVCTL_FILE, "%s cannot be opened: %s.",
                    path, g_strerror(errno));
        return NULL;
    }
    text = read_file(file, length, error);
    fclose(file);
    return text;
}

static bool convert(const HvctlOptions *options, xmlDoc *doc, GError **error)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);

    if (options->native) {
        return hvctl_xml_to_native(doc, error);
    }
    if (!hvctl_xml_to_stock(doc, warnings, error)) {
        return false;
    }
    for (unsigned i = 0; i < warnings->len; i++) {
        fprintf(stderr, "hvctl: %s\n", (char *)warnings->pdata[i]);
    }
    return true;
}

int hvctl_xml(const HvctlOptions *options, GError **error)
{
    g_autoptr(xmlDoc) doc = NULL;
    g_autofree char *text = NULL, *result = NULL;
    size_t length;

    if (options->stock == options->native ||
        g_strv_length(options->args) != 1) {
        g_set_error(error, HVCTL_ERROR, HVCTL_USAGE,
                    "xml takes --stock or --native, and a file.");
        return HVCTL_USAGE;
    }
    text = read_input(options->args[0], &length, error);
    doc = text ? hvctl_xml_parse(text, length, error) : NULL;
    if (!doc || !convert(options, doc, error)) {
        return HVCTL_FILE; /* or what *error says */
    }
    result = hvctl_xml_print(doc);
    if (fputs(result, stdout) == EOF || fflush(stdout) == EOF) {
        g_set_error(error, HVCTL_ERROR, HVCTL_FILE,
                    "the result cannot be written: %s.", g_strerror(errno));
        return HVCTL_FILE;
    }
    return HVCTL_DONE;
}
