/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File copy: the host writes a file into the guest, 6 KiB at a time.
 *
 * There is one copy at a time.  Each of its steps has a time limit, so that a
 * copy always ends.  A fragment that the guest had no room for stops the copy;
 * it can be resumed for a while, and the fragment is sent again.  No copy is
 * part of a saved state: the machine that loads it tells the guest to drop the
 * file.
 */
#ifndef VMBUS_FCOPY_H
#define VMBUS_FCOPY_H

#include <glib.h>

#include "bus/channel.h"

typedef struct VmbusFcopy VmbusFcopy;
struct IcPort;

typedef enum VmbusFcopyState {
    VMBUS_FCOPY_STARTING,   /* the guest is asked to create the file */
    VMBUS_FCOPY_COPYING,    /* fragments are read and sent */
    VMBUS_FCOPY_COMPLETING, /* the guest is asked to close the file */
    VMBUS_FCOPY_STOPPED,    /* the guest failed; may be resumed */
    VMBUS_FCOPY_CANCELLING, /* the guest is asked to drop the file */
    VMBUS_FCOPY_DONE,
    VMBUS_FCOPY_FAILED,
    VMBUS_FCOPY_CANCELLED,
} VmbusFcopyState;

/* What calls return, why a copy is stopped, and how it ended. */
typedef enum VmbusFcopyResult {
    VMBUS_FCOPY_OK,
    /* Not started: */
    VMBUS_FCOPY_NOT_OPEN,
    VMBUS_FCOPY_NOT_READY,
    VMBUS_FCOPY_UNUSABLE, /* no version in common, or a ring that is no good */
    VMBUS_FCOPY_BUSY,     /* with another copy */
    VMBUS_FCOPY_ANSWER_MISSING, /* the guest owes one for an earlier copy */
    VMBUS_FCOPY_BAD_REQUEST,
    VMBUS_FCOPY_PATH_NOT_UTF8,
    VMBUS_FCOPY_PATH_RELATIVE,
    VMBUS_FCOPY_PATH_NO_NAME,
    VMBUS_FCOPY_PATH_DOTS,
    VMBUS_FCOPY_PATH_CHARACTER,
    VMBUS_FCOPY_DIRECTORY_TOO_LONG,
    VMBUS_FCOPY_NAME_TOO_LONG,
    /* Of a copy that is to be cancelled or resumed: */
    VMBUS_FCOPY_NO_SUCH_COPY,
    VMBUS_FCOPY_ENDED,
    VMBUS_FCOPY_NOT_STOPPED,
    VMBUS_FCOPY_TOO_LATE,
    /* Stopped or ended: */
    VMBUS_FCOPY_RING_TOO_SMALL,
    VMBUS_FCOPY_GONE, /* the channel closed */
    VMBUS_FCOPY_TIMEOUT,
    VMBUS_FCOPY_READ_FAILED, /* on the host */
    VMBUS_FCOPY_READ_TIMEOUT,
    VMBUS_FCOPY_FILE_CHANGED, /* on the host, while it was copied */
    VMBUS_FCOPY_EXISTS,
    VMBUS_FCOPY_DISK_FULL,
    VMBUS_FCOPY_NOT_SUPPORTED,
    VMBUS_FCOPY_INVALID,
    VMBUS_FCOPY_START_FAILED, /* any other status of the guest, by step */
    VMBUS_FCOPY_WRITE_FAILED,
    VMBUS_FCOPY_COMPLETE_FAILED,
    VMBUS_FCOPY_WAS_CANCELLED,
    VMBUS_FCOPY_NOT_RESUMED, /* in time, after it stopped */
    VMBUS_FCOPY_RESULTS,
} VmbusFcopyResult;

typedef struct VmbusFcopyRequest {
    /*
     * UTF-8, absolute: /directory/name, or C:\directory\name.
     */
    const char *path;
    uint64_t size; /* bytes */
    bool overwrite;
    bool create_path;
    uint64_t step_ns; /* limit for each answer, and each read; not 0 */
    uint64_t hold_ns; /* how long a stopped copy can be resumed */
} VmbusFcopyRequest;

/* A copy as it stands.  Valid until the engine is called again. */
typedef struct VmbusFcopyCopy {
    uint64_t id; /* from 1 on */
    VmbusFcopyState state;
    VmbusFcopyResult result; /* of a copy that stopped or ended */
    uint32_t status;         /* HRESULT of the guest's last answer */
    char *path;
    uint64_t size, copied; /* bytes; copied is what the guest has written */
    char *sha256;          /* of what was sent, once done; else NULL */
} VmbusFcopyCopy;

typedef enum VmbusFcopyService {
    VMBUS_FCOPY_SERVICE_CLOSED, /* the guest has not opened the service */
    VMBUS_FCOPY_SERVICE_NEGOTIATING,
    VMBUS_FCOPY_SERVICE_READY,
} VmbusFcopyService;

