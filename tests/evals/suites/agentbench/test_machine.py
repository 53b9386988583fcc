"""Machines are real, bounded, alone, and judged by programs that the agent cannot reach."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clawjax.evals.suites.agentbench.system import machine as machine_module
from clawjax.evals.suites.agentbench.system.dataset import load
from clawjax.evals.suites.agentbench.system.exploits import EXPLOITS
from clawjax.evals.suites.agentbench.system.machine import Machine, machine_problem
from clawjax.evals.suites.agentbench.system.scripts import OUTER
from clawjax.evals.suites.agentbench.system.stopping import StillRunningError, stop
from clawjax.evals.suites.agentbench.system.suite import OWN

PROBLEM = machine_problem()
pytestmark = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))


@pytest.fixture
def machine():
    made = Machine(timeout_s=3.0, disk_mib=32)
    made.start()
    yield made
    made.close()


def is_running(pid):
    """Dead processes stay listed until somebody reaps them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def late(monkeypatch, seconds):
    """Its first process is up so long before its number is known."""
    told = OUTER.replace('echo "inner', f'sleep {seconds}; echo "inner')
    monkeypatch.setattr(machine_module, "OUTER", told)


def check_that_one_starts():
    machine = Machine(timeout_s=3.0)
    try:
        machine.start()
        assert machine.shell("echo here").output == "here\n"
    finally:
        machine.close()


def test_what_it_says_is_heard_in_any_order(monkeypatch):
    late(monkeypatch, 1)
    check_that_one_starts()


def test_who_builds_it_may_be_late(monkeypatch):
    """And finds all that it has said at once."""

    def slowly(self, *words, hear=Machine._await):
        time.sleep(0.5)
        return hear(self, *words)

    monkeypatch.setattr(Machine, "_await", slowly)
    check_that_one_starts()


def test_one_that_cannot_be_built_says_why_at_once(monkeypatch):
    told = machine_module.INNER.replace("mount -t proc", "mount -t nosuch")
    monkeypatch.setattr(machine_module, "INNER", told)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"no machine can be built here: mount: .*proc"):
        Machine().start()
    assert time.monotonic() - began < machine_module._START_S / 2


def test_one_that_is_not_up_in_time_is_given_up(monkeypatch):
    late(monkeypatch, 60)
    monkeypatch.setattr(machine_module, "_START_S", 1.0)
    with pytest.raises(OSError, match=r"no inner and up in 1 s"):
        Machine().start()


def test_the_shell_keeps_its_folder_and_names(machine):
    machine.shell("cd /tmp; name=five")
    assert machine.shell("pwd; echo $name").output == "/tmp\nfive\n"
    assert machine.shell("ls /nowhere").exit_code == 2
    assert machine.shell("x=$((1").exit_code != 0
    assert machine.shell("echo still here").output == "still here\n"


def test_what_hangs_or_exits_costs_the_shell_only(machine):
    machine.shell("echo kept > /root/file")
    assert machine.shell("echo before; sleep 60").timed_out
    assert machine.shell("exit 3").exit_code == -1
    assert machine.shell("cat /root/file").output == "kept\n"


def test_nothing_outside_is_changed_or_seen(machine):
    host = Path(__file__)
    told = machine.shell(f"rm -f /usr/bin/env; echo x > /etc/hosts; cat {host} /root/.ssh/*")
    assert told.exit_code != 0
    assert Path("/usr/bin/env").exists()
    assert Path("/etc/hosts").read_text() != "x\n"
    assert machine.shell("find / -path '*clawjax*' -not -path '/proc/*' 2>/dev/null").output == ""
    assert machine.shell(f"kill -0 {os.getpid()}").exit_code != 0
    assert machine.shell("cat /proc/net/dev | tail -n +3 | grep -v lo: | wc -l").output == "0\n"


def test_power_and_space_are_bounded(machine):
    assert machine.shell("mount -t tmpfs x /mnt").exit_code != 0
    assert machine.shell("mknod /tmp/disk b 8 0").exit_code != 0
    assert machine.shell("head -c 64M /dev/zero > /root/big").exit_code != 0
    assert machine.shell("python3 -c 'b = bytearray(3 * 2**30)'").exit_code != 0
    for folder, most in ("/root", 131_072), ("/dev/shm", 4_096):
        assert machine.shell(f"stat -f -c %c {folder}").output.strip() == str(most)


