/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hvctl host-check: KVM or TCG on this machine? */
#include "kvm/host-check.h"

#include <stdio.h>

#include "hvctl.h"

static const char *accelerator(const HvHostCheck *check)
{
    return check->verdict == HV_HOST_OK ? "kvm" : "tcg";
}

static void print_as_json(const HvHostCheck *check)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "accelerator");
    json_builder_add_string_value(builder, accelerator(check));
    json_builder_set_member_name(builder, "reason");
    json_builder_add_string_value(builder, check->reason);
    json_builder_set_member_name(builder, "capabilities");
    json_builder_begin_array(builder);
    for (unsigned i = 0; check->asked && i < HV_HOST_CAPS; i++) {
        const HvHostCap *cap = &check->cap[i];

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "name");
        json_builder_add_string_value(builder, cap->name);
        json_builder_set_member_name(builder, "required");
        json_builder_add_boolean_value(builder, cap->required);
        json_builder_set_member_name(builder, "offered");
        json_builder_add_boolean_value(builder, cap->value > 0);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    hvctl_print_json(builder, true);
}

static void print_as_text(const HvHostCheck *check)
{
    for (unsigned i = 0; check->asked && i < HV_HOST_CAPS; i++) {
        const HvHostCap *cap = &check->cap[i];
        const char *answer = cap->value > 0  ? "yes"
                             : cap->required ? "no, but needed"
                                             : "no";

        printf("%-26s %-15s %s\n", cap->name, answer, cap->use);
    }
    printf("%s: %s\n", accelerator(check), check->reason);
    fflush(stdout);
}

int hvctl_host_check(const HvctlOptions *options, GError **error)
{
    HvHostCheck check;

    hv_host_check(&check,
                  options->device ? options->device : HV_HOST_KVM_DEVICE, NULL);
    if (options->json) {
        print_as_json(&check);
    } else {
        print_as_text(&check);
    }
    return check.verdict == HV_HOST_OK ? HVCTL_DONE : HVCTL_NO_KVM;
}
