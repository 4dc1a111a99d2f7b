/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of GPADLs, against a simple account of what it was given. */
#include <malloc.h>

#include "bus/gpadl.h"
#include "fuzz.h"

#define IDS    6
#define RELIDS 3

typedef struct Account {
    bool exists;
    uint32_t relid;
    uint32_t declared, given; /* words */
} Account;

/* Of this connection by id, and of earlier ones by relid and id. */
typedef struct Accounts {
    Account now[IDS];
    Account kept[RELIDS][IDS];
} Accounts;

/* The table's hook has no argument of its own. */
static bool fail_alloc;
static size_t size_limit;

static void *allocate(void *mem, size_t size)
{
    fuzz_require(size <= size_limit,
                 "Memory was asked for that the guest has not sent.");
    return fail_alloc ? NULL : g_try_realloc(mem, size);
}

static uint32_t make_words(FuzzInput *in, uint64_t *words, uint32_t room)
{
    uint32_t count = 0;
    uint32_t ranges = fuzz_value(in, 1, 1, 3) % 8;

    for (uint32_t i = 0; i < ranges; i++) {
        uint32_t pages = fuzz_value(in, 1, 1, 12);
        uint64_t bytes = fuzz_value(in, 4, pages * VMBUS_PAGE_SIZE, 1);
        uint64_t offset = fuzz_value(in, 4, 0, 1);
        uint64_t page = fuzz_value(in, 8, 0, 64);

        if (count + pages + 1 > room) {
            break;
        }
        words[count++] = bytes | offset << 32;
        for (uint32_t j = 0; j < pages; j++) {
            words[count++] = page + j;
        }
    }
    return count;
}

static void append(VmbusGpadlTable *table, Account *account, uint32_t id,
                   const uint64_t *words, uint32_t len)
{
    VmbusGpadl *gpadl = vmbus_gpadl_find(table, id);
    uint32_t count = MIN(len / 8, account->declared - account->given);
    uint8_t *copy;
    const char *why;

    if (!gpadl || gpadl->complete) {
        return;
    }
    /* Not aligned, as in a message, and of exactly its size. */
    copy = g_malloc(len + 4);
    memcpy(copy + 4, words, len);
    size_limit = 8 * MAX(32, 2 * (account->given + count));
    why = vmbus_gpadl_append(table, gpadl, copy + 4, len);
    g_free(copy);
    if (why) {
        vmbus_gpadl_remove(table, gpadl);
        account->exists = false;
        return;
    }
    account->given += count;
    fuzz_require(gpadl->received == account->given,
                 "A GPADL has not got what was sent.");
    fuzz_require(gpadl->complete == (account->given == account->declared),
                 "A GPADL is complete too soon, or too late.");
}

static void begin(VmbusGpadlTable *table, Accounts *accounts, FuzzInput *in)
{
    uint32_t relid = fuzz_below(in, RELIDS) + 1;
    uint32_t index = fuzz_below(in, IDS + 1);
    uint32_t id = index < IDS ? index + 1 : 0;
    uint64_t words[256];
    uint32_t count = make_words(in, words, G_N_ELEMENTS(words));
    uint16_t ranges = fuzz_value(in, 2, 1, 2);
    uint16_t buflen = fuzz_value(in, 2, count * 8, 1);
    uint32_t part =
        fuzz_chance(in, 70) ? count * 8 : fuzz_below(in, count * 8 + 1);
    const char *why = NULL;
    VmbusGpadl *gpadl;

    size_limit = sizeof(*gpadl);
    gpadl = vmbus_gpadl_begin(table, relid, id, ranges, buflen, &why);
    fuzz_require(!gpadl == (why != NULL),
                 "A GPADL was refused without a sentence.");
    if (!gpadl) {
        return;
    }
    fuzz_require(id && !accounts->now[index].exists &&
                     !accounts->kept[relid - 1][index].exists,
                 "An id was taken twice.");
    accounts->now[index] =
        (Account){.exists = true, .relid = relid, .declared = buflen / 8};
    append(table, &accounts->now[index], id, words, part);
}

