/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target over inputs that are kept: usage: replay PATH...
 * A path is a file of one input, a folder of such files, or a file NAME.hex
 * with one input a line in hexadecimal digits.  The output is TAP, one test a
 * path; any compiler will do.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

/* A copy of exactly its size, so that a read behind its end is seen. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = g_memdup2(data, size);

    LLVMFuzzerTestOneInput(copy, size);
    g_free(copy);
}

static char *read_file(const char *path, gsize *len)
{
    GError *err = NULL;
    char *text;

    if (!g_file_get_contents(path, &text, len, &err)) {
        printf("Bail out! %s\n", err->message);
        exit(1);
    }
    return text;
}

static unsigned run_hex(const char *path)
{
    gsize len;
    g_autofree char *text = read_file(path, &len);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned count = 0;

    for (char **line = lines; *line; line++) {
        g_autoptr(GByteArray) input = g_byte_array_new();

        if (!**line || **line == '#') {
            continue;
        }
        for (const char *at = *line; at[0] && at[1]; at += 2) {
            uint8_t byte =
                g_ascii_xdigit_value(at[0]) << 4 | g_ascii_xdigit_value(at[1]);

            g_byte_array_append(input, &byte, 1);
        }
        run(input->data, input->len);
        count++;
    }
    return count;
}

static unsigned run_path(const char *path)
{
    unsigned count = 0;
    const char *name;
    GDir *dir;

    if (g_str_has_suffix(path, ".hex")) {
        return run_hex(path);
    }
    dir = g_dir_open(path, 0, NULL);
    if (!dir) {
        gsize len;
        g_autofree char *data = read_file(path, &len);

        run((uint8_t *)data, len);
        return 1;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        count += run_path(file);
    }
    g_dir_close(dir);
    return count;
}

int main(int argc, char **argv)
{
    printf("TAP version 13\n1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        g_autofree char *name = g_path_get_basename(argv[i]);

        /* Say it first: a finding ends the process. */
        printf("# %s\n", argv[i]);
        fflush(stdout);
        printf("ok %d %s: %u inputs\n", i, name, run_path(argv[i]));
    }
    return 0;
}
