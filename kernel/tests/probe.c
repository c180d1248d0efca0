/* probe.c: the /init of kernel/tests/boot.sh. Does what probe=... on the command line says, and prints "probe: <what>: <result>". */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/reboot.h>
#include <linux/watchdog.h>
#include <x86intrin.h>

static char cmdline[4096];

static void power_off(void) {
    sync();
    reboot(RB_POWER_OFF);
    for (;;) pause();
}

/* Copies a whole file to the console. */
static void show(const char *path) {
    static char buffer[65536];
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) {
        printf("probe: open %s: %s\n", path, strerror(errno));
        return;
    }
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) fwrite(buffer, 1, n, stdout);
    close(fd);
}

/* Returns how many records there were. */
static int show_pstore(void) {
    char path[512];
    DIR *folder;
    int records = 0;
    mount("pstore", "/sys/fs/pstore", "pstore", 0, NULL);
    folder = opendir("/sys/fs/pstore");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        records++;
        printf("probe: pstore record %s\n", entry->d_name);
        snprintf(path, sizeof path, "/sys/fs/pstore/%s", entry->d_name);
        show(path);
        unlink(path);
    }
    printf("probe: pstore: %d records\n", records);
    return records;
}

/* Starts the watchdog with a timeout in seconds and leaves it running. */
static void arm_watchdog(int seconds) {
    struct watchdog_info info;
    int fd = open("/dev/watchdog0", O_WRONLY);
    if (fd < 0 || ioctl(fd, WDIOC_GETSUPPORT, &info) || ioctl(fd, WDIOC_SETTIMEOUT, &seconds))
        printf("probe: watchdog: %s\n", strerror(errno));
    else
        printf("probe: watchdog: %s armed\n", info.identity);
}

/* Loads the kernel file and this initramfs's own archive (/next.cpio, if any) and jumps. */
static void load_and_jump(const char *kernel, const char *line) {
    int fd = open(kernel, O_RDONLY | O_CLOEXEC), initrd = open("/next.cpio", O_RDONLY | O_CLOEXEC);
    unsigned long flags = initrd < 0 ? 4 /* KEXEC_FILE_NO_INITRAMFS */ : 0;
    if (syscall(SYS_kexec_file_load, fd, initrd, strlen(line) + 1, line, flags)) {
        printf("probe: kexec_file_load %s: errno %s\n", kernel, strerrorname_np(errno));
        return;
    }
    printf("probe: kexec_file_load %s: ok\n", kernel);
    fflush(stdout);
    reboot(LINUX_REBOOT_CMD_KEXEC);
    printf("probe: jump: %s\n", strerror(errno));
}

static int asked(const char *what) {
    char word[64];
    snprintf(word, sizeof word, "probe=%s", what);
    return strstr(cmdline, word) != NULL;
}

int main(void) {
    unsigned long long cycles = __rdtsc();
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("probe: start: tsc %llu monotonic_ns %lld\n", cycles, now.tv_sec * 1000000000LL + now.tv_nsec);
    mkdir("/proc", 0755);
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int fd = open("/proc/cmdline", O_RDONLY);
    ssize_t length = read(fd, cmdline, sizeof cmdline - 1);
    close(fd);
    printf("probe: cmdline: %zd bytes: %s", length, cmdline);
    if (asked("dmesg")) show("/dev/kmsg");
    if (asked("show")) {
        mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL);
        show("/proc/version"), show("/proc/bootconfig"), show("/proc/iomem"), show("/proc/crypto");
        show("/proc/consoles"), show("/proc/filesystems"), show("/proc/cgroups"), show("/sys/kernel/security/lockdown");
        show("/sys/class/watchdog/watchdog0/identity"), show("/proc/meminfo");
    }
    if (asked("panic-once")) {
        if (show_pstore() == 0) return 1; /* PID 1 that exits is a panic */
        power_off();
    }
    if (asked("oops")) {
        fd = open("/proc/sysrq-trigger", O_WRONLY);
        (void)!write(fd, "c", 1);
    }
    if (asked("watchdog")) arm_watchdog(25);
    if (asked("kexec-good")) load_and_jump("/kernel.good", "jumped=1 console=ttyS0");
    if (asked("kexec-hang")) load_and_jump("/kernel.good", "jumped=1 hang");
    if (asked("kexec-unsigned")) load_and_jump("/kernel.unsigned", "jumped=1");
    if (asked("kexec-altered")) load_and_jump("/kernel.altered", "jumped=1");
    if (asked("hang") || strstr(cmdline, "jumped=1 hang")) for (;;) pause();
    power_off();
}
