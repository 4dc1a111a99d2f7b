/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole QEMU whose processors do not run, with one adapter and disks of all
 * kinds; a fuzz target plays the guest.  It is the machine of the guest's side
 * in tests/lib/vsc, too: vsc-machine.h.  There is one, in the thread of its
 * main loop, which holds QEMU's big lock all the time.
 */
#ifndef FUZZ_MACHINE_H
#define FUZZ_MACHINE_H

#include "vsc-machine.h"
#include "fuzz-disk.h"

/* Numbers of guest pages: for rings, and of those that are painted. */
#define FUZZ_RING_GFN  0x200
#define FUZZ_RINGS     0x40
#define FUZZ_AREA_GFN  0x280
#define FUZZ_AREA      0x60 /* pages */
#define FUZZ_SYNIC_GFN 0x2f0
#define FUZZ_RAM_PAGES 0x1000

#define FUZZ_LUNS        6
#define FUZZ_LUN_CD      2
#define FUZZ_LUN_STOP    3 /* an error stops the machine */
#define FUZZ_LUN_LIMITED 4 /* 100 requests a second */
#define FUZZ_LUN_HUGE    5 /* 8 TiB, of which FUZZ_DISK_STORE are kept */

typedef struct FuzzMachine {
    VscMachine vsc;
    FuzzDisk disks[FUZZ_LUNS];
} FuzzMachine;

FuzzMachine *fuzz_machine_start(void);

/* Lets QEMU do all that can be done now. */
void fuzz_machine_pump(void);
/* Lets time go by, which else stands still; and pumps. */
void fuzz_machine_sleep(unsigned ms);
/* The bridge, its bus, the adapter and the disks are reset. */
void fuzz_machine_reset(FuzzMachine *m);
/* What a reset leaves: the disks' content and settings, those unplugged. */
void fuzz_machine_restore(FuzzMachine *m);
/* Stops the machine, or lets it go on. */
void fuzz_machine_run(bool run);
/* Takes the unit's disk away, or puts it back. */
void fuzz_machine_plug(FuzzMachine *m, unsigned lun, bool plug);
/* The medium of the CD drive comes or goes. */
void fuzz_machine_load_cd(bool load);
void fuzz_machine_resize(unsigned lun, int64_t size);
/* Bytes of a block; 0 if there is no disk. */
uint32_t fuzz_machine_block_size(unsigned lun);
/* No unit tells of the reset. */
void fuzz_machine_forget_attention(void);
/* NULL, or what of it should not be while no channel is open. */
const char *fuzz_machine_check_idle(void);

#endif
