/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands that a disk or a CD drive may know, nearly right. */
#ifndef SCSI_COMMANDS_H
#define SCSI_COMMANDS_H

#include "fuzz.h"

typedef struct ScsiCommand {
    uint8_t cdb[16];
    uint8_t length;  /* of @cdb */
    uint8_t data_in; /* STOR_DATA_* */
    uint32_t data_len;
    /* What goes to the unit, if it is no block's content. */
    uint8_t parameters[64];
    uint8_t parameter_len;
} ScsiCommand;

/* Blocks of @block_size bytes (0: there is no unit). */
void scsi_make_command(FuzzInput *in, uint32_t block_size, ScsiCommand *cmd);

/* Does it read or write blocks from or to its data? */
bool scsi_is_read(const uint8_t *cdb);
bool scsi_is_write(const uint8_t *cdb);
/* The first block of such a command, and how many they are. */
uint64_t scsi_block(const uint8_t *cdb);
uint32_t scsi_block_count(const uint8_t *cdb);

#endif
