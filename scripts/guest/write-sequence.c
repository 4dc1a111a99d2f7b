/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A writer for tests of backups: write-sequence FILE appends the numbers 0, 1,
 * 2 ... to FILE, one a record of 16 bytes, and syncs each before the next.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    unsigned long number = 0;
    char record[17];
    int fd;

    if (argc != 2) {
        fprintf(stderr, "usage: write-sequence FILE\n");
        return 2;
    }
    fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
              0644);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    for (;;) {
        snprintf(record, sizeof(record), "%015lu\n", number++);
        if (write(fd, record, 16) != 16 || fsync(fd)) {
            perror("write-sequence");
            return 1;
        }
    }
}
