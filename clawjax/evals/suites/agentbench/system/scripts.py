"""Shell code that builds a machine from namespaces and a copy-on-write view of this system.

Three mount namespaces: the outer one holds the writable layers, the inner one is the agent's whole
world, and each check gets a third with the system's own programs read-only again. Only /usr and
/etc of the host are shown, and of them not the folders that are to be hidden.
"""

from __future__ import annotations

__all__ = ["CHECK", "CHECKER", "GUARD", "INNER", "OUTER"]

OUTER = r"""
set -e
echo user
read -r _
exec unshare --mount bash -c '
set -e
base=$1; size=$2; home=$3; inner=$4; shift 4
mount --make-rprivate /
mount --rbind /usr /usr
mount -o remount,bind,ro /usr 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev /usr
mount -t tmpfs -o "size=${size}m,nr_inodes=128k,mode=755" tmpfs "$base"
cd "$base"
mkdir agent upper work
mount --bind agent agent
for each in usr etc; do
  mkdir "upper/$each" "work/$each" "agent/$each"
  layers="lowerdir=/$each,upperdir=$base/upper/$each,workdir=$base/work/$each"
  mount -t overlay -o "$layers,userxattr" overlay "agent/$each" 2>/dev/null \
    || mount -t overlay -o "$layers" overlay "agent/$each"
done
for each in bin sbin lib lib32 lib64; do
  if [ -L "/$each" ]; then cp -P "/$each" agent/
  elif [ -d "/$each" ]; then
    mkdir "agent/$each"
    mount --rbind "/$each" "agent/$each"
    mount -o remount,bind,ro "agent/$each"
  fi
done
cd agent
mkdir -p root home tmp run srv mnt media opt proc dev old
mkdir -p var/log var/tmp var/lib var/cache var/spool var/mail ".$home"
chmod 1777 tmp var/tmp
chmod 700 root
echo "a new machine" > var/log/bootstrap.log
cp -a /etc/skel/. ".$home" 2>/dev/null || true
rm -f etc/shadow etc/shadow- etc/gshadow etc/gshadow- etc/ssh/ssh_host_*
printf "root:*:19000::::::\n" > etc/shadow
chmod 600 etc/shadow
for each in "$@"; do
  if [ -d ".$each" ]; then mount -t tmpfs -o size=4k,ro tmpfs ".$each"; fi
done
mount -t tmpfs -o size=16m,nr_inodes=4k,mode=755 tmpfs dev
for each in null zero full random urandom; do
  touch "dev/$each"
  mount --bind "/dev/$each" "dev/$each"
  mount -o remount,bind,ro "dev/$each" 2>/dev/null \
    || mount -o remount,bind,ro,nosuid,noexec "dev/$each"
done
mkdir -m 1777 dev/shm
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
unshare --mount --pid --net --ipc --uts --fork --kill-child bash -c "$inner" inner "$base" &
inner=$!
exec 3<&0
{ read -r _ <&3 || true; kill -9 -- "-$$"; } &
echo "inner $inner"
wait "$inner" || true
kill -9 -- "-$$"
' outer "$@"
"""
"""Arguments: folder, MiB, home, code of `INNER`, folders to hide.

Says `user`, then waits for a line while the user map is written; then `inner PID` and `up`. The end
of its input is the end of the machine, so that none outlives whoever made it, however that dies.
Files are bounded in number too: what the kernel keeps of each counts for no size. /usr is read-only
for whoever enters the machine from here: its program could be written to by a link of the
agent's to /proc/self/exe."""

INNER = r"""
set -e
cd "$1/agent"
mount -t proc proc proc
pivot_root . old
umount -l /old
rmdir /old
cd /
echo sandbox > /proc/sys/kernel/hostname 2>/dev/null || true
mount -o remount,bind,ro /proc
echo up
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
exec python3 -I -S -c '
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    signal.sigwait([signal.SIGCHLD])
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
' </dev/null >/dev/null 2>&1
"""
"""The first process of the machine, which reaps what others leave.

It is privileged, so it starts no program, which could be the agent's; no signal ends it. /proc is
read-only: the files of the kernel's settings there are root's, whatever it is capable of."""

GUARD = r"""
ulimit -v "$1"; ulimit -f 262144; ulimit -c 0; ulimit -u 512 2>/dev/null || true
cd "$2" 2>/dev/null || cd /
shift 2
exec "$@"
"""
"""Bounds of every program; arguments: KiB of memory, folder, program."""

CHECK = r"""
set -e
base=$1; inner=$2; hidden=$3; shift 3
root=$base/check.$$
mkdir "$root"
mount -t tmpfs -o size=4m,mode=755 tmpfs "$root"
cd "$root"
show() {
  mount --rbind "/$1" "$1"
  mount -o remount,bind,ro "$1" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$1"
}
for each in usr bin sbin lib lib32 lib64; do
  if [ -L "/$each" ]; then ln -s "$(readlink "/$each")" "$each"
  elif [ -d "/$each" ]; then mkdir "$each"; show "$each"; fi
done
IFS=:
for each in $hidden; do
  if [ -d ".$each" ]; then mount -t tmpfs -o size=4k,ro tmpfs ".$each"; fi
done
unset IFS
if [ -d usr/local ] && [ -d "$base/agent/usr/local" ] && [ ! -L "$base/agent/usr/local" ]; then
  mount --rbind "$base/agent/usr/local" usr/local
fi
for path in "$base"/agent/*; do
  each=${path##*/}
  case "$each" in usr|bin|sbin|lib|lib32|lib64|proc) continue ;; esac
  if [ -L "$path" ]; then continue
  elif [ -d "$path" ]; then mkdir "$each"; mount --rbind "$path" "$each"
  elif [ -f "$path" ]; then touch "$each"; mount --bind "$path" "$each"; fi
done
shopt -s nullglob
for path in /etc/python3* etc/python3* etc/{alternatives,perl,ssl,pam.d,security} etc/ld.so.*; do
  each=etc/${path##*/}
  if [[ -L $each || ! ( -f /$each && -f $each || -d /$each && -d $each ) ]]; then
    rm -rf "$each"
  fi
  if [ -f "/$each" ]; then touch "$each"; show "$each"
  elif [ -d "/$each" ]; then mkdir -p "$each"; show "$each"; fi
done
mkdir proc
exec nsenter -t "$inner" -p -n -i -u -- bash -c '
mount -t proc proc "$0/proc"
mount -o remount,bind,ro "$0/proc"
exec chroot "$0" bash -c "
shopt -s nullglob
for each in /usr/local/lib/python3*/*-packages; do
  case \$(realpath \"\$each\") in /usr/local/lib/*) ;; *) exit 1 ;; esac
  mount -t tmpfs -o size=4k,ro tmpfs \"\$each\"
done
exec \"\$@\"
" check "$@"
' "$root" "$@"
"""
"""A world for a check; arguments: folder, process of `INNER`, hidden folders, program.

What has the system's programs execute something else is the system's own, or is not there: what
its links name, Python's and Perl's start-up, OpenSSL's and PAM's modules, the linker's lists."""

CHECKER = """\
import builtins, sys
builtins.exit = builtins.quit = sys.exit
exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
"""
"""Runs its first argument, Python code, without what `site` would execute; the scorers of tasks say
`exit`, which is of `site`."""
