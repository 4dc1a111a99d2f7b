/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between hyperv-synic.c, which has the pages, and hyperv.c, which has the
 * SINTs that fill them.  All under the big QEMU lock, but for what is said to
 * be read by others.
 */
#ifndef HW_VMBUS_HYPERV_INTERNAL_H
#define HW_VMBUS_HYPERV_INTERNAL_H

#include "exec/memory.h"
#include "hw/qdev-core.h"
#include "hyperv-synic.h"

#define TYPE_SYNIC "hyperv-synic"
OBJECT_DECLARE_SIMPLE_TYPE(SynICState, SYNIC)

typedef struct SintLine SintLine;

struct SynICState {
    DeviceState parent_obj;

    CPUState *cs;
    bool sctl_enabled;
    bool events_on; /* that, and there is an event page; any thread reads it */
    hwaddr msg_page_addr;   /* 0: off */
    hwaddr event_page_addr; /* 0: off */
    MemoryRegion msg_page_mr;
    MemoryRegion event_page_mr;
    SintLine *lines[HV_SINT_COUNT]; /* NULL while a SINT has no route */
};

/* The SynIC of @cs, or of the virtual processor @vp_index; NULL: none. */
SynICState *hyperv_synic_get(CPUState *cs);
SynICState *hyperv_synic_find(uint32_t vp_index);
/* Host pointers to the pages, which exist whether they are mapped or not. */
void *hyperv_synic_msg_page(SynICState *synic);
void *hyperv_synic_event_page(SynICState *synic);

/* The line's CPU goes away; routes stay until their owners drop them. */
void hyperv_sint_line_unplug(SintLine *line);

#endif
