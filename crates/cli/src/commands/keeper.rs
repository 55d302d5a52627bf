//! `bot-bottle keeper`, hidden: speaks over its standard input. Here runtime and gate, which do not know each other,
//! are put together.

use super::gate;
use crate::{compose::Environment, error::CliError, secrets, terminal::PROGRAM};
use bottle_runtime::{
    keeper::{self, Fresh, KeeperParts},
    process::name_self,
};
use bottle_spec::{
    gate_link::{AuditKey, Authority, Decoy},
    secret::{Secret, SecretRef},
    slug::Slug,
};
use std::{collections::BTreeMap, io, process::ExitCode};

/// PID 1 of every room: `bottle-init`, static, built by `build.rs`.
static INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

pub(crate) fn run() -> Result<ExitCode, CliError> {
    name_self(c"bottle-keeper");
    log();
    let parts = KeeperParts { init_image: INIT, program: PROGRAM.into(), authority, certify, decoys, refresh };
    keeper::run(gate::link()?, &parts).map_err(|error| CliError::host("the keeper ended").because(error))?;
    Ok(ExitCode::SUCCESS)
}

/// To stderr, which becomes the bottle's `keeper.log`; also of the git gate.
pub(crate) fn log() {
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).finish();
    // Set once, at the start of the process.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn authority(slug: &Slug) -> Result<Authority, String> {
    bottle_gate::ca::generate(slug).map_err(|error| error.to_string())
}

fn certify(seed: &Secret, slug: &Slug) -> Result<AuditKey, String> {
    bottle_gate::audit::sign::certify(seed, slug).map_err(|error| error.to_string())
}

fn decoys() -> Result<Vec<Decoy>, String> {
    bottle_gate::decoys::make().map_err(|error| error.to_string())
}

fn refresh(source: &SecretRef, held: &Secret, env: &BTreeMap<String, String>) -> Result<Fresh, String> {
    secrets::read_again(source, held, &Environment::from(env.clone()))
        .map(|reading| Fresh { value: reading.value, until: reading.until })
        .map_err(|error| error.to_string())
}
