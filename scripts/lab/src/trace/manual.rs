//! Calls as their manual pages write them.

/// The line under SYNOPSIS.
pub fn synopsis(call: &str) -> Option<&'static str> {
    let found = SYNOPSES.iter().find(|(name, _)| *name == call);
    found.map(|(_, synopsis)| *synopsis)
}

const SYNOPSES: [(&str, &str); 34] = [
    (
        "accept4",
        "accept4(2): int accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags)",
    ),
    ("bind", "bind(2): int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen)"),
    ("clone", "fork(2): pid_t fork(void), which is made of clone(2)"),
    ("close", "close(2): int close(int fd)"),
    (
        "close_range",
        "close_range(2): int close_range(unsigned int first, unsigned int last, int flags)",
    ),
    (
        "connect",
        "connect(2): int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen)",
    ),
    ("epoll_create1", "epoll_create1(2): int epoll_create1(int flags)"),
    (
        "epoll_ctl",
        "epoll_ctl(2): int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)",
    ),
    (
        "epoll_wait",
        "epoll_wait(2): int epoll_wait(int epfd, struct epoll_event *events, int maxevents, int timeout)",
    ),
    ("fallocate", "fallocate(2): int fallocate(int fd, int mode, off_t offset, off_t len)"),
    ("fcntl", "fcntl(2): int fcntl(int fd, int cmd, … /* arg */)"),
    ("kill", "kill(2): int kill(pid_t pid, int sig)"),
    ("listen", "listen(2): int listen(int sockfd, int backlog)"),
    ("madvise", "madvise(2): int madvise(void *addr, size_t length, int advice)"),
    (
        "mmap",
        "mmap(2): void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)",
    ),
    ("munmap", "munmap(2): int munmap(void *addr, size_t length)"),
    ("pidfd_open", "pidfd_open(2): int pidfd_open(pid_t pid, unsigned int flags)"),
    ("pipe2", "pipe2(2): int pipe2(int pipefd[2], int flags)"),
    ("prctl", "prctl(2): int prctl(int op, …)"),
    ("read", "read(2): ssize_t read(int fd, void *buf, size_t count)"),
    ("recvfrom", "recv(2): ssize_t recv(int sockfd, void *buf, size_t len, int flags)"),
    ("recvmsg", "recvmsg(2): ssize_t recvmsg(int sockfd, struct msghdr *msg, int flags)"),
    (
        "sendfile",
        "sendfile(2): ssize_t sendfile(int out_fd, int in_fd, off_t *offset, size_t count)",
    ),
    ("sendmsg", "sendmsg(2): ssize_t sendmsg(int sockfd, const struct msghdr *msg, int flags)"),
    ("sendto", "send(2): ssize_t send(int sockfd, const void *buf, size_t len, int flags)"),
    ("shutdown", "shutdown(2): int shutdown(int sockfd, int how)"),
    ("signalfd4", "signalfd(2): int signalfd(int fd, const sigset_t *mask, int flags)"),
    ("socket", "socket(2): int socket(int domain, int type, int protocol)"),
    ("socketpair", "socketpair(2): int socketpair(int domain, int type, int protocol, int sv[2])"),
    (
        "splice",
        "splice(2): ssize_t splice(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t len, unsigned int flags)",
    ),
    ("wait4", "waitpid(2): pid_t waitpid(pid_t pid, int *wstatus, int options)"),
    ("waitid", "waitid(2): int waitid(idtype_t idtype, id_t id, siginfo_t *infop, int options)"),
    ("write", "write(2): ssize_t write(int fd, const void *buf, size_t count)"),
    ("writev", "writev(2): ssize_t writev(int fd, const struct iovec *iov, int iovcnt)"),
];