def test_processes_are_bounded_together():
    machine = Machine(timeout_s=10.0, processes=40)
    machine.start()
    try:
        if not machine._groups:
            pytest.skip("no control groups can be made here")
        code = "import os, time\nfor n in range(80): os.fork() or (time.sleep(5), os._exit(0))"
        told = machine.shell(f"python3 -c '{code}'")
        assert "Resource temporarily unavailable" in told.output
    finally:
        machine.close()


def test_no_signal_of_a_program_ends_the_machine(machine):
    machine.shell("for each in $(seq 64); do kill -$each 1; done 2>/dev/null")
    machine.shell("(sleep 0.1 &); sleep 0.3")
    assert machine.check("bash", "ps -e -o stat= -o comm= | grep -c '^Z.*sleep'").output == "0\n"


def test_programs_in_place_of_the_systems_are_not_privileged(machine):
    """Capability 21, sys_admin, could uncover what is hidden."""
    machine.shell(
        "printf '#!/bin/bash\\ngrep CapEff /proc/self/status >> /root/held\\n' > /root/spy\n"
        "chmod +x /root/spy; grep CapEff /proc/self/status > /root/held\n"
        "for each in setpriv env nsenter python3 sleep setsid; do\n"
        "  cp --remove-destination /root/spy /usr/local/bin/$each\n"
        "  cp --remove-destination /root/spy /usr/bin/$each\n"
        "done\n"
        "pkill -x sleep; exit"
    )
    assert machine.shell("/usr/bin/true && echo up").output == "up\n"
    machine.launch("true")
    held = machine.check("bash", "cut -f2 /root/held").output.split()
    assert len(held) > 1
    assert [each for each in held if int(each, 16) & 1 << 21] == []


def test_programs_left_running_are_of_the_machine_and_end_with_it():
    machine = Machine(timeout_s=3.0)
    machine.start()
    folder = machine._folder
    machine.launch("while :; do echo tick >> /root/ticks; sleep 0.1; done &")
    time.sleep(0.5)
    first = int(machine.run("bash", "wc -l < /root/ticks").output)
    inner = machine._inner
    machine.close()
    assert first > 1
    deadline = time.monotonic() + 10
    while is_running(inner):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not Path(folder).exists()


