//! placeholder
pub(crate) fn run(_: &[&str]) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
