/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a program with the address sanitizer: whoever reads the FIFO
 * that HEAP_PROBE names gets the number of bytes that the program has
 * allocated and not freed.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Of the sanitizer's runtime; GCC brings no header for it. */
size_t __sanitizer_get_current_allocated_bytes(void);

static void *serve(void *path)
{
    for (;;) {
        int fd = open(path, O_WRONLY); /* waits for somebody who reads */

        if (fd < 0) {
            return NULL;
        }
        dprintf(fd, "%zu\n", __sanitizer_get_current_allocated_bytes());
        close(fd);
        usleep(10000); /* so that the reader sees the end */
    }
}

__attribute__((constructor)) static void begin(void)
{
    char *path = getenv("HEAP_PROBE");
    sigset_t all, before;
    pthread_t thread;

    if (!path) {
        return;
    }
    /* The program's signals are for its own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, serve, path) == 0) {
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
