/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What file copy says to people. */
#include "devices/fcopy.h"

bool vmbus_fcopy_state_ended(VmbusFcopyState state)
{
    return state >= VMBUS_FCOPY_DONE;
}

const char *vmbus_fcopy_state_name(VmbusFcopyState state)
{
    static const char *const names[] = {
        [VMBUS_FCOPY_STARTING] = "starting",
        [VMBUS_FCOPY_COPYING] = "copying",
        [VMBUS_FCOPY_COMPLETING] = "completing",
        [VMBUS_FCOPY_STOPPED] = "stopped",
        [VMBUS_FCOPY_CANCELLING] = "cancelling",
        [VMBUS_FCOPY_DONE] = "done",
        [VMBUS_FCOPY_FAILED] = "failed",
        [VMBUS_FCOPY_CANCELLED] = "cancelled",
    };

    return (unsigned)state < G_N_ELEMENTS(names) ? names[state] : "unknown";
}

const char *vmbus_fcopy_service_name(VmbusFcopyService service)
{
    static const char *const names[] = {
        [VMBUS_FCOPY_SERVICE_CLOSED] = "closed",
        [VMBUS_FCOPY_SERVICE_NEGOTIATING] = "negotiating",
        [VMBUS_FCOPY_SERVICE_READY] = "ready",
    };

    return (unsigned)service < G_N_ELEMENTS(names) ? names[service] : "unknown";
}

static const char *const result_sentences[VMBUS_FCOPY_RESULTS] = {
    [VMBUS_FCOPY_OK] = "The file was copied.",
    [VMBUS_FCOPY_NOT_OPEN] = "The guest has not opened the file copy service.",
    [VMBUS_FCOPY_NOT_READY] =
        "The guest has opened the file copy service, but not agreed to a "
        "version of it.",
    [VMBUS_FCOPY_UNUSABLE] =
        "The guest's file copy service cannot be used: it agreed to no "
        "version, or its ring is no good.",
    [VMBUS_FCOPY_BUSY] = "Another file is being copied.",
    [VMBUS_FCOPY_ANSWER_MISSING] =
        "The guest has not answered to the last step of an earlier copy yet.",
    [VMBUS_FCOPY_BAD_REQUEST] = "A copy needs a time limit for its steps.",
    [VMBUS_FCOPY_PATH_NOT_UTF8] = "The destination is no valid UTF-8.",
    [VMBUS_FCOPY_PATH_RELATIVE] =
        "The destination begins neither with / nor with a drive, as in C:\\.",
    [VMBUS_FCOPY_PATH_NO_NAME] = "The destination has no name of a file.",
    [VMBUS_FCOPY_PATH_DOTS] = "The destination has a part that is . or ...",
    [VMBUS_FCOPY_PATH_CHARACTER] =
        "The destination has a character that names of files do not have.",
    [VMBUS_FCOPY_DIRECTORY_TOO_LONG] =
        "The directory of the destination is longer than 259 bytes.",
    [VMBUS_FCOPY_NAME_TOO_LONG] =
        "The name of the destination is longer than 259 bytes.",
    [VMBUS_FCOPY_NO_SUCH_COPY] = "There is no such copy.",
    [VMBUS_FCOPY_ENDED] = "The copy has ended.",
    [VMBUS_FCOPY_NOT_STOPPED] = "The copy is not stopped.",
    [VMBUS_FCOPY_TOO_LATE] =
        "The guest has the whole file and is completing it.",
    [VMBUS_FCOPY_RING_TOO_SMALL] = "The guest's ring is too small for a "
                                   "fragment of the file.",
    [VMBUS_FCOPY_GONE] =
        "The guest closed the file copy service before the copy was done.",
    [VMBUS_FCOPY_TIMEOUT] = "The guest did not answer in time.",
    [VMBUS_FCOPY_READ_FAILED] = "The file cannot be read on the host.",
    [VMBUS_FCOPY_READ_TIMEOUT] =
        "The file could not be read on the host in time.",
    [VMBUS_FCOPY_FILE_CHANGED] =
        "The file changed on the host while it was copied.",
    [VMBUS_FCOPY_EXISTS] = "The guest has such a file already.",
    [VMBUS_FCOPY_DISK_FULL] = "The guest's disk is full.",
    [VMBUS_FCOPY_NOT_SUPPORTED] = "The guest does not support file copy.",
    [VMBUS_FCOPY_INVALID] = "The guest found the request invalid.",
    [VMBUS_FCOPY_START_FAILED] =
        "The guest could not create the file; its directory may be missing, "
        "or a Linux guest's file copy daemon does not run.",
    [VMBUS_FCOPY_WRITE_FAILED] =
        "The guest could not write the file; its disk may be full.",
    [VMBUS_FCOPY_COMPLETE_FAILED] = "The guest could not complete the file.",
    [VMBUS_FCOPY_WAS_CANCELLED] = "The copy was cancelled.",
    [VMBUS_FCOPY_NOT_RESUMED] =
        "The copy stopped, and was not resumed in time.",
};

const char *vmbus_fcopy_result_sentence(VmbusFcopyResult result)
{
    return (unsigned)result < VMBUS_FCOPY_RESULTS
               ? result_sentences[result]
               : "The result of the copy is unknown.";
}
