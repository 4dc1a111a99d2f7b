/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a multiboot loader, or a start-up IPI, to 64-bit C; and the entry
 * points of all interrupts and exceptions.
 */

#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x00010003 /* page aligned, memory info, addresses given */

#define CODE32 0x08
#define CODE64 0x10
#define DATA   0x18

#define TRAMPOLINE 0x8000
#define STACK_SIZE 0x4000

/* A bit for each exception: 8, 10 to 14, 17, 21, 29, 30. */
#define HAS_ERROR_CODE 0x60227d00

#define CR4_PAE  0x20
#define EFER     0xc0000080
#define EFER_LME 0x100

    .section .multiboot, "a"
    .align 4
mb_header:
    .long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)
    .long mb_header, image_start, image_load_end, image_bss_end, start32

/* Turns on paging and 64-bit mode; %edi and %ebx survive. */
.macro ENTER_LONG_MODE target
    mov %cr4, %eax
    or $CR4_PAE, %eax
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $EFER, %ecx
    rdmsr
    or $EFER_LME, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x60000000, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    ljmp $CODE64, $\target
.endm

    .text
    .code32
start32:
    cli
    cld
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    call build_page_tables
    ENTER_LONG_MODE start64

/* The first 4 GiB, one to one, in pages of 2 MiB, open to ring 3. */
build_page_tables:
    mov $pdpt + 7, %eax
    mov %eax, pml4
    mov $page_dirs + 7, %eax
    mov $pdpt, %edi
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    mov $page_dirs, %edi
    mov $0x87, %eax
    mov $2048, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    ret

ap_start32:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    ENTER_LONG_MODE ap_start64

    .code64
start64:
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov %ebx, %edi
    mov $stacks + STACK_SIZE, %rsp
    xor %ebp, %ebp
    call guest_main
1:  cli
    hlt
    jmp 1b

ap_start64:
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %ebx, %edi
    inc %ebx
    imul $STACK_SIZE, %rbx, %rsp
    add $stacks, %rsp
    xor %ebp, %ebp
    call ap_main
1:  cli
    hlt
    jmp 1b

/* Copied to TRAMPOLINE, where a start-up IPI begins. */
    .globl trampoline, trampoline_end
    .code16
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl (TRAMPOLINE + trampoline_gdt - trampoline)
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $ap_start32
trampoline_gdt:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code64
/* void enter_ring3(void (*fn)(void), uint64_t stack): leaves by a fault. */
    .globl enter_ring3
enter_ring3:
    mov $0x28 + 3, %eax
    push %rax
    push %rsi
    push $2
    push $0x20 + 3
    push %rdi
    iretq

/* Each stub leaves an error code and the vector on the stack. */
    .globl isr_stubs
    .align 16
isr_stubs:
vector = 0
    .rept 256
    .align 16
    .if (vector >= 32) || !((HAS_ERROR_CODE >> vector) & 1)
    push $0
    .endif
    push $vector
    jmp isr_common
vector = vector + 1
    .endr

isr_common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    cld
    call isr_handler
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

    .data
    .align 16
    .globl gdt, gdt_tss
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* CODE32 */
    .quad 0x00af9b000000ffff /* CODE64 */
    .quad 0x00cf93000000ffff /* DATA */
    .quad 0x00affb000000ffff /* 0x20: code of ring 3 */
    .quad 0x00cff3000000ffff /* 0x28: data of ring 3 */
gdt_tss:
    .quad 0, 0               /* 0x30: filled in by C */
gdt_end:

    .globl gdt_pointer
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt

    .bss
    .align 4096
    .globl stacks
pml4:
    .skip 4096
pdpt:
    .skip 4096
page_dirs:
    .skip 4 * 4096
stacks:
    .skip 8 * STACK_SIZE

    .section .note.GNU-stack, "", @progbits
