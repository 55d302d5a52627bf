//! Builds init, which the executable carries, as `$OUT_DIR/init`.

#[path = "../init/image.rs"]
mod image;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let of_spec = ["door", "init_link", "machine_link", "wire"].map(|module| format!("../spec/src/{module}.rs"));
    let others = ["../init", "../stream/src", "../../Cargo.lock"].map(str::to_owned);
    for input in of_spec.into_iter().chain(others) {
        println!("cargo::rerun-if-changed={input}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    // OUT_DIR is TARGET/PROFILE/build/PACKAGE/out.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not in a target directory")?;
    fs::copy(image::build(target)?, out.join("init"))?;
    Ok(())
}
