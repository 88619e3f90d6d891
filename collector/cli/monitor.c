/* A QMP monitor that is asked whether its QEMU answers.
 * SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/monitor.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Longer lines are events or nothing that was asked for. */
enum { LINE_BYTES = 65536 };
/* Of what a connected socket is in /proc/net/unix (SS_CONNECTED). */
enum { SOCKET_CONNECTED = 3 };

struct qh_monitor {
    int fd; /* -1: ended */
    bool greeted;
    int64_t asked_ns; /* 0: no question; before the greeting: connected */
    int64_t answered_ns;
    size_t used;
    bool skips; /* the rest of a line that is too long */
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    char line[LINE_BYTES];
};

void qh_monitor_destroy(struct qh_monitor *monitor)
{
    if (monitor) {
        qh_close_guard(&monitor->fd);
        free(monitor);
    }
}

void qh_monitor_guard(struct qh_monitor **monitor)
{
    qh_monitor_destroy(*monitor);
}

static struct qh_error *cannot_connect(const char *path, int errnum)
{
    struct qh_error *error = qh_error_path(
        qh_error_errno(errnum == EACCES || errnum == EPERM ? QH_ERR_PERMISSION
                                                           : QH_ERR_SYSTEM,
                       errnum, "cannot connect to the monitor"),
        path);

    if (errnum == EAGAIN) {
        return qh_error_try(error, "many wait there already: give the PID "
                                   "instead, or a monitor of its own");
    }
    return qh_error_try(error, "give the path of a QMP socket: QEMU's option "
                               "-qmp unix:PATH,server=on,wait=off");
}

struct qh_error *qh_monitor_open(const char *path, struct qh_monitor **ret,
                                 pid_t *ret_pid)
{
    QH_CLEANUP(qh_monitor_guard)
    struct qh_monitor *monitor = calloc(1, sizeof(*monitor));
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct ucred peer = { .pid = 0 };
    socklen_t bytes = sizeof(peer);

    if (!monitor) {
        return qh_error_no_memory();
    }
    monitor->fd = -1;
    if (strlen(path) >= sizeof(address.sun_path)) {
        return cannot_connect(path, ENAMETOOLONG);
    }
    strcpy(address.sun_path, path);
    strcpy(monitor->path, path);
    monitor->fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (monitor->fd < 0 ||
        connect(monitor->fd, (struct sockaddr *)&address, sizeof(address)) ||
        getsockopt(monitor->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes)) {
        return cannot_connect(path, errno);
    }
    *ret_pid = peer.pid;
    *ret = monitor;
    monitor = NULL;
    return NULL;
}

int qh_monitor_fd(const struct qh_monitor *monitor)
{
    return monitor->fd;
}

int64_t qh_monitor_answered_ns(const struct qh_monitor *monitor)
{
    return monitor->answered_ns;
}

int64_t qh_monitor_owes_ns(const struct qh_monitor *monitor, int64_t now_ns)
{
    return monitor->fd >= 0 && monitor->asked_ns ? now_ns - monitor->asked_ns
                                                 : 0;
}

static void end(struct qh_monitor *monitor)
{
    qh_close_guard(&monitor->fd);
    monitor->fd = -1;
}

static void say(struct qh_monitor *monitor, const char *text, int64_t now_ns)
{
    ssize_t bytes = (ssize_t)strlen(text);

    monitor->asked_ns = now_ns;
    /* One question at a time always fits in; a part of one would be the end of
     * all understanding. */
    if (send(monitor->fd, text, (size_t)bytes, MSG_NOSIGNAL) != bytes) {
        end(monitor);
    }
}

void qh_monitor_ask(struct qh_monitor *monitor, int64_t now_ns)
{
    if (monitor->fd < 0 || monitor->asked_ns) {
        return;
    }
    if (!monitor->greeted) {
        monitor->asked_ns = now_ns;
        return;
    }
    say(monitor, "{\"execute\":\"query-status\"}\n", now_ns);
}

/* Events are passed over. */
static void take_line(struct qh_monitor *monitor, int64_t now_ns)
{
    struct json_object *message = json_tokener_parse(monitor->line);

    if (!monitor->greeted && json_object_object_get_ex(message, "QMP", NULL)) {
        monitor->greeted = true;
        say(monitor, "{\"execute\":\"qmp_capabilities\"}\n", now_ns);
    } else if (json_object_object_get_ex(message, "return", NULL) ||
               json_object_object_get_ex(message, "error", NULL)) {
        monitor->asked_ns = 0;
        monitor->answered_ns = now_ns;
    }
    json_object_put(message);
}

static void take_byte(struct qh_monitor *monitor, char byte, int64_t now_ns)
{
    if (byte != '\n') {
        if (monitor->used < LINE_BYTES - 1) {
            monitor->line[monitor->used++] = byte;
        } else {
            monitor->skips = true;
        }
        return;
    }
    monitor->line[monitor->used] = '\0';
    if (!monitor->skips) {
        take_line(monitor, now_ns);
    }
    monitor->used = 0;
    monitor->skips = false;
}

void qh_monitor_read(struct qh_monitor *monitor, int64_t now_ns)
{
    char bytes[4096];
    ssize_t got = recv(monitor->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        end(monitor);
    }
    for (ssize_t i = 0; i < got && monitor->fd >= 0; i++) {
        take_byte(monitor, bytes[i], now_ns);
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The table has the path that the listener bound: where that was relative to
 * its folder, only the last part can be compared. */
static bool is_its_path(const char *bound, const char *path)
{
    return *bound == '/' && *path == '/'
               ? !strcmp(bound, path)
               : !strcmp(base_name(bound), base_name(path));
}

bool qh_monitor_is_taken(const struct qh_monitor *monitor)
{
    FILE *table = monitor->greeted ? NULL : fopen("/proc/net/unix", "re");
    char line[512];
    bool taken = false;

    while (table && !taken && fgets(line, sizeof(line), table)) {
        unsigned state;
        unsigned long inode;
        char bound[256];
        line[strcspn(line, "\n")] = '\0';
        taken = sscanf(line, "%*s %*x %*x %*x %*x %x %lu %255[^\n]", &state,
                       &inode, bound) == 3 &&
                state == SOCKET_CONNECTED && inode &&
                is_its_path(bound, monitor->path);
    }
    if (table) {
        fclose(table);
    }
    return taken;
}
