//! Builds init, which the executable carries, as `$OUT_DIR/init`.

#[path = "../init/image.rs"]
mod image;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    for input in
        ["../init", "../spec/src/door.rs", "../spec/src/init_link.rs", "../spec/src/wire.rs", "../../Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target directory")?;
    fs::copy(image::build(target)?, out.join("init"))?;
    Ok(())
}
