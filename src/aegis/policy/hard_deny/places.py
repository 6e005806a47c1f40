"""Where a path in a command leads, and what lies there: the workspace, scratch, credentials, the system."""

from __future__ import annotations

import posixpath
import re

SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - names to compare with, nothing is written
_DEVICES = re.compile(r"/dev/(?:sd|nvme|vd|xvd|hd|mmcblk|mapper/|disk|dm-|loop|md|mem|kmem|port|ram|sr)")
_HARMLESS_DEVICES = frozenset("/dev/null /dev/stdout /dev/stderr /dev/stdin /dev/tty /dev/zero /dev/full".split())
_SECRETS = re.compile(
    r"^/etc/(?:shadow-?|gshadow-?|sudoers(?:\.d/.*)?|master\.passwd|security/opasswd|krb5\.keytab|ssl/private/.*|"
    r"ssh/ssh_host_\w+_key|kubernetes/.*|rancher/.*|wireguard/.*|ppp/chap-secrets|openvpn/.*)$"
    r"|/\.ssh/(?:id_\w+|identity|\w+\.pem|\w+_key|\*|$)(?!\.pub)|/\.ssh$|/\.aws(?:/(?:credentials|config|\*|sso.*))?$"
    r"|/\.netrc$|/\.pgpass$|/\.my\.cnf$|/\.kube(?:/(?:config|\*))?/?$|/\.docker/config\.json$|/\.gnupg(?:/.*)?$|/\.npmrc$|/\.pypirc$"
    r"|/\.git-credentials$|/\.config/(?:gcloud|gh|hub)(?:/.*)?$|/\.azure(?:/.*)?$|/\.vault-token$|/\.password-store(?:/.*)?$"
    r"|^/proc/(?:self|\d+|\*|\$\$)/(?:environ|mem|maps|cmdline|root(?:/.*)?|cwd/.*)$|^/var/run/secrets(?:/.*)?$|^/run/secrets(?:/.*)?$"
    r"|^/var/lib/(?:kubelet|docker|rancher)(?:/.*)?$|/\.(?:bash|zsh|psql|mysql|python|sh)_history$|"
    r"/\.mozilla/.*|/Login Data$"
    r"|/\.config/(?:google-chrome|chromium)(?:/.*)?$|^/root/\.\w+|/keychains?/",
    re.IGNORECASE,
)
_PROJECT_SECRETS = re.compile(
    r"(?:^|/)(?:\.env(?:\.(?:local|production|prod|live|staging))?|id_(?:rsa|ed25519|ecdsa|dsa)|[\w.\-]*\.(?:pem|p12|pfx|key|keystore|jks)"
    r"|credentials(?:\.json|\.ya?ml|\.csv)?|secrets?(?:\.json|\.ya?ml|\.toml|\.env)?|service[-_]account[\w\-]*\.json|\.npmrc|\.netrc"
    r"|kubeconfig|terraform\.tfstate|\.git-credentials|\.htpasswd)$",
    re.IGNORECASE,
)
_START = re.compile(
    r"/\.(?:bashrc|bash_profile|bash_login|bash_logout|profile|zshrc|zshenv|zprofile|zlogin|kshrc|cshrc|tcshrc|inputrc|vimrc|xinitrc|"
    r"xprofile|login|bash_aliases)$|/\.config/(?:autostart|systemd|fish)(?:/|$)|/\.ssh/(?:authorized_keys2?|rc|environment|config)$"
    r"|^/etc/(?:cron[\w.]*|crontab|rc\.local|rc\d?\.d|init\.d|profile|profile\.d|bash\.bashrc|environment|systemd|ld\.so\.preload|"
    r"ld\.so\.conf(?:\.d)?|sudoers(?:\.d)?|pam\.d|inittab|xinetd\.d|update-motd\.d|modules-load\.d|udev|anacrontab|zsh|security)(?:/|$)"
    r"|^/var/spool/(?:cron|at)(?:/|$)|^/(?:usr/)?lib/systemd(?:/|$)|(?:^|/)\.git/hooks/|/Library/Launch(?:Agents|Daemons)(?:/|$)"
    r"|/etc/passwd$|/etc/group$|/\.gitconfig$|/\.local/share/systemd(?:/|$)",
    re.IGNORECASE,
)
_LOGS = re.compile(
    r"^/var/log(?:/|$)|/\.(?:bash|zsh|sh|python|mysql|psql)_history$|^/var/(?:run|lib)/(?:utmp|wtmp|audit)|/wtmp$|/btmp$|/lastlog$"
)
_MACHINE = re.compile(r"^/(?:proc|sys)(?:/|$)")


class Places:
    """Answers about absolute paths for one `workspace`. A workspace that isn't known ends at the working directory."""

    __slots__ = ("known", "workspace")

    def __init__(self, workspace: str | None) -> None:
        self.known = bool(workspace)
        self.workspace = posixpath.normpath(workspace) if workspace else "/\ue010workspace"

    def resolve(self, path: str, cwd: str) -> str:
        """`path` made absolute from `cwd`, with dots resolved. Globs stay."""
        joined = path if path.startswith("/") else f"{cwd}/{path}"
        return "/" + posixpath.normpath(joined).lstrip("/") if joined else cwd

    def inside(self, path: str) -> bool:
        """Strictly inside the workspace, or a named thing in scratch."""
        if path.startswith(self.workspace + "/"):
            return True
        return any(path.startswith(s + "/") and path[len(s) + 1 :].strip("*/.") != "" for s in SCRATCH)

    def in_workspace(self, path: str) -> bool:
        return path == self.workspace or path.startswith(self.workspace + "/")

    def is_lost(self, path: str) -> bool:
        """Whether deleting `path` deletes something outside, or the workspace itself."""
        if path == f"{self.workspace}/*" or path == f"{self.workspace}/.*":
            return True
        return not self.inside(path)


def is_device(path: str) -> bool:
    return _DEVICES.match(path) is not None


def is_harmless_device(path: str) -> bool:
    return path in _HARMLESS_DEVICES or path.startswith(("/dev/fd/", "/dev/pts/", "/dev/tcp/", "/dev/udp/"))


def is_secret(path: str) -> bool:
    """A file of credentials or of a process's surroundings, by its absolute path."""
    return not path.endswith(".pub") and _SECRETS.search(path) is not None


def is_project_secret(path: str) -> bool:
    """A file of a project that usually holds secrets: reading is work, sending is not."""
    return _PROJECT_SECRETS.search(path) is not None


def starts_by_itself(path: str) -> bool:
    """A file that is run or obeyed at the next login, boot or commit."""
    return _START.search(path) is not None


def is_log(path: str) -> bool:
    return _LOGS.search(path) is not None


def is_machine(path: str) -> bool:
    return _MACHINE.match(path) is not None
