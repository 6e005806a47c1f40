"""The machine itself: devices, power, processes, services, firewall, kernel, its resources."""

from __future__ import annotations

import re

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import GUARDS, plain_words
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT


def judge_devices(shell: Shell, command: Command) -> str:
    for word in plain_words(command.argv[1:], "tLbm"):
        if (word.startswith("/dev/") and not places.is_harmless_device(word)) or (
            command.name.startswith("mkfs") and "/" in word and not shell.around.places.inside(shell.path(word))
        ):
            shell.reading.add("shell.destructive", command=command.name, object=word)
    if command.name in (
        "lvremove",
        "vgremove",
        "pvremove",
        "zpool",
        "zfs",
        "mdadm",
        "cryptsetup",
        "blkdiscard",
        "swapoff",
    ):
        words = command.argv[1:]
        if command.name in ("lvremove", "vgremove", "pvremove", "blkdiscard") or any(
            w in ("destroy", "--zero-superblock", "luksErase", "erase", "luksFormat", "--stop", "-a") for w in words
        ):
            shell.reading.add("shell.destructive", command=command.name, object="volume")
    return OUTPUT


def _power(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    if command.name in ("init", "telinit") and not any(w in ("0", "6", "1", "S") for w in words):
        return ""
    if command.name == "shutdown" and "-c" in words:
        return ""
    shell.reading.add("shell.denial_of_service", command=command.name)
    return ""


def _kill(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    plain = [w for w in words if not re.fullmatch(r"-(?:\d+|[A-Z]+|s|[a-z])", w) or (w == "-1" and words.index(w) > 0)]
    if command.name == "kill" and ("-1" in words[1:] or "1" in plain or (words[:1] == ["--"] and "-1" in words)):
        shell.reading.add("shell.denial_of_service", command="kill")
    if command.name in ("pkill", "killall", "killall5", "skill"):
        patterns = [w for w in words if not w.startswith("-")]
        if (
            command.name == "killall5"
            or any(re.fullmatch(r"[.*^$+]*|init|systemd|sshd|\^\.\*", w) for w in patterns)
            or ("-u" in words and len(patterns) == 1)
        ):
            shell.reading.add("shell.denial_of_service", command=command.name)
        if any(GUARDS.search(w) for w in patterns):
            shell.reading.add("shell.cover_tracks", command=command.name)
    return ""


def _services(shell: Shell, command: Command) -> str:
    words = [w for w in command.argv[1:] if not w.startswith("-")]
    verbs = set(words)
    if verbs & {"poweroff", "reboot", "halt", "kexec", "suspend", "hibernate", "emergency", "rescue"}:
        shell.reading.add("shell.denial_of_service", command=command.name)
    if verbs & {"enable", "link", "preset", "load", "bootstrap", "edit", "defaults"} and command.name != "service":
        shell.reading.add("shell.persistence", command=command.name)
    if verbs & {"stop", "disable", "mask", "kill", "unload", "bootout"} and any(GUARDS.search(w) for w in words):
        shell.reading.add("shell.cover_tracks", command=command.name)
    return OUTPUT


def _firewall(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(
        r"(?:^|\s)(?:-F|--flush|-X|-P\s+\w+\s+(?:DROP|ACCEPT)|flush|disable|reset|--panic-on)(?:\s|$)|delete table",
        text,
    ):
        shell.reading.add("shell.denial_of_service", command=command.name)
    return OUTPUT


def _kernel(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    if command.name == "sysctl" and not any(w in ("-w", "--write", "-p") or "=" in w for w in words):
        return OUTPUT
    if command.name in ("mount", "swapoff") and not words:
        return OUTPUT
    shell.reading.add("shell.privilege", command=command.name)
    return OUTPUT


def _volumes(shell: Shell, command: Command) -> str:
    """btrfs and nvme: what deletes volumes and formats namespaces."""
    words = command.argv[1:]
    if {"delete", "format", "sanitize", "destroy"} & set(words) and any(
        w.startswith("/") and not shell.around.places.inside(shell.path(w)) for w in words
    ):
        shell.reading.add("shell.destructive", command=command.name, object="volume")
    return OUTPUT


def _links(shell: Shell, command: Command) -> str:
    """The machine's own network taken down: links, addresses and routes."""
    text = " ".join(command.argv[1:])
    if re.search(
        r"\b(?:link|l)\s+(?:set\b.*\bdown|del)|\b(?:route|r|addr|a)\s+flush\b|^(?:en|eth|wl)\w*\s+down\b|networking\s+off",
        text,
    ):
        shell.reading.add("shell.denial_of_service", command=command.name)
    return OUTPUT


def _stress(shell: Shell, command: Command) -> str:
    if command.name == "fallocate":
        size = re.search(r"(\d+)\s*([GT])", " ".join(command.argv[1:]), re.IGNORECASE)
        if size is None or (size[2].upper() == "G" and int(size[1]) < 50):
            return ""
    shell.reading.add("shell.denial_of_service", command=command.name)
    return ""


COMMANDS: Families = families(
    (
        judge_devices,
        "wipefs parted fdisk sfdisk sgdisk gdisk mkswap blkdiscard hdparm lvremove vgremove pvremove zpool "
        "zfs mdadm cryptsetup debugfs tune2fs badblocks mke2fs",
    ),
    (_power, "shutdown reboot halt poweroff init telinit"),
    (_kill, "kill pkill killall killall5 skill"),
    (_services, "systemctl service launchctl update-rc.d chkconfig rc-update initctl"),
    (_firewall, "iptables ip6tables nft ufw firewall-cmd"),
    (_kernel, "insmod modprobe rmmod sysctl mount umount kexec swapoff"),
    (_volumes, "btrfs nvme"),
    (_links, "ip ifconfig nmcli"),
    (_stress, "stress stress-ng fallocate"),
)
