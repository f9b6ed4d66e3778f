/* Every entry into a ring takes 30 ms longer, as if the thread had lost its core there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...) {
    static long (*next)(long, ...);
    static int told;
    long args[6];
    va_list list;
    if (!next) next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_start(list, number);
    for (int at = 0; at < 6; at++) args[at] = va_arg(list, long);
    va_end(list);
    long result = next(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    if (number == SYS_io_uring_enter) {
        if (!told) told = dprintf(STDERR_FILENO, "away for a while\n");
        usleep(30000);
    }
    return result;
}
