//! What a host must offer before a room can be made. A missing one refuses the launch; nothing is done without it.

use super::sys;
use std::{fs, path::Path};

/// One thing the host must offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub name: &'static str,
    pub met: bool,
    /// What to do about it where it is not met; what was found where it is.
    pub hint: String,
}

/// Everything the namespace backend needs of this host. Changes nothing; takes well under a millisecond.
pub fn requirements() -> Vec<Requirement> {
    vec![kernel(), user_namespaces(), landlock(), seccomp(), proc()]
}

/// mount_setattr(2) with which whole trees are made read-only came with 5.12; Landlock with 5.13.
fn kernel() -> Requirement {
    const OLDEST: (u32, u32) = (5, 13);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let met = version(&release).is_some_and(|found| found >= OLDEST);
    let hint = match met {
        true => release,
        false => format!("this is Linux {release}; the namespace backend needs {}.{} or later", OLDEST.0, OLDEST.1),
    };
    Requirement { name: "kernel", met, hint }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn user_namespaces() -> Requirement {
    let forbidden = forbidden_by(Path::new("/proc/sys"), rustix::process::geteuid().is_root());
    let met = forbidden.is_none();
    Requirement { name: "user namespaces", met, hint: forbidden.unwrap_or_else(|| "allowed".to_owned()) }
}

/// Which setting of `sysctls` forbids user namespaces, and how to change it.
pub(super) fn forbidden_by(sysctls: &Path, root: bool) -> Option<String> {
    let is = |file: &str, value: &str| fs::read_to_string(sysctls.join(file)).is_ok_and(|text| text.trim() == value);
    if is("user/max_user_namespaces", "0") {
        return Some("user namespaces are switched off: sysctl -w user.max_user_namespaces=15000".to_owned());
    }
    if root {
        return None;
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        let hint = "ordinary users may not make user namespaces: sysctl -w kernel.unprivileged_userns_clone=1";
        return Some(hint.to_owned());
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        let hint = "AppArmor lets only named programs use user namespaces: give this one a profile with `userns,` in \
                    /etc/apparmor.d, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
        return Some(hint.to_owned());
    }
    None
}

fn landlock() -> Requirement {
    let (met, hint) = match sys::landlock_abi() {
        Some(abi) => (true, format!("ABI {abi}")),
        None => (false, "add `landlock` to the kernel's boot parameter `lsm=` (CONFIG_SECURITY_LANDLOCK)".to_owned()),
    };
    Requirement { name: "landlock", met, hint }
}

fn seccomp() -> Requirement {
    let met = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok_and(|text| text.contains("errno"));
    let hint = if met { "filters" } else { "the kernel must be built with CONFIG_SECCOMP_FILTER" };
    Requirement { name: "seccomp", met, hint: hint.to_owned() }
}

fn proc() -> Requirement {
    let met = Path::new("/proc/self/ns/user").exists();
    let hint = if met { "mounted" } else { "mount /proc" };
    Requirement { name: "proc", met, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.18.44-fc-v445", Some((6, 18))),
            ("5.4.0-216-generic", Some((5, 4))),
            ("5.13", Some((5, 13))),
            ("6.1+", Some((6, 1))),
            ("odd", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!((5, 4) < (5, 13));
    }

    #[test]
    fn the_setting_that_forbids_is_named() {
        for (file, value, as_user, as_root) in [
            ("user/max_user_namespaces", "0\n", Some("user.max_user_namespaces"), Some("user.max_user_namespaces")),
            ("user/max_user_namespaces", "100\n", None, None),
            ("kernel/unprivileged_userns_clone", "0\n", Some("kernel.unprivileged_userns_clone"), None),
            ("kernel/apparmor_restrict_unprivileged_userns", "1\n", Some("/etc/apparmor.d"), None),
            ("kernel/apparmor_restrict_unprivileged_userns", "0\n", None, None),
        ] {
            let sysctls = tempfile::tempdir().unwrap();
            fs::create_dir_all(sysctls.path().join(file).parent().unwrap()).unwrap();
            fs::write(sysctls.path().join(file), value).unwrap();
            for (root, expected) in [(false, as_user), (true, as_root)] {
                let hint = forbidden_by(sysctls.path(), root);
                assert_eq!(hint.is_some(), expected.is_some(), "{file} = {value} root {root}");
                assert!(hint.unwrap_or_default().contains(expected.unwrap_or_default()));
            }
        }
    }
}
