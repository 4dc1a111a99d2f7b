/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "scsi/constants.h"
#include "devices/storvsp-protocol.h"
#include "scsi-commands.h"

/* What comes with a command. */
typedef enum Data {
    NOTHING,
    BLOCKS_IN, /* as many as the command says */
    BLOCKS_OUT,
    REPLY,      /* at most as many bytes as the command says */
    PARAMETERS, /* bytes, as many as it says */
    ONE_BLOCK,  /* and the command's number is of something else */
} Data;

static const struct {
    uint8_t opcode;
    uint8_t weight;
    uint8_t data;
} table[] = {
    {READ_10, 30, BLOCKS_IN},
    {WRITE_10, 30, BLOCKS_OUT},
    {READ_6, 6, BLOCKS_IN},
    {READ_12, 6, BLOCKS_IN},
    {READ_16, 10, BLOCKS_IN},
    {WRITE_6, 6, BLOCKS_OUT},
    {WRITE_12, 6, BLOCKS_OUT},
    {WRITE_16, 10, BLOCKS_OUT},
    {WRITE_VERIFY_10, 4, BLOCKS_OUT},
    {WRITE_VERIFY_12, 3, BLOCKS_OUT},
    {WRITE_VERIFY_16, 3, BLOCKS_OUT},
    {VERIFY_10, 4, BLOCKS_OUT},
    {VERIFY_12, 2, BLOCKS_OUT},
    {VERIFY_16, 2, BLOCKS_OUT},
    {WRITE_SAME_10, 6, ONE_BLOCK},
    {WRITE_SAME_16, 6, ONE_BLOCK},
    {UNMAP, 8, PARAMETERS},
    {MODE_SELECT, 8, PARAMETERS},
    {MODE_SELECT_10, 8, PARAMETERS},
    {MODE_SENSE, 8, REPLY},
    {MODE_SENSE_10, 8, REPLY},
    {INQUIRY, 8, REPLY},
    {REQUEST_SENSE, 4, REPLY},
    {REPORT_LUNS, 4, REPLY},
    {READ_CAPACITY_10, 4, REPLY},
    {SERVICE_ACTION_IN_16, 6, REPLY},
    {MAINTENANCE_IN, 4, REPLY},
    {PERSISTENT_RESERVE_IN, 2, REPLY},
    {PERSISTENT_RESERVE_OUT, 2, PARAMETERS},
    {READ_TOC, 4, REPLY},
    {GET_CONFIGURATION, 4, REPLY},
    {GET_EVENT_STATUS_NOTIFICATION, 5, REPLY},
    {READ_DISC_INFORMATION, 3, REPLY},
    {READ_DVD_STRUCTURE, 5, REPLY},
    {MECHANISM_STATUS, 3, REPLY},
    {LOG_SENSE, 1, REPLY},
    {READ_BUFFER, 1, REPLY},
    {TEST_UNIT_READY, 4, NOTHING},
    {START_STOP, 6, NOTHING},
    {ALLOW_MEDIUM_REMOVAL, 4, NOTHING},
    {SYNCHRONIZE_CACHE, 6, NOTHING},
    {SYNCHRONIZE_CACHE_16, 2, NOTHING},
    {SEEK_10, 2, NOTHING},
    {RESERVE, 1, NOTHING},
    {RELEASE, 1, NOTHING},
    {RESERVE_10, 1, NOTHING},
    {RELEASE_10, 1, NOTHING},
    {SEND_DIAGNOSTIC, 2, PARAMETERS},
    {FORMAT_UNIT, 2, PARAMETERS},
    {SET_CD_SPEED, 1, NOTHING},
    {ATA_PASSTHROUGH_12, 1, REPLY},
    {ATA_PASSTHROUGH_16, 1, REPLY},
    {PRE_FETCH, 1, NOTHING},
    {COMPARE_AND_WRITE, 1, BLOCKS_OUT},
    {VARLENGTH_CDB, 1, NOTHING},
};

/* Mode pages, and what pages of INQUIRY and READ DVD STRUCTURE look like. */
static const uint8_t mode_pages[] = {0x01, 0x03, 0x04, 0x05, 0x08, 0x0d,
                                     0x0e, 0x1a, 0x2a, 0x3f, 0x00, 0x30};
static const uint8_t inquiry_pages[] = {0x00, 0x80, 0x83, 0x85,
                                        0xb0, 0xb1, 0xb2, 0xb7};

