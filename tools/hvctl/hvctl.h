/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HVCTL_H
#define HVCTL_H

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Exit codes.  hvctl.1 and --help show the same table (exits.c). */
typedef enum HvctlExit {
    HVCTL_DONE = 0,
    HVCTL_BROKEN = 1,
    HVCTL_USAGE = 2,
    HVCTL_UNREACHABLE = 3,
    HVCTL_NO_VMBUS = 4,
    HVCTL_NOT_OPEN = 5,
    HVCTL_REFUSED = 6,
    HVCTL_TIMEOUT = 7,
    HVCTL_NOT_OK = 8,
    HVCTL_NO_KVM = 9,
    HVCTL_DISABLED = 10,
    HVCTL_NOT_READY = 11,
    HVCTL_COMMAND = 12,
    HVCTL_LOST = 13,
    HVCTL_NOT_THAWED = 14,
    HVCTL_NO_KEY = 15,
    HVCTL_EXISTS = 16,
    HVCTL_STOPPED = 17,
    HVCTL_FILE = 18,
    HVCTL_LOCKED = 19,
    HVCTL_IN_PROGRESS = 20,
    HVCTL_FINDINGS = 21,
} HvctlExit;

typedef struct HvctlExitInfo {
    HvctlExit code;
    const char *meaning;
} HvctlExitInfo;

extern const HvctlExitInfo hvctl_exits[];
extern const unsigned hvctl_exit_count;

/* GErrors of this program: the code is a HvctlExit, the message a sentence. */
#define HVCTL_ERROR hvctl_error_quark()
GQuark hvctl_error_quark(void);

typedef struct HvctlOptions {
    /* The machine: by its socket, or with libvirt. */
    char *qmp;     /* a path, or tcp:HOST:PORT */
    char *connect; /* libvirt's URI; "" for its default */
    char *domain;  /* its name or UUID; not NULL: the machine is libvirt's */
    bool json;
    bool watch;  /* heartbeat */
    bool reboot; /* shutdown */
    bool hibernate;
    bool force;
    bool wait;
    char *message;
    char *device; /* host-check */
    bool sync;    /* timesync */
    double hold;  /* snapshot-freeze: seconds; negative: the default */
    char *run;    /* a command for the shell */
    char **args;  /* what follows the command's name; ends with NULL */
    bool direct;  /* kvp get */
    bool number;  /* kvp set */
    bool dhcp;    /* ip set */
    char **addresses, **gateways, **dns;
    bool overwrite; /* copy */
    bool create_path;
    bool progress;
    int64_t resume, cancel; /* numbers of copies; 0: none */
    bool stock, native;     /* xml */
    double timeout; /* seconds; 0: none; negative: the command's default */
} HvctlOptions;

/*
 * The commands.  Each prints its result on the standard output and returns an
 * exit code; when it fails, *@error may hold why.
 */
typedef int HvctlCommand(const HvctlOptions *options, GError **error);
HvctlCommand hvctl_status, hvctl_heartbeat, hvctl_shutdown, hvctl_host_check;
HvctlCommand hvctl_timesync, hvctl_vss_status, hvctl_snapshot_freeze,
    hvctl_snapshot_thaw;
HvctlCommand hvctl_doctor;
HvctlCommand hvctl_kvp, hvctl_ip, hvctl_copy_file, hvctl_xml;

/* Prints the object that @builder has made, as one line or indented. */
void hvctl_print_json(JsonBuilder *builder, bool indented);

#endif