typedef struct VmbusFcopyInfo {
    VmbusFcopyService service;
    uint32_t framework_version, message_version; /* 0 before agreed */
    uint64_t copies;                             /* begun */
    const VmbusFcopyCopy *copy; /* that has not ended; or NULL */
} VmbusFcopyInfo;

/* Ended copies that are kept. */
#define VMBUS_FCOPY_KEPT 8

typedef struct VmbusFcopyOps {
    /*
     * Read @len bytes, at most 6144, at @offset of the file of copy @id, and
     * call vmbus_fcopy_data() or vmbus_fcopy_read_failed(), now or later.
     */
    void (*read)(void *opaque, uint64_t id, uint64_t offset, uint32_t len);
    /* The guest has written more. */
    void (*progress)(void *opaque, const VmbusFcopyCopy *copy);
    /* The copy's state changed; its file is not read any more once it ended. */
    void (*changed)(void *opaque, const VmbusFcopyCopy *copy);
    /* Call vmbus_fcopy_tick() at @when_ns; replaces an earlier wish.
     * UINT64_MAX: no call wanted. */
    void (*wake_at)(void *opaque, uint64_t when_ns);
    /* Nanoseconds on a clock that goes on while the machine is stopped. */
    uint64_t (*now_ns)(void *opaque);
} VmbusFcopyOps;

/* For vmbus_bus_offer(); its opaque pointer is the VmbusFcopy. */
extern const VmbusOffer vmbus_fcopy_offer;
extern const VmbusChannelOps vmbus_fcopy_channel_ops;

VmbusFcopy *vmbus_fcopy_new(const VmbusFcopyOps *ops, void *opaque);
void vmbus_fcopy_free(VmbusFcopy *fc);
/*
 * The time asked for by wake_at() has come, or the machine runs again after a
 * state was loaded; calls at other times are harmless.
 */
void vmbus_fcopy_tick(VmbusFcopy *fc);
/*
 * Begins a copy.  VMBUS_FCOPY_OK: its id is in *@id, and changed() tells its
 * end, perhaps in this call.  Anything else: there is no copy.
 */
VmbusFcopyResult vmbus_fcopy_start(VmbusFcopy *fc, const VmbusFcopyRequest *req,
                                   uint64_t *id);
/* What read() of the ops asked for; calls that come too late do nothing. */
void vmbus_fcopy_data(VmbusFcopy *fc, uint64_t id, uint64_t offset,
                      const void *data, uint32_t len);
/* @why: VMBUS_FCOPY_READ_FAILED or _FILE_CHANGED. */
void vmbus_fcopy_read_failed(VmbusFcopy *fc, uint64_t id, VmbusFcopyResult why);
/* Has the guest drop the file. */
VmbusFcopyResult vmbus_fcopy_cancel(VmbusFcopy *fc, uint64_t id);
/*
 * Goes on with a copy that is stopped.  When the guest's disk was full, with
 * the fragment that failed.  After any other error from the start, because the
 * daemon of a Linux guest may be another one, and that takes fragments of a
 * file that it never opened.
 */
VmbusFcopyResult vmbus_fcopy_resume(VmbusFcopy *fc, uint64_t id);
/* A copy that has not ended, or is one of the last VMBUS_FCOPY_KEPT; or NULL.
 */
const VmbusFcopyCopy *vmbus_fcopy_copy(const VmbusFcopy *fc, uint64_t id);
void vmbus_fcopy_info(const VmbusFcopy *fc, VmbusFcopyInfo *info);
/* Its port (devices/ic.h), for counters and sentences; read only. */
const struct IcPort *vmbus_fcopy_port(const VmbusFcopy *fc);

/* The service in a saved machine.  The caller unrefs the array. */
GByteArray *vmbus_fcopy_save(const VmbusFcopy *fc);
/*
 * Brings @fc to a saved state; @chan is its channel, which the bus has loaded.
 * A copy that it has ends as VMBUS_FCOPY_GONE.  vmbus_fcopy_tick() must be
 * called when the machine runs.  NULL, or a static sentence, and then nothing
 * has changed; any bytes may be given.
 */
const char *vmbus_fcopy_load(VmbusFcopy *fc, VmbusChannel *chan,
                             const void *data, size_t len);

/* True of a state that is an end. */
bool vmbus_fcopy_state_ended(VmbusFcopyState state);
const char *vmbus_fcopy_state_name(VmbusFcopyState state);
const char *vmbus_fcopy_service_name(VmbusFcopyService service);
/* One sentence for people. */
const char *vmbus_fcopy_result_sentence(VmbusFcopyResult result);

/*
 * Checks a destination and takes it apart; the directory keeps its last
 * separator.  VMBUS_FCOPY_OK with two strings that the caller frees, or why it
 * is no good.
 */
VmbusFcopyResult vmbus_fcopy_split_path(const char *path, char **directory,
                                        char **name);

#endif