/* What @relid means by @id, or what the connection does if it is 0. */
static void look_at(const VmbusGpadlTable *table, const Account *account,
                    uint32_t relid, uint32_t id)
{
    const VmbusGpadl *gpadl = relid ? vmbus_gpadl_find_for(table, relid, id)
                                    : vmbus_gpadl_find(table, id);
    const uint64_t *pages;
    const char *why = NULL;
    uint32_t count = 0;
    uint64_t sum = 0;

    if (relid && gpadl && !gpadl->kept) {
        gpadl = NULL;
    }
    fuzz_require(!gpadl == !account->exists, "A GPADL was lost, or is left.");
    if (!gpadl) {
        return;
    }
    fuzz_require(malloc_usable_size(gpadl->words) >= gpadl->received * 8,
                 "A GPADL has less memory than pages.");
    pages = vmbus_gpadl_ring_pages(gpadl, &count, &why);
    fuzz_require(!pages == (why != NULL),
                 "A GPADL cannot hold rings, without a sentence.");
    for (uint32_t i = 0; pages && i < count; i++) {
        sum += pages[i];
    }
    *(volatile uint64_t *)&sum = sum;
}

static void remove_all(VmbusGpadlTable *table, Accounts *accounts,
                       uint32_t relid)
{
    for (uint32_t i = 0; i < IDS; i++) {
        Account *account = &accounts->now[i];

        if (relid == 0 || account->relid == relid) {
            account->exists = false;
        }
        for (uint32_t j = 0; j < RELIDS; j++) {
            if (relid == 0 || relid == j + 1) {
                accounts->kept[j][i].exists = false;
            }
        }
    }
    vmbus_gpadl_remove_all(table, relid);
}

static bool outlives(void *opaque, uint32_t relid)
{
    return *(const uint8_t *)opaque >> relid & 1;
}

static void end_connection(VmbusGpadlTable *table, Accounts *accounts,
                           uint8_t which)
{
    for (uint32_t i = 0; i < IDS; i++) {
        Account *account = &accounts->now[i];

        for (uint32_t j = 0; j < RELIDS; j++) {
            if (!(which >> (j + 1) & 1)) {
                accounts->kept[j][i].exists = false;
            }
        }
        if (account->exists && which >> account->relid & 1 &&
            account->given == account->declared) {
            accounts->kept[account->relid - 1][i] = *account;
        }
        account->exists = false;
    }
    vmbus_gpadl_end_connection(table, outlives, &which);
}

static void remove_kept(VmbusGpadlTable *table, Accounts *accounts,
                        uint32_t relid, uint32_t index)
{
    VmbusGpadl *gpadl = vmbus_gpadl_find_for(table, relid, index + 1);

    if (gpadl && gpadl->kept) {
        vmbus_gpadl_remove(table, gpadl);
        accounts->kept[relid - 1][index].exists = false;
    }
}

static void step(VmbusGpadlTable *table, Accounts *accounts, FuzzInput *in)
{
    uint8_t what = fuzz_u8(in) % 18;
    uint32_t index = fuzz_below(in, IDS);
    VmbusGpadl *gpadl = vmbus_gpadl_find(table, index + 1);
    uint64_t words[64];
    uint32_t count;

    switch (what) {
    case 0 ... 5:
        begin(table, accounts, in);
        break;
    case 6 ... 11:
        count = make_words(in, words, G_N_ELEMENTS(words));
        append(table, &accounts->now[index], index + 1, words,
               fuzz_value(in, 1, count * 8, 1) % sizeof(words));
        break;
    case 12:
    case 13:
        if (gpadl) {
            vmbus_gpadl_remove(table, gpadl);
            accounts->now[index].exists = false;
        }
        break;
    case 16:
        end_connection(table, accounts, fuzz_u8(in));
        break;
    case 17:
        remove_kept(table, accounts, fuzz_below(in, RELIDS) + 1, index);
        break;
    case 14:
        remove_all(table, accounts, fuzz_below(in, 4));
        break;
    default:
        fail_alloc = fuzz_u8(in) & 1;
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Accounts accounts = {0};
    VmbusGpadlTable table;

    vmbus_gpadl_table_init(&table);
    table.reallocate = allocate;
    fail_alloc = false;
    while (!fuzz_end(&in)) {
        const char *why;

        step(&table, &accounts, &in);
        why = vmbus_gpadl_table_check(&table);
        fuzz_require(!why, why);
        for (uint32_t i = 0; i < IDS; i++) {
            look_at(&table, &accounts.now[i], 0, i + 1);
            for (uint32_t j = 0; j < RELIDS; j++) {
                look_at(&table, &accounts.kept[j][i], j + 1, i + 1);
            }
        }
    }
    remove_all(&table, &accounts, 0);
    fuzz_require(vmbus_gpadl_count(&table) == 0 && table.pages == 0,
                 "Something is left of GPADLs that were removed.");
    vmbus_gpadl_table_destroy(&table);
    return 0;
}
