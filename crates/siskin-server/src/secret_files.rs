//! Files that should be for few eyes, and are not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use siskin_auth::config::StepConfig;

use crate::config::Config;

/// Says in the log which files of keys, passwords and tokens every user of this machine may read.
pub(crate) fn warn_of_readers(config: &Config) {
    for file in open_to_all(config) {
        let file = file.display();
        tracing::warn!("{file} holds secrets and may be read by everybody on this machine: chmod o-r {file}");
    }
}

fn open_to_all(config: &Config) -> Vec<&Path> {
    let mut files = secret(config);
    files.retain(|file| fs::metadata(file).is_ok_and(|data| data.permissions().mode() & OTHERS_READ != 0));
    files
}

fn secret(config: &Config) -> Vec<&Path> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let mut files: Vec<&Path> =
        tls.flat_map(|tls| tls.certificates.iter().map(|pair| pair.key.as_path())).collect();
    files.push(&config.access.password_file);
    files.extend(config.access.auth.iter().filter_map(|step| match step {
        StepConfig::PasswordFile(file) => Some(file.path.as_path()),
        StepConfig::Scram(file) => Some(file.path.as_path()),
        // A token's key may be a public one.
        StepConfig::Http(_) | StepConfig::Jwt(_) => None,
    }));
    files.extend([&*config.admin.token_file, &*config.admin.password_file]);
    files.sort_unstable();
    files.dedup();
    files
}

const OTHERS_READ: u32 = 0o004;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn only_files_that_hold_secrets_and_are_open_to_all_are_named() {
        let path = |name: &str| {
            std::env::temp_dir().join(format!("siskin-secret-files-{}-{name}", std::process::id()))
        };
        let file = |name: &str, mode: u32| {
            fs::write(path(name), "").unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
            path(name)
        };
        let mut config = Config::default();
        config.access.password_file = file("users", 0o644);
        config.access.acl_file = file("acl", 0o644);
        config.admin.token_file = file("token", 0o640);
        config.admin.password_file = PathBuf::from("/no/such/file");
        assert_eq!(open_to_all(&config), [path("users")]);
        for name in ["users", "acl", "token"] {
            fs::remove_file(path(name)).unwrap();
        }
    }
}
