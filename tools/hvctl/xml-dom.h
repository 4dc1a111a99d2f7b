/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HVCTL_XML_DOM_H
#define HVCTL_XML_DOM_H

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

/* libvirt takes no more than this, either. */
#define HVCTL_XML_MAX_BYTES (10 * 1024 * 1024)

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* Sets *@error to a sentence; always returns false. */
bool hvctl_xml_fail(GError **error, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Without blank text; NULL with *@error set if it is no XML. */
xmlDoc *hvctl_xml_parse(const char *text, size_t length, GError **error);

/* Indented, with no XML declaration; free with g_free. */
char *hvctl_xml_print(xmlDoc *doc);

/*
 * Elements.  @href is the namespace, NULL for none; @name may be NULL for any.
 * What is returned belongs to the document, and is NULL if there is no more.
 */
xmlNode *hvctl_xml_first(const xmlNode *parent, const char *href,
                         const char *name);
xmlNode *hvctl_xml_next(const xmlNode *node, const char *href,
                        const char *name);
/* The first one whose attribute has this value. */
xmlNode *hvctl_xml_find(const xmlNode *parent, const char *name,
                        const char *attribute, const char *value);
bool hvctl_xml_is(const xmlNode *node, const char *href, const char *name);

/* At the end of @parent; names and values of attributes follow, then NULL. */
xmlNode *hvctl_xml_add(xmlNode *parent, xmlNs *ns, const char *name,
                       ...) G_GNUC_NULL_TERMINATED;
/* The first one of this name, made if there is none; says so in *@made. */
xmlNode *hvctl_xml_ensure(xmlNode *parent, const char *name, bool *made);
void hvctl_xml_drop(xmlNode *node);
/* Drops all children of this name. */
void hvctl_xml_drop_all(xmlNode *parent, const char *name);
/* Drops it if it holds no element any more. */
void hvctl_xml_drop_empty(xmlNode *node);

/* An attribute's value, or NULL; free with g_free. */
char *hvctl_xml_get(const xmlNode *node, const char *attribute);
void hvctl_xml_set(xmlNode *node, const char *attribute, const char *value);
void hvctl_xml_unset(xmlNode *node, const char *attribute);
bool hvctl_xml_has(const xmlNode *node, const char *attribute,
                   const char *value);
/* Whether there is such an attribute. */
bool hvctl_xml_given(const xmlNode *node, const char *attribute);
/* False with *@error set unless it is a decimal number of 32 bits. */
bool hvctl_xml_number(const xmlNode *node, const char *attribute,
                      unsigned *value, GError **error);

#endif
