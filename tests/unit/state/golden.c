/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "golden.h"

GByteArray *golden_read(const char *name, const void *now, gsize len)
{
    g_autofree char *path =
        g_strdup_printf("%s/%s.bin", g_getenv("STATE_GOLDEN"), name);
    GError *err = NULL;
    gsize got;
    char *data;

    if (g_getenv("STATE_GOLDEN_WRITE") &&
        !g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_assert_true(g_file_set_contents(path, now, len, &err));
    }
    g_file_get_contents(path, &data, &got, &err);
    g_assert_no_error(err);
    return g_byte_array_new_take((guint8 *)data, got);
}
