/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>

#include "guest.h"

#define COM1            0x3f8
#define COM1_LSR        (COM1 + 5)
#define LSR_THR_EMPTY   0x20
#define DEBUG_EXIT_PORT 0xf4

#define MB_INFO_MEMORY  1
#define MB_INFO_CMDLINE 4

/* The head of what a multiboot loader passes in %ebx. */
struct mb_info {
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB */
    uint32_t boot_device;
    uint32_t cmdline;
};

void guest_main(const struct mb_info *info);

uint64_t ram_end;
extern uint8_t image_bss_end[];

static char cmdline[512];
static uint8_t *next_page;
static unsigned tap_count, tap_failed;

void *memcpy(void *dst, const void *src, size_t n)
{
    void *ret = dst;

    __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
    return ret;
}

void *memmove(void *dst, const void *src, size_t n)
{
    uint8_t *d = dst;
    const uint8_t *s = src;

    if (d <= s) {
        return memcpy(dst, src, n);
    }
    while (n--) {
        d[n] = s[n];
    }
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    void *ret = dst;

    __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(c) : "memory");
    return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i]) {
            return x[i] - y[i];
        }
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;

    while (s[n]) {
        n++;
    }
    return n;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i] || !a[i]) {
            return (uint8_t)a[i] - (uint8_t)b[i];
        }
    }
    return 0;
}

static void put_char(char c)
{
    while (!(inb(COM1_LSR) & LSR_THR_EMPTY)) {
        cpu_relax();
    }
    outb(COM1, c);
}

static void put_number(uint64_t val, unsigned base, bool negative, int width,
                       char pad)
{
    char buf[24];
    int n = 0;

    do {
        buf[n++] = "0123456789abcdef"[val % base];
        val /= base;
    } while (val);
    if (negative) {
        buf[n++] = '-';
    }
    for (int i = n; i < width; i++) {
        put_char(pad);
    }
    while (n) {
        put_char(buf[--n]);
    }
}

static const char *put_conversion(const char *fmt, va_list *ap)
{
    char pad = ' ';
    int width = 0;
    bool is_long = false;

    if (*fmt == '0') {
        pad = *fmt++;
    }
    while (*fmt >= '0' && *fmt <= '9') {
        width = width * 10 + *fmt++ - '0';
    }
    while (*fmt == 'l') {
        is_long = true;
        fmt++;
    }
    switch (*fmt) {
    case 's':
        for (const char *s = va_arg(*ap, const char *); *s; s++) {
            put_char(*s);
        }
        break;
    case 'c':
        put_char(va_arg(*ap, int));
        break;
    case 'd': {
        int64_t v = is_long ? va_arg(*ap, int64_t) : va_arg(*ap, int);

        put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
        break;
    }
    default: {
        uint64_t v = is_long ? va_arg(*ap, uint64_t) : va_arg(*ap, unsigned);

        put_number(v, *fmt == 'x' ? 16 : 10, false, width, pad);
    }
    }
    return fmt + 1;
}

static void vprint(const char *fmt, va_list *ap)
{
    while (*fmt) {
        if (*fmt == '%') {
            fmt = put_conversion(fmt + 1, ap);
        } else {
            put_char(*fmt++);
        }
    }
}

void print(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprint(fmt, &ap);
    va_end(ap);
}

static void end_machine(unsigned value)
{
    outl(DEBUG_EXIT_PORT, value);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

bool tap(bool pass, const char *name, const char *fmt, ...)
{
    va_list ap;

    print("%s %u - %s", pass ? "ok" : "not ok", ++tap_count, name);
    if (!pass) {
        tap_failed++;
        print(": ");
        va_start(ap, fmt);
        vprint(fmt, &ap);
        va_end(ap);
    }
    print("\n");
    return pass;
}

bool tap_equal(uint64_t got, uint64_t want, const char *name)
{
    return tap(got == want, name, "got 0x%lx, not 0x%lx", got, want);
}

void tap_skip(const char *name, const char *why)
{
    print("ok %u - %s # SKIP %s\n", ++tap_count, name, why);
}

void tap_end(void)
{
    print("1..%u\n", tap_count);
    end_machine(tap_failed ? EXIT_FAILED : EXIT_PASSED);
    __builtin_unreachable();
}

void bail_out(const char *fmt, ...)
{
    va_list ap;

    print("Bail out! ");
    va_start(ap, fmt);
    vprint(fmt, &ap);
    va_end(ap);
    print("\n");
    end_machine(EXIT_FAILED);
    __builtin_unreachable();
}

void *alloc_pages(unsigned count)
{
    void *p = next_page;

    next_page += (uint64_t)count * PAGE_SIZE;
    if ((uint64_t)next_page > ram_end) {
        bail_out("out of memory");
    }
    return memset(p, 0, (uint64_t)count * PAGE_SIZE);
}

const char *option(const char *name)
{
    size_t len = strlen(name);

    for (const char *p = cmdline; *p; p++) {
        if ((p == cmdline || p[-1] == ' ') && !strncmp(p, name, len)) {
            if (p[len] == '=') {
                return p + len + 1;
            }
            if (!p[len] || p[len] == ' ') {
                return p + len;
            }
        }
    }
    return NULL;
}

bool option_has(const char *name, const char *word)
{
    const char *p = option(name);
    size_t len = strlen(word);

    while (p && *p && *p != ' ') {
        if (!strncmp(p, word, len) &&
            (!p[len] || p[len] == ',' || p[len] == ' ')) {
            return true;
        }
        while (*p && *p != ',' && *p != ' ') {
            p++;
        }
        if (*p == ',') {
            p++;
        }
    }
    return false;
}

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"cpuid", test_cpuid},       {"msr", test_msr},
    {"clock", test_clock},       {"synic", test_synic},
    {"stimer", test_stimer},     {"vmbus", test_vmbus},
    {"hostile", test_hostile},   {"echo", test_echo},
    {"shutdown", test_shutdown}, {"storage", test_storage},
    {"gif", test_gif},
};

/* The loader may have put its structures anywhere, so they are copied before
 * memory is given out. */
static void read_info(const struct mb_info *info)
{
    const char *src;

    if (!(info->flags & MB_INFO_MEMORY) || !(info->flags & MB_INFO_CMDLINE)) {
        bail_out("the loader passed no memory size or no command line");
    }
    ram_end = 0x100000 + (uint64_t)info->mem_upper * 1024;
    src = (const char *)(uintptr_t)info->cmdline;
    for (size_t i = 0; i < sizeof(cmdline) - 1 && src[i]; i++) {
        cmdline[i] = src[i];
    }
}

void guest_main(const struct mb_info *info)
{
    unsigned run = 0;

    read_info(info);
    next_page = image_bss_end;
    cpu_init();
    print("# %u processors, RAM up to 0x%lx\n", cpu_count, ram_end);
    for (unsigned i = 0; i < ARRAY_LEN(groups); i++) {
        if (option(groups[i].name)) {
            print("# group %s\n", groups[i].name);
            groups[i].run();
            run++;
        }
    }
    if (!run) {
        bail_out("the command line names no group of tests: %s", cmdline);
    }
    tap_end();
}