static uint8_t length_of(uint8_t opcode)
{
    switch (opcode >> 5) {
    case 0:
        return 6;
    case 1:
    case 2:
        return 10;
    case 4:
        return 16;
    default:
        return 12;
    }
}

bool scsi_is_read(const uint8_t *cdb)
{
    return cdb[0] == READ_6 || cdb[0] == READ_10 || cdb[0] == READ_12 ||
           cdb[0] == READ_16;
}

bool scsi_is_write(const uint8_t *cdb)
{
    return cdb[0] == WRITE_6 || cdb[0] == WRITE_10 || cdb[0] == WRITE_12 ||
           cdb[0] == WRITE_16;
}

uint64_t scsi_block(const uint8_t *cdb)
{
    switch (length_of(cdb[0])) {
    case 6:
        return ldl_be_p(cdb) & 0x1fffff;
    case 16:
        return ldq_be_p(cdb + 2);
    default:
        return ldl_be_p(cdb + 2);
    }
}

uint32_t scsi_block_count(const uint8_t *cdb)
{
    switch (length_of(cdb[0])) {
    case 6:
        return cdb[4] ?: 256;
    case 10:
        return lduw_be_p(cdb + 7);
    case 12:
        return ldl_be_p(cdb + 6);
    default:
        return ldl_be_p(cdb + 10);
    }
}

/* The fields that commands of one length have in common. */
static void put_fields(ScsiCommand *cmd, uint64_t block, uint32_t count)
{
    uint8_t *cdb = cmd->cdb;

    switch (cmd->length) {
    case 6:
        cdb[1] |= block >> 16 & 0x1f;
        stw_be_p(cdb + 2, block);
        cdb[4] = count;
        break;
    case 10:
        stl_be_p(cdb + 2, block);
        stw_be_p(cdb + 7, count);
        break;
    case 12:
        stl_be_p(cdb + 2, block);
        stl_be_p(cdb + 6, count);
        break;
    default:
        stq_be_p(cdb + 2, block);
        stl_be_p(cdb + 10, count);
        break;
    }
}

static void put_mode_page(FuzzInput *in, uint8_t *page, uint8_t *len)
{
    static const uint8_t lengths[] = {10, 22, 22, 30, 18, 0, 14, 10, 20};
    unsigned which = fuzz_below(in, G_N_ELEMENTS(lengths));

    page[0] = mode_pages[which];
    page[1] = lengths[which];
    fuzz_copy(in, page + 2, fuzz_below(in, 8));
    *len += 2 + lengths[which];
}

/* The parameter list of MODE SELECT: a header, block descriptors, pages. */
static void put_mode_list(FuzzInput *in, ScsiCommand *cmd)
{
    uint8_t *list = cmd->parameters;
    bool ten = cmd->length == 10;
    uint8_t len = ten ? 8 : 4;

    cmd->cdb[1] = fuzz_chance(in, 90) ? 0x10 : fuzz_u8(in);
    if (fuzz_chance(in, 40)) {
        list[ten ? 7 : 3] = 8;
        stl_be_p(list + len + 4, fuzz_value(in, 3, 512, 4096));
        len += 8;
    }
    put_mode_page(in, list + len, &len);
    if (fuzz_chance(in, 10)) {
        fuzz_copy(in, list, 8);
    }
    cmd->parameter_len = MIN(len, sizeof(cmd->parameters));
}

/* The parameter list of UNMAP: up to three extents. */
static void put_extents(FuzzInput *in, ScsiCommand *cmd)
{
    unsigned count = fuzz_below(in, 4);
    uint8_t *list = cmd->parameters;

    stw_be_p(list, 6 + count * 16);
    stw_be_p(list + 2, count * 16);
    for (unsigned i = 0; i < count; i++) {
        stq_be_p(list + 8 + i * 16, fuzz_value(in, 8, 0, 2100));
        stl_be_p(list + 16 + i * 16, fuzz_value(in, 4, 0, 64));
    }
    if (fuzz_chance(in, 10)) {
        fuzz_copy(in, list, 4);
    }
    cmd->parameter_len = 8 + count * 16;
}

static uint8_t one_of(FuzzInput *in, const uint8_t *bytes, unsigned count)
{
    uint8_t which = fuzz_u8(in);

    return which < 0xf0 ? bytes[which % count] : which;
}

