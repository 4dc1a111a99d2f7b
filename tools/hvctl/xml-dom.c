/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the converter of domains wants from libxml2. */
#include "xml-dom.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <stdarg.h>
#include <string.h>

#include "hvctl.h"

#define X(text) ((const xmlChar *)(text))

bool hvctl_xml_fail(GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, HVCTL_ERROR, HVCTL_FILE, text);
    return false;
}

static void fail_parse(xmlParserCtxt *parser, GError **error)
{
    const xmlError *why = xmlCtxtGetLastError(parser);
    g_autofree char *text = NULL;

    if (!why || !why->message) {
        hvctl_xml_fail(error, "the text is not well-formed XML.");
        return;
    }
    text = g_strdelimit(g_strstrip(g_strdup(why->message)), "\n", ' ');
    hvctl_xml_fail(error, "the text is not well-formed XML: line %d: %s.",
                   why->line, text);
}

xmlDoc *hvctl_xml_parse(const char *text, size_t length, GError **error)
{
    g_autoptr(xmlDoc) doc = NULL;
    xmlParserCtxt *parser;

    if (length > HVCTL_XML_MAX_BYTES) {
        hvctl_xml_fail(error, "a domain's XML has at most %d bytes.",
                       HVCTL_XML_MAX_BYTES);
        return NULL;
    }
    parser = xmlNewParserCtxt();
    if (!parser) {
        hvctl_xml_fail(error, "there is no memory for a parser.");
        return NULL;
    }
    doc = xmlCtxtReadMemory(parser, text, (int)length, NULL, NULL,
                            XML_PARSE_NONET | XML_PARSE_NOBLANKS |
                                XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) {
        fail_parse(parser, error);
    }
    xmlFreeParserCtxt(parser);
    if (doc && doc->intSubset) {
        hvctl_xml_fail(error, "a domain has no document type declaration.");
        return NULL;
    }
    return g_steal_pointer(&doc);
}

char *hvctl_xml_print(xmlDoc *doc)
{
    xmlBuffer *buffer = xmlBufferCreate();
    xmlSaveCtxt *save =
        xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_FORMAT | XML_SAVE_NO_DECL);
    char *text;

    xmlSaveDoc(save, doc);
    xmlSaveClose(save);
    text = g_strndup((const char *)xmlBufferContent(buffer),
                     xmlBufferLength(buffer));
    xmlBufferFree(buffer);
    return text;
}

bool hvctl_xml_is(const xmlNode *node, const char *href, const char *name)
{
    const char *own = node->ns ? (const char *)node->ns->href : NULL;

    return node->type == XML_ELEMENT_NODE && !g_strcmp0(own, href) &&
           (!name || !strcmp((const char *)node->name, name));
}

static xmlNode *from(xmlNode *node, const char *href, const char *name)
{
    while (node && !hvctl_xml_is(node, href, name)) {
        node = node->next;
    }
    return node;
}

xmlNode *hvctl_xml_first(const xmlNode *parent, const char *href,
                         const char *name)
{
    return parent ? from(parent->children, href, name) : NULL;
}

xmlNode *hvctl_xml_next(const xmlNode *node, const char *href, const char *name)
{
    return from(node->next, href, name);
}

xmlNode *hvctl_xml_find(const xmlNode *parent, const char *name,
                        const char *attribute, const char *value)
{
    xmlNode *node = hvctl_xml_first(parent, NULL, name);

    while (node && !hvctl_xml_has(node, attribute, value)) {
        node = hvctl_xml_next(node, NULL, name);
    }
    return node;
}

xmlNode *hvctl_xml_add(xmlNode *parent, xmlNs *ns, const char *name, ...)
{
    /* xmlNewChild() would take the parent's namespace for none. */
    xmlNode *node = xmlNewDocNode(parent->doc, ns, X(name), NULL);
    const char *attribute;
    va_list arguments;

    va_start(arguments, name);
    while ((attribute = va_arg(arguments, const char *))) {
        hvctl_xml_set(node, attribute, va_arg(arguments, const char *));
    }
    va_end(arguments);
    return xmlAddChild(parent, node);
}

xmlNode *hvctl_xml_ensure(xmlNode *parent, const char *name, bool *made)
{
    xmlNode *node = hvctl_xml_first(parent, NULL, name);

    *made = !node;
    return node ? node : hvctl_xml_add(parent, NULL, name, NULL);
}

void hvctl_xml_drop(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

void hvctl_xml_drop_all(xmlNode *parent, const char *name)
{
    xmlNode *node;

    while ((node = hvctl_xml_first(parent, NULL, name))) {
        hvctl_xml_drop(node);
    }
}

void hvctl_xml_drop_empty(xmlNode *node)
{
    if (!xmlFirstElementChild(node)) {
        hvctl_xml_drop(node);
    }
}

char *hvctl_xml_get(const xmlNode *node, const char *attribute)
{
    xmlChar *value = xmlGetNoNsProp((xmlNode *)node, X(attribute));
    char *copy = g_strdup((const char *)value);

    xmlFree(value);
    return copy;
}

void hvctl_xml_set(xmlNode *node, const char *attribute, const char *value)
{
    xmlSetProp(node, X(attribute), X(value));
}

void hvctl_xml_unset(xmlNode *node, const char *attribute)
{
    xmlUnsetProp(node, X(attribute));
}

bool hvctl_xml_has(const xmlNode *node, const char *attribute,
                   const char *value)
{
    g_autofree char *own = hvctl_xml_get(node, attribute);

    return !g_strcmp0(own, value);
}

bool hvctl_xml_given(const xmlNode *node, const char *attribute)
{
    return xmlHasProp(node, X(attribute));
}

bool hvctl_xml_number(const xmlNode *node, const char *attribute,
                      unsigned *value, GError **error)
{
    g_autofree char *text = hvctl_xml_get(node, attribute);
    guint64 number;

    if (!text ||
        !g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT, &number, NULL)) {
        return hvctl_xml_fail(error, "<%s %s='%s'> is not a number.",
                              (const char *)node->name, attribute,
                              text ? text : "");
    }
    *value = number;
    return true;
}
