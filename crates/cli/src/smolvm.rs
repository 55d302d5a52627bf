//! smolvm on this machine: where it is, and where it is not, how it comes there.

#[cfg(feature = "registry")]
pub(crate) mod install;

use crate::compose::Context;
use bottle_runtime::backend::smolmachines::Smolvm;
use bottle_spec::{facts::SmolvmFacts, plan::Backend};
use std::path::{Path, PathBuf};

/// Names the program where it is neither in `PATH` nor in the cache.
pub(crate) const VARIABLE: &str = "BOT_BOTTLE_SMOLVM";
/// smolvm's own names for what it needs besides.
const LIBRARIES: &str = "SMOLVM_LIB_DIR";
const ROOTFS: &str = "SMOLVM_AGENT_ROOTFS";

/// What the variable names, else what is in `PATH`, else what was installed into the cache; where there is none, what
/// would be.
pub(crate) fn find(context: &Context) -> Smolvm {
    let named = context.environment.value(VARIABLE).map(PathBuf::from);
    let program = named
        .or_else(|| in_path(context))
        .or_else(|| in_cache(context))
        .unwrap_or_else(|| "/usr/local/bin/smolvm".into());
    // A link leads to where the rest of it is.
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    let beside = |name: &str| program.parent().map(|folder| folder.join(name)).filter(|path| path.is_dir());
    let of =
        |variable: &str, name: &str| context.environment.value(variable).map(PathBuf::from).or_else(|| beside(name));
    Smolvm { libraries: of(LIBRARIES, "lib"), rootfs: of(ROOTFS, "rootfs"), program }
}

/// The same, where the backend is it.
pub(crate) fn of_backend(backend: Backend, context: &Context) -> Option<Smolvm> {
    (backend == Backend::Smolmachines).then(|| find(context))
}

/// What is to be known of it before it makes a machine, where the backend is it. What may be wrong with it the launch says.
pub(crate) fn facts(backend: Backend, context: &Context) -> Option<SmolvmFacts> {
    let version = of_backend(backend, context)?.version().ok()?;
    Some(SmolvmFacts { version: version.to_string(), notice: version.notice() })
}

/// Why no machine could be started here, as far as looking tells.
pub(crate) fn without_kvm() -> Option<&'static str> {
    let device = Path::new("/dev/kvm");
    if !device.exists() {
        return Some("there is no /dev/kvm");
    }
    let both = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    rustix::fs::access(device, both).err().map(|_| "you may not use /dev/kvm")
}

#[cfg(feature = "registry")]
fn in_cache(context: &Context) -> Option<PathBuf> {
    bottle_runtime::backend::smolmachines::installed(&context.dirs.smolvm())
}

#[cfg(not(feature = "registry"))]
fn in_cache(_: &Context) -> Option<PathBuf> {
    None
}

fn in_path(context: &Context) -> Option<PathBuf> {
    let path = context.environment.value("PATH")?;
    let folders = path.split(':').map(Path::new).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join("smolvm")).find(|program| program.is_file())
}