/* Fields that only this command has. */
static void put_details(FuzzInput *in, ScsiCommand *cmd)
{
    uint8_t *cdb = cmd->cdb;

    switch (cdb[0]) {
    case INQUIRY:
        cdb[1] = fuzz_chance(in, 70);
        cdb[2] = cdb[1] ? one_of(in, inquiry_pages, sizeof(inquiry_pages)) : 0;
        break;
    case MODE_SENSE:
    case MODE_SENSE_10:
        cdb[1] = fuzz_below(in, 2) << 3;
        cdb[2] = one_of(in, mode_pages, sizeof(mode_pages)) | fuzz_below(in, 4)
                                                                  << 6;
        break;
    case MODE_SELECT:
    case MODE_SELECT_10:
        put_mode_list(in, cmd);
        break;
    case UNMAP:
        put_extents(in, cmd);
        break;
    case SERVICE_ACTION_IN_16:
        cdb[1] = fuzz_chance(in, 80) ? SAI_READ_CAPACITY_16 : fuzz_u8(in);
        break;
    case GET_EVENT_STATUS_NOTIFICATION:
        cdb[1] = !fuzz_chance(in, 20);
        cdb[4] = fuzz_u8(in);
        break;
    case READ_DVD_STRUCTURE:
        cdb[7] = fuzz_chance(in, 80) ? fuzz_below(in, 5) : 0xff;
        stw_be_p(cdb + 8, fuzz_value(in, 2, 0, 2200));
        break;
    case START_STOP:
        cdb[4] = fuzz_chance(in, 80) ? fuzz_below(in, 4) : fuzz_u8(in);
        break;
    default:
        if (fuzz_chance(in, 30)) {
            cdb[1] = fuzz_u8(in);
        }
        if (fuzz_chance(in, 10)) {
            cdb[2] = fuzz_u8(in);
        }
        break;
    }
}

static unsigned choose(FuzzInput *in)
{
    unsigned sum = 0, i, at;

    for (i = 0; i < G_N_ELEMENTS(table); i++) {
        sum += table[i].weight;
    }
    at = fuzz_number(in, 2) % sum;
    for (i = 0; at >= table[i].weight; i++) {
        at -= table[i].weight;
    }
    return i;
}

void scsi_make_command(FuzzInput *in, uint32_t block_size, ScsiCommand *cmd)
{
    unsigned which = choose(in);
    bool blocks = table[which].data <= BLOCKS_OUT;
    uint32_t count = fuzz_value(in, 4, !blocks, blocks ? 40 : 255);
    uint32_t unit = block_size ?: 512;

    *cmd = (ScsiCommand){.cdb = {table[which].opcode},
                         .length = length_of(table[which].opcode)};
    put_fields(cmd,
               blocks || fuzz_chance(in, 30)
                   ? fuzz_value(in, cmd->length == 16 ? 8 : 4, 0, 2100)
                   : 0,
               count);
    put_details(in, cmd);
    switch (table[which].data) {
    case NOTHING:
        cmd->data_in = STOR_DATA_NONE;
        break;
    case BLOCKS_IN:
        cmd->data_in = STOR_DATA_IN;
        cmd->data_len = count * unit;
        break;
    case REPLY:
        cmd->data_in = STOR_DATA_IN;
        cmd->data_len = count;
        break;
    case BLOCKS_OUT:
        cmd->data_len = count * unit;
        break;
    case PARAMETERS:
        cmd->data_len = cmd->parameter_len ?: fuzz_below(in, 64);
        if (cmd->length == 6) {
            cmd->cdb[4] = cmd->data_len;
        } else {
            stw_be_p(cmd->cdb + 7, cmd->data_len);
        }
        break;
    case ONE_BLOCK:
        cmd->data_len = unit;
        break;
    }
    if (fuzz_chance(in, 8)) { /* other room than the command asks for */
        cmd->data_len = fuzz_value(in, 4, 0, 9000);
    }
    if (fuzz_chance(in, 4)) {
        cmd->data_in = fuzz_u8(in) % 4;
    }
    if (fuzz_chance(in, 3)) {
        fuzz_copy(in, cmd->cdb + 1, 15);
    }
    if (fuzz_chance(in, 2)) {
        cmd->cdb[0] = fuzz_u8(in);
    }
    if (fuzz_chance(in, 3)) {
        cmd->length = fuzz_value(in, 1, 1, 16);
    }
}