def test_a_machine_ends_with_whoever_made_it_however_that_dies():
    code = """
import time
from clawjax.evals.suites.agentbench.system.machine import Machine
machine = Machine(timeout_s=3.0)
machine.start()
machine.launch("while :; do sleep 0.1; done")
print(machine._outer.pid, machine._inner, flush=True)
time.sleep(600)
"""
    maker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert maker.stdout is not None
        pids = [int(pid) for pid in maker.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
    finally:
        maker.kill()
        maker.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_checks_see_the_state_but_not_the_agents_programs(machine):
    machine.shell(
        "mkdir /data /srv/new; echo 1 > /data/one; echo 2 > /etc/two; echo 3 > /usr/local/three\n"
        "printf '#!/bin/bash\\nexit 0\\n' > /root/yes; chmod +x /root/yes\n"
        "for each in test grep python3 false setpriv env; do\n"
        "  cp /root/yes /usr/local/bin/$each\n"
        "done\n"
        "cp --remove-destination /root/yes /usr/bin/false\n"
        "echo 'exit 0' > /root/.bashrc; echo /root/liar.so > /etc/ld.so.preload"
    )
    assert machine.run("bash", "/usr/bin/false").exit_code == 0
    assert machine.check("bash", "/usr/bin/false").exit_code == 1
    assert machine.run("bash", "command false; env false").exit_code == 0
    assert machine.check("bash", "env false").exit_code == 1
    seen = machine.check("bash", "cat /data/one /etc/two /usr/local/three; ls -d /srv/new; pwd")
    assert seen.output == "1\n2\n3\n/srv/new\n/root\n"
    assert machine.check("python", "import sys; print(sys.argv[1:])", "a", "b c").output == (
        "['a', 'b c']\n"
    )
    assert machine.check("bash", 'echo "$1/$2"', "a", "b c").output == "a/b c\n"
    assert machine.check("bash", "echo x > /usr/bin/new").exit_code != 0


def test_what_the_systems_programs_read_is_the_systems_in_a_check(machine):
    """Each of these had a check's Python, awk, Perl or any program at all do as the agent likes."""
    machine.shell(
        "printf 'import os\\nos._exit(0)\\n' > /root/liar.py; local=/usr/local/lib/python3.99\n"
        "mkdir -p /etc/perl /etc/alternatives /etc/python3.99 $local/dist-packages\n"
        "for each in /etc/python3* $local/dist-packages; do\n"
        "  cp /root/liar.py $each/sitecustomize.py; done\n"
        "printf 'package strict; exit 0; 1;\\n' > /etc/perl/strict.pm\n"
        "rm -f /etc/alternatives/awk; printf '#!/bin/sh\\necho 777\\n' > /etc/alternatives/awk\n"
        "chmod +x /etc/alternatives/awk; rm -rf /etc/ssl; ln -s /root /etc/ssl\n"
        "mv /etc/ld.so.cache /root/cache; ln -s /root/cache /etc/ld.so.cache"
    )
    assert machine.check("python", "import sys; sys.exit(3)").exit_code == 3
    assert machine.check("python", "exit(4)").exit_code == 4
    assert machine.check("bash", "python3 -c 'exit(5)'").exit_code == 5
    assert machine.check("bash", "echo 1 2 | awk '{print $2}'").output == "2\n"
    assert machine.check("bash", "perl -e 'use strict; exit 3'").exit_code == 3
    told = machine.check("bash", "ls -d /etc/python3.99; ls -A /usr/local/lib/python3.99/*").output
    assert "/etc/python3.99': No such file" in told
    assert "sitecustomize" not in told
    seen = machine.check("bash", "[ -L /etc/ld.so.cache ] || [ -L /etc/ssl ] || echo the systems")
    assert seen.output == "the systems\n"


def test_packages_of_the_agents_elsewhere_fail_the_check(machine):
    machine.shell(
        "mkdir -p /usr/local/lib/python3.99; ln -s /root /usr/local/lib/python3.99/a-packages"
    )
    assert machine.check("bash", "true").exit_code != 0


def test_what_the_kernel_shares_with_the_host_is_read_only(machine):
    """Root's programs are asked whose file it is there, not what they are capable of."""
    reach = (
        "for each in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do\n"
        "  test -w $each && echo $each\n"
        "done; chmod 666 /dev/null 2>/dev/null && echo /dev/null; echo void > /dev/null; true"
    )
    assert machine.shell(reach).output == ""
    assert machine.check("bash", reach).output == ""
    nested = "unshare --user --map-root-user --mount --pid --fork sh -c"
    again = (
        "mount -t proc proc /proc; mount -o remount,bind,rw /proc; test -w /proc/sys/kernel/panic"
    )
    assert machine.shell(f"{nested} '{again}'").exit_code != 0


def test_what_waits_for_a_check_cannot_forge_it(machine):
    watch, _ = EXPLOITS["waits_for_the_check"](load(OWN, None, split="own", system="")[0])
    machine.shell(watch.arguments["script"])
    for code in ("[ -e /root/wanted ]", "sleep 0.5; [ -e /root/wanted ]"):
        assert machine.check("bash", code).exit_code != 0


def test_programs_are_stopped_while_they_are_counted(machine):
    machine.shell("while :; do echo tick >> /root/ticks; sleep 0.05; done &")
    machine.shell("bash -c 'sleep 60 & exec -a job sleep 60' & sleep 0.2")
    code = "wc -l < /root/ticks; sleep 0.5; wc -l < /root/ticks; pgrep -fc 'sleep 60|job'"
    first, then, jobs = machine.check("bash", code).output.split()
    assert first == then
    assert int(jobs) >= 2
    machine.shell("sleep 0.5")
    assert int(machine.run("bash", "wc -l < /root/ticks").output) > int(then)


def test_only_a_machine_is_stopped():
    with pytest.raises(ValueError, match="our own"):
        stop(os.stat("/proc/self/ns/pid").st_ino, os.getpid(), 1.0)


def test_what_cannot_be_stopped_fails_the_check(machine, monkeypatch):
    def fails(*arguments):
        raise StillRunningError("2 processes run on")

    monkeypatch.setattr("clawjax.evals.suites.agentbench.system.machine.stop", fails)
    found = machine.check("bash", "true")
    assert (found.exit_code, found.output) == (-1, "not checked: 2 processes run on")
